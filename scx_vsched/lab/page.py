"""A run of the lab as one HTML page that needs no other file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from scx_vsched.lab.plots import latency_cdf, recovery, throughput, timeline_of, where_tasks_ran
from scx_vsched.lab.report import as_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.lab.document import Document

__all__ = ["Plot", "as_html", "plots_of"]

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
figure { margin: 1.5em 0; overflow-x: auto; } figcaption { color: #444; }
code { background: #f3f3f3; }
"""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture as SVG text: of which profile ("" for all of them), its kind, what it shows."""

    profile: str
    kind: str
    caption: str
    svg: str

    @property
    def file_name(self) -> str:
        """One that no other picture of the run has."""
        return "-".join(part for part in ("lab", self.profile, self.kind) if part) + ".svg"


def as_html(document: Document) -> str:
    """The report with its plots; raises UserError without matplotlib."""
    body: list[str] = []
    sections = re.split(r"(?m)^(?=## )", as_markdown(document))
    plots: dict[str, list[str]] = {}
    for plot in plots_of(document):
        plots.setdefault(plot.profile, []).append(_figure(plot))
    for number, section in enumerate(sections):
        body += _converted(section)
        # what is of no profile comes after the beginning
        title = section.partition("\n")[0].removeprefix("## ") if number else ""
        body += plots.pop(title, [])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Lab report</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def plots_of(document: Document) -> Iterator[Plot]:
    """All pictures of a run, without those that it has nothing for; UserError as `as_html`."""
    found = [Plot("", "throughput", "Throughput by profile and workload", throughput(document))]
    for profile in document.profiles:
        name = profile.name
        found += (
            Plot(
                name,
                "latency",
                "Latencies: the part of requests within a time",
                latency_cdf(profile),
            ),
            Plot(name, "where", "Where tasks ran, by the host's account", where_tasks_ran(profile)),
            Plot(name, "change", "After the change", recovery(profile)),
        )
        for picture in profile.pictures:
            title = f"{name}, {picture.scheduler}: vCPUs, tasks and migrations"
            kind = f"timeline-{picture.scheduler}"
            found.append(Plot(name, kind, title, timeline_of(picture, title)))
    return (plot for plot in found if plot.svg)


def _figure(plot: Plot) -> str:
    return (
        f"<figure>{_own_ids(plot.svg, plot.caption)}"
        f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
    )


def _own_ids(svg: str, caption: str) -> str:
    """Ids that no other picture of the page has."""
    prefix = re.sub(r"\W+", "-", caption.lower()) + f"-{len(svg)}-"
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    return re.sub(r"url\(#", f"url(#{prefix}", svg)


def _converted(text: str) -> list[str]:
    """The little Markdown that reports have: headings, tables, lists, paragraphs."""
    found = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if lines[0].startswith("#"):
            level = len(lines[0]) - len(lines[0].lstrip("#"))
            found.append(f"<h{level}>{_inline(lines[0].lstrip('# '))}</h{level}>")
        elif lines[0].startswith("|"):
            found.append(_table(lines))
        elif lines[0].startswith("- "):
            items = "".join(f"<li>{_inline(line.removeprefix('- '))}</li>" for line in lines)
            found.append(f"<ul>{items}</ul>")
        else:
            found.append(f"<p>{_inline(' '.join(lines))}</p>")
    return found


def _table(lines: list[str]) -> str:
    rows = []
    for number, line in enumerate(lines):
        if number == 1:  # the marks of alignment
            continue
        kind = "td" if number else "th"
        cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append("".join(f"<{kind}>{_inline(cell)}</{kind}>" for cell in cells))
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _inline(text: str) -> str:
    text = escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)
