"""What a trace shows, as spans of time on each vCPU, and as a Chrome/Perfetto trace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.sim.run import Record

__all__ = ["Move", "Span", "Timeline", "chrome_trace", "timeline"]

# Steps that are worth a mark of their own in a trace viewer.
_MARKS = ("wake", "migrate", "kick", "idle_claim", "fork", "exit", "affinity", "weight", "bypass",
          "host_change", "offline", "online", "request", "decision")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_ns` to `end_ns`: the task `pid` runs (or, without one, the vCPU is hosted)."""

    start_ns: int
    end_ns: int
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A task goes from one vCPU to another; `why` is what the scheduler counted, if anything."""

    at_ns: int
    pid: int
    source: int
    target: int
    why: str = ""


@dataclass(slots=True)
class Timeline:
    """By vCPU: when its host thread ran and when which task did; and all migrations."""

    start_ns: int
    end_ns: int
    hosted: list[list[Span]] = field(default_factory=list)
    running: list[list[Span]] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)

    def cut(self, start_ns: int, end_ns: int) -> Timeline:
        """What of it lies between the two times."""
        start = max(start_ns, self.start_ns)

        def part(rows: list[list[Span]]) -> list[list[Span]]:
            return [
                [
                    Span(max(span.start_ns, start), min(span.end_ns, end_ns), span.pid)
                    for span in row
                    if span.end_ns > start and span.start_ns < end_ns
                ]
                for row in rows
            ]

        moves = [move for move in self.moves if start <= move.at_ns <= end_ns]
        return Timeline(start, end_ns, part(self.hosted), part(self.running), moves)


def timeline(trace: Sequence[Record], vcpus: int, end_ns: int) -> Timeline:
    """The spans in `trace`; what had begun before it begins with its first step."""
    start_ns = trace[0].at_ns if trace else 0
    found = Timeline(start_ns, max(end_ns, start_ns + 1))
    found.hosted = [[] for _ in range(vcpus)]
    found.running = [[] for _ in range(vcpus)]
    hosted_since: list[int | None] = [None] * vcpus
    running_since: list[tuple[int, int] | None] = [None] * vcpus
    decision: Record | None = None
    for record in trace:
        vcpu = record.vcpu
        if vcpu is None:
            continue
        if record.kind == "decision":
            decision = record
        if record.kind == "host_in":
            hosted_since[vcpu] = record.at_ns
        elif record.kind == "host_out":
            since = hosted_since[vcpu]
            first = start_ns if since is None and not found.hosted[vcpu] else since
            if first is not None:
                found.hosted[vcpu].append(Span(first, record.at_ns))
            hosted_since[vcpu] = None
        elif record.kind == "switch_in" and record.pid is not None:
            running_since[vcpu] = (record.at_ns, record.pid)
        elif record.kind in ("preempted", "slept") and record.pid is not None:
            task = running_since[vcpu]
            if task is None and not found.running[vcpu]:
                task = (start_ns, record.pid)
            if task is not None:
                found.running[vcpu].append(Span(task[0], record.at_ns, task[1]))
            running_since[vcpu] = None
        elif record.kind == "migrate" and record.pid is not None:
            why = decision.why if decision and decision.at_ns == record.at_ns else ""
            found.moves.append(Move(record.at_ns, record.pid, record.detail, vcpu, why))
    for vcpu in range(vcpus):
        since, task = hosted_since[vcpu], running_since[vcpu]
        if since is not None:
            found.hosted[vcpu].append(Span(since, found.end_ns))
        if task is not None:
            found.running[vcpu].append(Span(task[0], found.end_ns, task[1]))
    return found


def chrome_trace(trace: Sequence[Record], vcpus: int, end_ns: int) -> dict[str, Any]:
    """The trace in the format that Perfetto and chrome://tracing read; times there are in us.

    Each vCPU is a process with two rows: the host's (is it given a hardware thread) and the
    guest's (which task runs).
    """
    spans = timeline(trace, vcpus, end_ns)
    events: list[dict[str, Any]] = []
    for vcpu in range(vcpus):
        for row, name in ((0, "host"), (1, "guest")):
            events.append(
                {"ph": "M", "name": "thread_name", "pid": vcpu, "tid": row, "args": {"name": name}}
            )
        events.append(
            {"ph": "M", "name": "process_name", "pid": vcpu, "args": {"name": f"vCPU {vcpu}"}}
        )
        events += [_complete("given", vcpu, 0, span) for span in spans.hosted[vcpu]]
        events += [_complete(f"task {s.pid}", vcpu, 1, s) for s in spans.running[vcpu]]
    for record in trace:
        if record.kind in _MARKS:
            events.append(
                {
                    "ph": "i",
                    "s": "t",
                    "name": _name(record),
                    "pid": record.vcpu or 0,
                    "tid": 1,
                    "ts": record.at_ns / 1000,
                    "args": {"detail": record.detail},
                }
            )
    return {"displayTimeUnit": "ns", "traceEvents": events}


def _name(record: Record) -> str:
    what = record.why or record.kind
    return what if record.pid is None else f"{what} {record.pid}"


def _complete(name: str, vcpu: int, row: int, span: Span) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": name,
        "pid": vcpu,
        "tid": row,
        "ts": span.start_ns / 1000,
        "dur": (span.end_ns - span.start_ns) / 1000,
    }
