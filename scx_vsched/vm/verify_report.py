"""The outcome of `vm verify` as a table for people, Markdown for docs/, and plain data."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from scx_vsched.vm.baseline import Comparison
    from scx_vsched.vm.verify import KernelReport, ObjectReport

__all__ = ["as_data", "as_markdown", "as_table", "summary"]


def as_data(reports: Sequence[KernelReport], comparison: Comparison) -> dict[str, Any]:
    """Everything, for `--json`."""
    return {
        "ok": all(report.ok for report in reports) and not comparison.regressions,
        "kernels": [asdict(report) for report in reports],
        "regressions": [
            {"program": list(change.key), "before": change.before, "now": change.now}
            for change in comparison.regressions
        ],
        "new": [list(key) for key in comparison.new],
    }


def as_table(reports: Sequence[KernelReport]) -> Table:
    """One row for each object on each kernel."""
    from rich.table import Table  # noqa: PLC0415 - only for a terminal

    table = Table(box=None)
    for name in ("kernel", "policy", "features", "programs", "insns", "largest", "load", "result"):
        table.add_column(name, justify="right" if name in ("insns", "load", "programs") else "left")
    for report in reports:
        if report.error:
            table.add_row(report.release, "", "", "", "", "", "", f"[red]{report.error}")
        for each in report.objects:
            table.add_row(
                report.release,
                each.policy,
                each.features,
                str(len(each.programs)),
                f"{_total(each):,}",
                _largest(each),
                f"{each.load_ms:.0f} ms",
                f"[red]{each.error}" if each.error else "ok",
            )
    return table


def as_markdown(reports: Sequence[KernelReport], heading: str) -> str:
    """The page docs/verify.md: a table over kernels, and one per program for the full objects."""
    objects = list(
        dict.fromkeys((each.policy, each.features) for report in reports for each in report.objects)
    )
    lines = [heading, "", _row(["kernel", *(" ".join(each) for each in objects)]), _rule(objects)]
    for report in reports:
        by_object = {(each.policy, each.features): each for each in report.objects}
        cells = [_cell(by_object.get(each)) for each in objects]
        lines.append(_row([report.release, *cells]))
    for policy in dict.fromkeys(policy for policy, _ in objects):
        lines += ["", f"## Programs of `{policy}` with every feature", ""]
        lines += _program_table(reports, policy)
    return "\n".join(lines) + "\n"


def summary(reports: Sequence[KernelReport], comparison: Comparison) -> list[str]:
    """The lines that say how it went, worst first."""
    lines = [f"grown: {change}" for change in comparison.regressions]
    lines += [
        f"lost VM: {report.release}, {report.lost} time(s)" for report in reports if report.lost
    ]
    if comparison.new:
        lines.append(f"{len(comparison.new)} programs are not in the record (--update-baseline)")
    failed = sum(bool(each.error) for report in reports for each in report.objects)
    count = sum(len(report.objects) for report in reports)
    broken = sum(bool(report.error) for report in reports)
    lines.append(
        f"{count - failed} of {count} objects verified on {len(reports) - broken} of "
        f"{len(reports)} kernels"
    )
    return lines


def _total(each: ObjectReport) -> int:
    return sum(program.insns for program in each.programs)


def _largest(each: ObjectReport) -> str:
    if not each.programs:
        return ""
    largest = max(each.programs, key=lambda program: program.insns)
    return f"{largest.name} {largest.insns:,}"


def _cell(each: ObjectReport | None) -> str:
    if each is None:
        return "-"
    return "**failed**" if each.error else f"{_total(each):,} / {each.load_ms:.0f} ms"


def _program_table(reports: Sequence[KernelReport], policy: str) -> list[str]:
    costs: dict[str, dict[str, int]] = defaultdict(dict)
    for report in reports:
        full = next((each for each in report.objects if each.policy == policy), None)
        for program in full.programs if full else ():
            costs[program.name][report.release] = program.insns
    releases = [report.release for report in reports]
    rows = [_row(["program", *releases]), _rule(releases)]
    for name in sorted(costs):
        rows.append(_row([name, *(f"{costs[name].get(release, 0):,}" for release in releases)]))
    return rows


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: Sequence[object]) -> str:
    return "|---" + "|---:" * len(columns) + "|"
