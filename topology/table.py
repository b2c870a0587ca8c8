"""The graph as a table for the terminal: one row for each vCPU.

A stacked set and a straggler are said in words as well as in colour. A domain that differs from
what the guest was told carries the mark `≠`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from scx_vsched.topology.domains import Level, partition
from scx_vsched.topology.measure import Origin, stragglers
from scx_vsched.topology.model import FULL_CAPACITY
from scx_vsched.topology.records import Relation
from scx_vsched.topology.sentences import number_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.graph import VCpuGraph
    from scx_vsched.topology.measure import VCpuMeasure

__all__ = ["graph_table", "headline", "remarks"]

_BAR_WIDTH = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEADS = {
    Level.STACK: "thread",
    Level.CORE: "core",
    Level.LLC: "LLC",
    Level.SOCKET: "socket",
    Level.NODE: "node",
}
_MS = 1e6


def graph_table(graph: VCpuGraph, now_ns: int | None = None) -> Table:
    """The table; `now_ns` (CLOCK_MONOTONIC) is what predictions count from.

    By default they count from the moment of the graph.
    """
    now_ns = graph.snapshot.monotonic_ns if now_ns is None else now_ns
    measures = graph.measures
    measured = any(m.capacity is not None for m in measures.values())
    table = Table(box=None, pad_edge=False)
    for head in ("vCPU", *_HEADS.values()):
        table.add_column(head, justify="right")
    if measured:
        table.add_column("capacity")
        for head in ("share", "away/s", "mean ms", "p95 ms"):
            table.add_column(head, justify="right")
        table.add_column("away next")
    table.add_column("remarks")
    wrong = _wrong_claims(graph)
    slow = stragglers(measures)
    stacked = {vcpu: stack for stack in graph.stacks() for vcpu in stack}
    for vcpu, own in graph.domains.items():
        cells = [Text(str(vcpu))]
        for level in Level:
            mark = (level, vcpu) in wrong
            index = str(own.at(level))
            cells.append(Text(f"≠ {index}" if mark else index, style="yellow" if mark else ""))
        if measured:
            cells += _measured_cells(measures[vcpu], now_ns, straggler=vcpu in slow)
        cells.append(_remark(vcpu, measures[vcpu], stacked, straggler=vcpu in slow))
        table.add_row(*cells)
    return table


def headline(graph: VCpuGraph) -> str:
    """One line: what the graph is of and where it is from."""
    snapshot = graph.snapshot
    parts = [f"{len(graph.vcpus)} vCPUs, {snapshot.origin}"]
    if snapshot.time:
        parts.append(snapshot.time)
    if snapshot.kernel:
        parts.append(f"Linux {snapshot.kernel}")
    if snapshot.clocksource:
        parts.append(f"clock {snapshot.clocksource}")
    if snapshot.probes:
        parts.append(f"{snapshot.probes} pairs probed")
    return ", ".join(parts)


def remarks(graph: VCpuGraph) -> list[str]:
    """What to know besides the table: latencies, stacked sets, stragglers, the prober's notes."""
    lines = []
    if classes := graph.snapshot.class_latency_ns:
        names = {
            Relation.STACKED: "stacked",
            Relation.SMT: "core",
            Relation.LLC: "LLC",
            Relation.SOCKET: "socket",
            Relation.NODE: "node",
            Relation.APART: "across nodes",
        }
        found = (f"{names[kind]} {ns:.1f} ns" for kind, ns in sorted(classes.items()))
        lines.append(f"latency of a cache line within: {', '.join(found)}")
    for stack in graph.stacks():
        lines.append(f"stacked: vCPUs {number_list(stack)} are one hardware thread")
    if slow := sorted(stragglers(graph.measures)):
        lines.append(f"stragglers: {number_list(slow)}")
    if _wrong_claims(graph):
        lines.append("≠ differs from what the guest was told")
    return [*lines, *graph.snapshot.notes]


def _wrong_claims(graph: VCpuGraph) -> set[tuple[Level, int]]:
    """The levels and vCPUs that share a domain with others than they were told."""
    claimed = graph.claimed
    if graph.snapshot.origin is Origin.CLAIMED or not claimed:
        return set()
    own = {vcpu: domains for vcpu, domains in graph.domains.items() if vcpu in claimed}
    return {
        (level, vcpu)
        for level in Level
        for group in partition(own, level) - partition(claimed, level)
        for vcpu in group
    }


def _measured_cells(measure: VCpuMeasure, now_ns: int | None, *, straggler: bool) -> list[Text]:
    cells = []
    if measure.capacity is None:
        cells.append(Text("not measured", style="dim"))
    else:
        style = "bold red" if straggler else "green" if _full(measure.capacity) else "cyan"
        bar = _bar(measure.capacity / FULL_CAPACITY)
        cells.append(Text(f"{bar} {measure.capacity:>4}", style=style))
    cells.append(Text("" if measure.share is None else f"{measure.share:.2f}"))
    activity = measure.activity
    if activity is None:
        cells += [Text("")] * 3
    elif activity.gaps_per_s == 0:
        cells += [Text("0"), Text("-"), Text("-")]
    else:
        cells += [
            Text(f"{activity.gaps_per_s:.1f}"),
            Text(f"{activity.mean_ns / _MS:.2f}"),
            Text(f"{activity.p95_ns / _MS:.2f}"),
        ]
    cells.append(Text(_forecast(measure, now_ns)))
    return cells


def _forecast(measure: VCpuMeasure, now_ns: int | None) -> str:
    """When it goes next; a periodic one that has gone by is followed by its repetitions."""
    if measure.prediction is None or now_ns is None:
        return ""
    left_ns = float(measure.prediction.at_ns - now_ns)
    if left_ns < 0 and measure.prediction.period_ns:
        left_ns %= measure.prediction.period_ns
    when = f"in {left_ns / _MS:.1f} ms" if left_ns >= 0 else "overdue"
    return f"{when}, {measure.prediction.confidence:.0%} sure"


def _full(capacity: int) -> bool:
    return capacity >= 0.9 * FULL_CAPACITY


def _bar(part: float) -> str:
    eighths = round(8 * _BAR_WIDTH * part)
    whole, rest = divmod(eighths, 8)
    return (_EIGHTHS[8] * whole + (_EIGHTHS[rest] if rest else "")).ljust(_BAR_WIDTH, "·")


def _remark(
    vcpu: int, measure: VCpuMeasure, stacked: Mapping[int, tuple[int, ...]], *, straggler: bool
) -> Text:
    remark = Text()
    if vcpu in stacked:
        others = number_list(other for other in stacked[vcpu] if other != vcpu)
        remark.append(f"STACKED with {others}", style="bold magenta")
    if straggler:
        remark.append(" " if remark else "")
        remark.append("STRAGGLER", style="bold red")
    if measure.unavailable:
        remark.append(" " if remark else "")
        remark.append(measure.unavailable, style="yellow")
    return remark
