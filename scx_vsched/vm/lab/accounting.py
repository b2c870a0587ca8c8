"""What each vCPU really got, from the host's point of view: the ground truth of every experiment.

A vCPU thread is at any time in one of three states. It *runs* on a host CPU. It is *away* when it
would run but may not: preempted, throttled, frozen, or woken and not yet running. It *sleeps* when
the guest has halted the vCPU or the emulator waits for something. The share that the vCPU got is
running ÷ (running + away): what it would get if it wanted all the time.

Exact where the scheduler's switches can be traced (trace.py). Otherwise from
/proc/PID/task/TID/schedstat, which counts the same times (kernel/sched/stats.h, sched_info_depart:
run time, time on a run queue, times put on a CPU) but knows no single absence, counts frozen time
as sleep, and gives the mean absence as waiting ÷ times put on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.vm.lab.trace import OFF, ON, WOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Away",
    "Schedstat",
    "Truth",
    "from_events",
    "from_schedstat",
    "read_schedstat",
    "with_timer",
]

# kernel/include/linux/sched.h: the task is runnable, or the version 1 freezer holds it.
_RUNNABLE, _FROZEN = 0, 0x8000
# Absences shorter than this are the host's own housekeeping: a guest that looks once a millisecond
# sees fewer than half of them.
MIN_AWAY_NS = 500_000


@dataclass(frozen=True, slots=True)
class Away:
    """One absence, CLOCK_MONOTONIC of the host."""

    start_ns: int
    length_ns: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What one vCPU got in `wall_ns`; `exact` when each switch was seen.

    `away` are the absences of at least `MIN_AWAY_NS`, empty when not exact; `mean_away_ns` is
    their mean length, an estimate when not exact. `throttled` is (times, ns) of the cgroup.
    `offered` is the share that a timer's log left to the vCPU, whether it wanted it or not, and
    `withheld` are that log's whole windows; None and empty without a timer.
    """

    vcpu: int
    wall_ns: int
    run_ns: int
    away_ns: int
    exact: bool
    mean_away_ns: float
    away: tuple[Away, ...] = ()
    throttled: tuple[int, int] | None = None
    offered: float | None = None
    withheld: tuple[Away, ...] = ()

    @property
    def asleep_ns(self) -> int:
        """Neither running nor away."""
        return max(0, self.wall_ns - self.run_ns - self.away_ns)

    @property
    def share(self) -> float:
        """Running ÷ (running + away); 1.0 for a vCPU that slept all the time."""
        wanted = self.run_ns + self.away_ns
        return self.run_ns / wanted if wanted else 1.0

    def percentile_away_ns(self, part: float) -> float:
        """The length that `part` (0 to 1) of the absences do not exceed; 0 without any."""
        lengths = [each.length_ns for each in self.away]
        return float(np.quantile(lengths, part)) if lengths else 0.0


@dataclass(frozen=True, slots=True)
class Schedstat:
    """The three numbers of a thread's schedstat and when they were read."""

    at_ns: int
    run_ns: int
    wait_ns: int
    slices: int


def from_events(
    vcpu: int,
    events: NDArray[np.void],
    interval: tuple[int, int],
    withheld: Sequence[tuple[int, int]] = (),
    throttled: tuple[int, int] | None = None,
) -> Truth:
    """The truth of a vCPU in `interval` by its thread's `events` (trace.EVENT).

    `withheld` are (from, to) in which a freezer of version 2 kept the thread, which the trace
    cannot tell from sleep: what it slept then counts as away.
    """
    start_ns, end_ns = interval
    spans = _spans(events, start_ns, end_ns, withheld)
    run = sum(end - start for state, start, end in spans if state == ON)
    gone = [Away(start, end - start) for state, start, end in spans if state == OFF]
    # An absence that the interval cuts is part of the share but has no length.
    whole = tuple(
        each
        for each in gone
        if each.length_ns >= MIN_AWAY_NS
        and each.start_ns > start_ns
        and each.start_ns + each.length_ns < end_ns
    )
    return Truth(
        vcpu,
        end_ns - start_ns,
        run,
        sum(each.length_ns for each in gone),
        exact=True,
        mean_away_ns=float(np.mean([each.length_ns for each in whole])) if whole else 0.0,
        away=whole,
        throttled=throttled,
    )


def with_timer(truth: Truth, log: Sequence[tuple[int, int]], interval: tuple[int, int]) -> Truth:
    """`truth` with what a timer's `log` of (from, to) says of `interval`."""
    if not log:
        return truth
    start, end = interval
    held = sum(max(0, min(back, end) - max(away, start)) for away, back in log)
    whole = tuple(Away(a, b - a) for a, b in log if a >= start and b <= end)
    return replace(truth, offered=1 - held / (end - start), withheld=whole)


def _spans(
    events: NDArray[np.void], start_ns: int, end_ns: int, withheld: Sequence[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """(state, from, to) with state ON, OFF (away) or 0 (asleep), without gaps between them."""
    state, since, woken = _state_before(events, start_ns), start_ns, False
    spans: list[tuple[int, int, int]] = []

    def close(at: int) -> None:
        if at > since:
            spans.append((state, since, at))

    for at, what in zip(events["at_ns"].tolist(), events["what"].tolist(), strict=True):
        if what >= OFF and state == OFF and woken:
            # Switches from the idle task are missing at times. The kernel's counters agree that
            # the thread ran soon after it was woken (docs/probing.md).
            state = ON
        following = _next_state(state, what)
        if following == state:
            continue
        woken = what == WOKEN
        if at > start_ns:
            at_most = min(at, end_ns)
            close(at_most)
            since = at_most
        state = following
        if at >= end_ns:
            break
    close(end_ns)
    return _merged(_with_withheld(spans, withheld))


def _state_before(events: NDArray[np.void], start_ns: int) -> int:
    """The state at `start_ns` by the first event that tells, when none came before it."""
    before = events[events["at_ns"] <= start_ns]
    if len(before) or not len(events):
        return 0  # replayed from the first event on; without events the thread slept
    first = int(events[0]["what"])
    return ON if first >= OFF else OFF if first == ON else 0


def _next_state(state: int, what: int) -> int:
    if what == ON:
        return ON
    if what == WOKEN:
        return OFF if state == 0 else state
    reason = what & ~OFF
    return OFF if reason == _RUNNABLE or reason & _FROZEN else 0


def _with_withheld(
    spans: list[tuple[int, int, int]], withheld: Sequence[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """`spans` with sleep that began in a withheld window turned into absence up to its end."""
    if not withheld:
        return spans
    starts = np.array([start for start, _ in withheld])
    found = []
    for state, start, end in spans:
        at = int(np.searchsorted(starts, start, side="right")) - 1
        if state == 0 and at >= 0 and start < withheld[at][1]:
            back = min(end, withheld[at][1])
            found.append((OFF, start, back))
            if back < end:
                found.append((0, back, end))
        else:
            found.append((state, start, end))
    return found


def _merged(spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for state, start, end in spans:
        if found and found[-1][0] == state:
            found[-1] = (state, found[-1][1], end)
        else:
            found.append((state, start, end))
    return found


def read_schedstat(pid: int, tid: int, now_ns: int) -> Schedstat | None:
    """The thread's counters, or None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()
    except OSError:
        return None
    return Schedstat(now_ns, *(int(each) for each in fields[:3]))


def from_schedstat(
    vcpu: int,
    before: Schedstat,
    after: Schedstat,
    withheld_ns: int = 0,
    throttled: tuple[int, int] | None = None,
) -> Truth:
    """The truth between two readings; `withheld_ns` is how long a freezer kept the thread."""
    away = after.wait_ns - before.wait_ns + withheld_ns
    slices = after.slices - before.slices
    return Truth(
        vcpu,
        after.at_ns - before.at_ns,
        after.run_ns - before.run_ns,
        away,
        exact=False,
        mean_away_ns=away / slices if slices else 0.0,
        throttled=throttled,
    )
