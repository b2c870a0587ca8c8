"""The outcome of `vm verify` as a table for people, Markdown for docs/, and plain data."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm.kernels import SERIES
from scx_vsched.vm.verify import KernelReport, ObjectReport, ProgramReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.table import Table

    from scx_vsched.vm.baseline import Comparison

__all__ = ["as_data", "as_markdown", "as_table", "joined", "load_reports", "summary"]


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


def load_reports(path: Path) -> list[KernelReport]:
    """What an earlier run wrote with `--json`.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        return [_report(raw) for raw in json.loads(path.read_text())["kernels"]]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} holds no results of vm verify", "it takes what --json printed"
        ) from None


def _report(raw: dict[str, Any]) -> KernelReport:
    return KernelReport(**{**raw, "objects": tuple(map(_object, raw["objects"]))})


def _object(raw: dict[str, Any]) -> ObjectReport:
    return ObjectReport(
        **{**raw, "programs": tuple(ProgramReport(**program) for program in raw["programs"])}
    )


def joined(before: Iterable[KernelReport], now: Iterable[KernelReport]) -> list[KernelReport]:
    """Both runs as one, by series: what was verified again, by kernel and policy, replaces that."""
    found = {report.release: report for report in before}
    for report in now:
        old = found.get(report.release)
        again = {each.policy for each in report.objects}
        kept = tuple(each for each in old.objects if each.policy not in again) if old else ()
        found[report.release] = replace(report, objects=(*kept, *report.objects))
    known = {series: place for place, series in enumerate(SERIES)}
    return sorted(found.values(), key=lambda report: known.get(report.series, len(known)))


def as_table(reports: Sequence[KernelReport]) -> Table:
    """A row for each object, a column for each kernel: instructions and time to load."""
    from rich.table import Table  # noqa: PLC0415 - only for a terminal

    table = Table("policy", "features", box=None)
    for report in reports:
        table.add_column(report.release.removesuffix("-amd64"), justify="right", no_wrap=True)
    for policy, features in _objects(reports):
        cells = [_cell(report, policy, features) for report in reports]
        table.add_row(policy, features, *cells)
    return table


def as_markdown(reports: Sequence[KernelReport], heading: str) -> str:
    """The page docs/verify.md: a table over kernels, and one per program for the full objects."""
    releases = [report.release for report in reports]
    lines = [heading, "", _row(["policy", "features", *releases]), "|---" + _rule(releases)]
    for policy, features in _objects(reports):
        cells = [_cell(report, policy, features) for report in reports]
        lines.append(_row([policy, features, *cells]))
    for policy in dict.fromkeys(policy for policy, _ in _objects(reports)):
        lines += ["", f"## Programs of `{policy}` with every feature", ""]
        lines += _program_table(reports, policy)
    return "\n".join(lines) + "\n"


def summary(reports: Sequence[KernelReport], comparison: Comparison) -> list[str]:
    """The lines that say how it went, worst first."""
    lines = [f"{report.release}: {report.error}" for report in reports if report.error]
    lines += [
        f"{report.release}: {each.policy} with {each.features}: {each.error}"
        for report in reports
        for each in report.objects
        if each.error
    ]
    lines += [f"grown: {change}" for change in comparison.regressions]
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


def _objects(reports: Sequence[KernelReport]) -> list[tuple[str, str]]:
    return list(
        dict.fromkeys((each.policy, each.features) for report in reports for each in report.objects)
    )


def _cell(report: KernelReport, policy: str, features: str) -> str:
    for each in report.objects:
        if (each.policy, each.features) == (policy, features):
            insns = sum(program.insns for program in each.programs)
            return "failed" if each.error else f"{insns:,} / {each.load_ms:.0f} ms"
    return "-"


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
