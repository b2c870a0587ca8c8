"""A run of the lab as one HTML page that needs no other file."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from scx_vsched.lab.plots import latency_cdf, recovery, throughput, timeline_of, where_tasks_ran
from scx_vsched.lab.report import as_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.lab.document import Document, Profile

__all__ = ["as_html"]

_STYLE = """
body { font: 15px/1.45 sans-serif; margin: 2em auto; max-width: 1240px; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px; }
td, th { border: 1px solid #ccc; padding: .2em .6em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
figure { margin: 1.5em 0; overflow-x: auto; } figcaption { color: #444; }
code { background: #f3f3f3; }
"""


def as_html(document: Document) -> str:
    """The report with its plots; raises UserError without matplotlib."""
    body: list[str] = []
    sections = re.split(r"(?m)^(?=## )", as_markdown(document))
    plots = {profile.name: list(_plots(profile)) for profile in document.profiles}
    for number, section in enumerate(sections):
        body += _converted(section)
        title = section.partition("\n")[0].removeprefix("## ")
        body += plots.pop(title, [])
        if not number:
            body += _figure(throughput(document), "Throughput by profile and workload")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Lab report</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _plots(profile: Profile) -> Iterator[str]:
    yield from _figure(latency_cdf(profile), "Latencies: the part of requests within a time")
    yield from _figure(where_tasks_ran(profile), "Where tasks ran, by the host's account")
    yield from _figure(recovery(profile), "After the change")
    for picture in profile.pictures:
        title = f"{profile.name}, {picture.scheduler}: vCPUs, tasks and migrations"
        yield from _figure(timeline_of(picture, title), title)


def _figure(svg: str, caption: str) -> list[str]:
    if not svg:
        return []
    return [f"<figure>{_own_ids(svg, caption)}<figcaption>{escape(caption)}</figcaption></figure>"]


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
