"""From a guest's log of switches and the host's account of absences to one picture in one time.

The guest's clock and the host's differ by an offset that the guest's events bound to some tens of
milliseconds. Within that, the right offset is the one at which least happens in the guest on vCPUs
that the host kept away: nothing can.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.lab.document import Picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.vm.lab.accounting import Truth

__all__ = ["Log", "find_offset", "picture", "read_log"]

# Of include/trace/events/sched.h, as kernel/trace/trace_output.c writes an event.
_LINE = re.compile(r"\[(\d+)\]\s+\S+\s+(\d+)\.(\d{6}): (sched_\w+): (.*)")
_SWITCH = re.compile(
    r"prev_comm=.* prev_pid=(\d+) prev_prio=\d+ prev_state=(\S+) ==> "
    r"next_comm=(.*) next_pid=(\d+) next_prio=\d+"
)
_MIGRATE = re.compile(r"pid=(\d+) prio=\d+ orig_cpu=(\d+) dest_cpu=(\d+)")
_WAKEUP = re.compile(r"pid=(\d+) prio=\d+ target_cpu=\d+")
_STEP_NS = 100_000
_SLACK_NS = 5_000_000


@dataclass(slots=True)
class Log:
    """What a guest logged, on its own clock, in ns.

    `running` are (from, to, pid) by vCPU, `moves` (at, pid, from vCPU, to vCPU), `moments` when
    anything happened on each vCPU, `names` the tasks'.
    """

    start_ns: int
    end_ns: int
    running: list[list[tuple[int, int, int]]]
    moments: list[list[int]]
    moves: list[tuple[int, int, int, int]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    longest_wait_ns: int = 0


def read_log(text: str, vcpus: int) -> Log:
    """The log in the text of the kernel's trace file; lines that it does not know are left out."""
    log = Log(0, 0, [[] for _ in range(vcpus)], [[] for _ in range(vcpus)])
    since: list[tuple[int, int] | None] = [None] * vcpus
    waiting: dict[int, int] = {}
    for line in text.splitlines():
        match = _LINE.search(line)
        if match is None or int(match[1]) >= vcpus:
            continue
        vcpu, at = int(match[1]), int(match[2]) * 10**9 + int(match[3]) * 1000
        log.start_ns = log.start_ns or at
        log.end_ns = max(log.end_ns, at)
        log.moments[vcpu].append(at)
        if switch := _SWITCH.match(match[5]):
            before, state, name, after = int(switch[1]), switch[2], switch[3], int(switch[4])
            task = since[vcpu]
            if task is not None and task[1] == before:
                log.running[vcpu].append((task[0], at, before))
            since[vcpu] = (at, after) if after else None
            waiting.pop(before, None)
            if before and state.startswith("R"):
                waiting[before] = at
            if after:
                log.names[str(after)] = name
                waited = at - waiting.pop(after, at)
                log.longest_wait_ns = max(log.longest_wait_ns, waited)
        elif move := _MIGRATE.search(match[5]):
            log.moves.append((at, int(move[1]), int(move[2]), int(move[3])))
        elif wakeup := _WAKEUP.search(match[5]):
            waiting.setdefault(int(wakeup[1]), at)
    for vcpu, task in enumerate(since):
        if task is not None and log.end_ns > task[0]:
            log.running[vcpu].append((task[0], log.end_ns, task[1]))
    return log


def find_offset(
    log: Log,
    away: Mapping[int, Sequence[tuple[int, int]]],
    clocks: Sequence[tuple[int, int, int]],
) -> int:
    """What to add to the guest's times to have the host's.

    `away` are (from, to) by vCPU in the host's time; `clocks` as in `LabSession`.
    """
    if not clocks:
        raise ValueError("the guest told no time")
    low = max(before - guest for guest, before, _ in clocks) - _SLACK_NS
    high = min(after - guest for guest, _, after in clocks) + _SLACK_NS
    offsets = np.arange(min(low, high), max(low, high) + 1, _STEP_NS)
    impossible = np.zeros(len(offsets))
    for vcpu, spans in away.items():
        if not spans or vcpu >= len(log.moments):
            continue
        starts = np.array([start for start, _ in spans])
        ends = np.array([end for _, end in spans])
        moments = np.array(log.moments[vcpu])
        for number, offset in enumerate(offsets):
            at = np.searchsorted(starts, moments + offset, side="right") - 1
            impossible[number] += np.count_nonzero((at >= 0) & (moments + offset < ends[at]))
    best = offsets[impossible == impossible.min()]
    return int(best[np.argmin(np.abs(best - (low + high) // 2))])


def picture(
    scheduler: str,
    log: Log,
    truths: Sequence[Truth],
    clocks: Sequence[tuple[int, int, int]],
    length_ns: int,
) -> Picture:
    """At most `length_ns` from the middle of the log, with the host's absences."""
    away = {t.vcpu: [(a.start_ns, a.start_ns + a.length_ns) for a in t.away] for t in truths}
    offset = find_offset(log, away, clocks)
    start = max(log.start_ns, (log.start_ns + log.end_ns - length_ns) // 2)
    end = min(log.end_ns, start + length_ns)

    def cut(first: int, last: int) -> tuple[int, int] | None:
        found = max(first, start) - start, min(last, end) - start
        return found if found[1] > found[0] else None

    def running(vcpu: int) -> list[tuple[int, int, int]]:
        cuts = [(cut(a, b), pid) for a, b, pid in log.running[vcpu]]
        return [(*span, pid) for span, pid in cuts if span]

    def gone(vcpu: int) -> list[tuple[int, int]]:
        cuts = [cut(a - offset, b - offset) for a, b in away.get(vcpu, [])]
        return [span for span in cuts if span]

    vcpus = range(len(log.running))
    rows = tuple(tuple(running(vcpu)) for vcpu in vcpus)
    pids = {str(pid) for row in rows for _, _, pid in row}
    return Picture(
        scheduler=scheduler,
        length_ns=end - start,
        running=rows,
        away=tuple(tuple(gone(vcpu)) for vcpu in vcpus),
        moves=tuple(
            (at - start, pid, source, target)
            for at, pid, source, target in log.moves
            if start <= at < end
        ),
        longest_wait_ns=log.longest_wait_ns,
        names={pid: name for pid, name in log.names.items() if pid in pids},
    )
