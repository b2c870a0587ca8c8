"""Results as tables for the terminal, and as plain data for JSON."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from rich.table import Table

from scx_vsched.cluster.claims import Judged, judge
from scx_vsched.cluster.metrics import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.cluster.compare import Comparison, Estimate
    from scx_vsched.cluster.metrics import Result
    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.workload import Workload

__all__ = [
    "COLUMNS",
    "claims_table",
    "comparison_data",
    "comparison_table",
    "estimate_text",
    "result_data",
    "skipped_lines",
    "summary_table",
    "trace_data",
]

_GIB = 1 << 30
# Summary fields of a comparison's columns: heading, scale, digits.
COLUMNS = {
    "cpu": ("CPU %", 100.0, 2),
    "gini": ("Gini", 1.0, 4),
    "overcommit": ("over %", 100.0, 2),
    "finished": ("finished", 1.0, 0),
    "wait_s": ("wait s", 1.0, 1),
    "delay_s": ("delay s", 1.0, 1),
    "bytes_moved": ("GiB moved", 1 / _GIB, 0),
    "moves": ("moves", 1.0, 0),
    "moved_second": ("to second", 1.0, 0),
}
_TIMES = ("duration_s", "wait_s", "qos_s", "delay_s", "following_s")
_SHARES = ("cpu", "overcommit", "balanced_share")
_NAMES = {
    "cpu": "mean CPU in use",
    "gini": "Gini of machines' CPU",
    "balanced_share": "steps with a Gini below 0.25",
    "overcommit": "CPU wanted beyond capacity",
    "duration_s": "mean duration",
    "wait_s": "mean wait to start",
    "qos_s": "mean duration and wait",
    "delay_s": "mean delay beyond the trace's duration",
    "slowdown_p50": "slowdown, median",
    "slowdown_p95": "slowdown, 95th percentile",
    "bytes_moved": "memory moved",
    "bytes_first": "… to the least loaded",
    "bytes_second": "… to the second",
    "moves": "moves",
    "moved_first": "… to the least loaded",
    "moved_second": "… to the second",
    "tasks_moved": "tasks moved",
    "most_moves_of_a_task": "most moves of one task",
    "following_s": "mean time that pages followed a task",
}


def summary_table(result: Result) -> Table:
    """All numbers of one run."""
    table = Table(box=None, pad_edge=False, show_header=False, title=None)
    table.add_column()
    table.add_column(justify="right")
    for field in fields(Summary):
        value = getattr(result.summary, field.name)
        table.add_row(_NAMES.get(field.name, field.name), _text(field.name, value))
    return table


def _text(name: str, value: float) -> str:
    if name in _SHARES:
        return f"{value:.2%}"
    if name in _TIMES:
        return f"{value:,.1f} s"
    if name.startswith("bytes"):
        return f"{value / _GIB:,.1f} GiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def comparison_table(comparison: Comparison[Any]) -> Table:
    """A row for each policy; with several seeds the mean ± half of its 95 % interval."""
    table = Table(box=None, pad_edge=False)
    table.add_column("policy")
    for head, _, _ in COLUMNS.values():
        table.add_column(head, justify="right")
    for policy in comparison.runs:
        cells = [
            estimate_text(comparison.mean(policy, metric), scale, digits)
            for metric, (_, scale, digits) in COLUMNS.items()
        ]
        table.add_row(str(policy), *cells)
    return table


def claims_table(comparison: Comparison[Any]) -> Table | None:
    """What the thesis says beside what came out; None where nothing can be judged."""
    judged = judge(comparison)
    if not judged or all(one.difference.half_width is None for one in judged):
        return None
    table = Table(box=None, pad_edge=False)
    for head in ("the thesis says", "difference here", "verdict"):
        table.add_column(head)
    for one in judged:
        table.add_row(_claim(one), _judged_difference(one), str(one.verdict))
    return table


def _claim(one: Judged) -> str:
    head = COLUMNS[one.claim.metric][0]
    return f"{head}: {one.claim.less} < {one.claim.more}"


def _judged_difference(one: Judged) -> str:
    _, scale, digits = COLUMNS[one.claim.metric]
    # Differences are smaller than what they are of.
    return estimate_text(one.difference, scale, digits + 1 if digits else 0, sign="+")


def estimate_text(found: Estimate, scale: float, digits: int, sign: str = "") -> str:
    """A mean in units of 1/`scale`, ± half of its interval if it has one."""
    text = f"{found.mean * scale:{sign},.{digits}f}"
    if found.half_width is None:
        return text
    return f"{text} ± {found.half_width * scale:,.{digits}f}"


def skipped_lines(skipped: Mapping[str, int]) -> list[str]:
    """What was left out of a trace, a line for each reason."""
    return [f"{reason}: {count:,}" for reason, count in sorted(skipped.items())]


def trace_data(workload: Workload) -> dict[str, Any]:
    """What was simulated."""
    return {
        "tasks": len(workload),
        "samples": len(workload.cpu),
        "trace_machines": len(workload.capacity),
        "length_s": workload.length_s,
        "skipped": dict(sorted(workload.skipped.items())),
    }


def result_data(result: Result, *, series: bool) -> dict[str, Any]:
    """One run; `series` adds what was seen at each step, as one list for each quantity."""
    data: dict[str, Any] = {
        "policy": str(result.policy),
        "seed": result.seed,
        "summary": asdict(result.summary),
    }
    if series:
        names = [field.name for field in fields(result.series)]
        data["series"] = {name: getattr(result.series, name).tolist() for name in names}
    return data


def comparison_data(comparison: Comparison[Any], setup: Setup) -> dict[str, Any]:
    """All runs, means with intervals, and verdicts on the thesis's claims."""
    return {
        "setup": asdict(setup),
        "runs": [
            result_data(result, series=False)
            for results in comparison.runs.values()
            for result in results
        ],
        "means": {
            str(policy): {
                metric: asdict(comparison.mean(policy, metric)) for metric in comparison.metrics()
            }
            for policy in comparison.runs
        },
        "claims": [
            {
                "metric": one.claim.metric,
                "less": str(one.claim.less),
                "more": str(one.claim.more),
                "difference": asdict(one.difference),
                "verdict": str(one.verdict),
            }
            for one in judge(comparison)
        ],
    }
