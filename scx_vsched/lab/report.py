"""A run of the lab as a page of Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.lab.bounds import verdicts
from scx_vsched.lab.figures import (
    Cell,
    capacity,
    cells,
    limit,
    recoveries,
    schedulers,
    share_of_capacity,
    share_of_probing,
    workloads,
)
from scx_vsched.vm.bench_report import rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.lab.document import Document, Profile

__all__ = ["as_markdown", "headline", "table"]

_SHOWN = ("p50", "p95", "p99", "p99.9")


def as_markdown(document: Document) -> str:
    """The whole report."""
    lines = ["# Lab report", "", *headline(document), ""]
    if document.error:
        lines += [f"**Not complete: {document.error}.**", ""]
    lines += _missing(document)
    found = verdicts(document)
    if found:
        lines += ["## Bounds", ""]
        rows = [[v.bound, v.found, "reached" if v.reached else "**not reached**"] for v in found]
        lines += [*table(["bound", "found, all on", ""], rows, "ll"), ""]
    for profile in document.profiles:
        lines += _profile(profile)
    return "\n".join(lines).rstrip() + "\n"


def headline(document: Document) -> list[str]:
    """What was run, where and how, in sentences."""
    lines = [
        f"scx_vsched {document.version} on {document.host}, {document.started}; "
        f"{document.rounds} rounds of {document.seconds:g} s, all schedulers of a profile in one "
        "boot, in turn.",
        "Medians; in brackets how many times better than the default scheduler, with the 95 % "
        "interval of the paired rounds.",
    ]
    if document.command:
        lines.append(f"Made by `{document.command}`.")
    return lines


def _missing(document: Document) -> list[str]:
    lines = [
        f"- {workload} was skipped: {program} is not installed (`{command}`)"
        for workload, program, command in document.missing
    ]
    return [*lines, ""] if lines else []


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: str = "l") -> list[str]:
    """A Markdown table; columns beyond those in `left` are aligned to the right."""
    marks = ["---" if number < len(left) else "---:" for number in range(len(header))]
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(marks)}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _profile(profile: Profile) -> list[str]:
    lines = [f"## {profile.name}", "", f"{profile.description}.", ""]
    if profile.where:
        lines += [f"{profile.where}; load of the host {profile.load:.1f}.", ""]
    if profile.note:
        lines += [f"Scaled to this host: {profile.note}.", ""]
    if profile.error:
        lines += [f"**Not complete: {profile.error}.**", ""]
    lines += [_capacity(profile), ""]
    names = schedulers(profile)
    if not names:
        return lines
    found = [cell for cell in cells(profile) if _is_shown(cell)]
    if found:
        by = {(c.workload, c.measure, c.scheduler): c for c in found}
        rows = [
            [f"{load}: {measure}, {unit}", *(_cell(by.get((load, measure, n))) for n in names)]
            for load, measure, unit in dict.fromkeys((c.workload, c.measure, c.unit) for c in found)
        ]
        lines += [*table(["workload: measure", *names], rows), ""]
        lines += _shares(profile, names)
    lines += _changes(profile)
    lines += _pictures(profile)
    lines += [
        f"- round {each.round + 1}, {each.scheduler}, {each.workload}: {each.error}"
        for each in profile.measurements
        if each.error
    ]
    return [*lines, ""]


def _is_shown(cell: Cell) -> bool:
    return cell.unit != "us" or cell.measure.rpartition(" ")[2] in _SHOWN


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return rate(cell.median) + (f" ({cell.gain})" if cell.gain is not None else "")


def _capacity(profile: Profile) -> str:
    asked = f"{limit(profile):.2f} host CPUs were asked for"
    if not profile.capacity:
        return f"Capacity of the vCPUs: {asked}."
    each = ", ".join(f"{share:.2f}" for share in profile.capacity)
    return (
        f"Capacity of the vCPUs by the host's account, the most that they got: "
        f"{capacity(profile):.2f} host CPUs (with a spinner on each {each}); {asked}."
    )


def _shares(profile: Profile, names: Sequence[str]) -> list[str]:
    rows = []
    for load in workloads(profile):
        shares = [share_of_capacity(profile, load, name) for name in names]
        if any(share is not None for share in shares):
            rows.append([load, *("-" if s is None else f"{s:.0%}" for s in shares)])
    if not rows:
        return []
    probing = [share_of_probing(profile, name) for name in names]
    rows.append(["probing, of all of these", *("-" if s is None else f"{s:.1%}" for s in probing)])
    return ["What the VM used of that:", "", *table(["workload", *names], rows), ""]


def _changes(profile: Profile) -> list[str]:
    found = recoveries(profile)
    if not found:
        return []
    length = max(len(each.shares) for each in found)
    header = ["seconds after the change", *(str(n + 1) for n in range(length)), "best before"]
    rows = [
        [
            each.scheduler,
            *(f"{share:.0%}" for share in each.shares),
            *("-" for _ in range(length - len(each.shares))),
            f"{rate(each.best)} /s",
        ]
        for each in found
    ]
    return [*table(header, rows), ""]


def _pictures(profile: Profile) -> list[str]:
    return [
        f"- {each.scheduler}: the longest wait for a turn, of all tasks in {_ms(each.length_ns)} "
        f"and around, was {_ms(each.longest_wait_ns)}"
        for each in profile.pictures
    ]


def _ms(length_ns: int) -> str:
    return f"{length_ns / 1e6:,.0f} ms"
