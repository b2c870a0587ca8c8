"""The machine that this runs on, probed by pinned threads of the C extension in native/.

The extension leaves the caller's own affinity and priority alone; its threads end before a call
returns, also on Ctrl-C. What a probe needs beyond an ordinary user's rights it tries, and does
without when refused: `NativeMachine.limits` says what that means.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.topology.clock import clock_problem, in_thread
from scx_vsched.topology.records import Availability, Demand, Gap, PairSample
from scx_vsched.topology.sysfs import parse_cpu_list

try:
    from scx_vsched.topology import _probe
except ImportError as error:
    raise UserError(
        "the native probe is not built for this Python",
        "run tools/setup, or `pip install -e .` where gcc and Python's headers are installed",
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

__all__ = ["NativeMachine"]

# A spinner's gap. The guest's own interrupts take up to 0.1 ms, in an emulated guest mostly less
# than 0.3 ms; a host's scheduler gives others 0.7 ms or more.
_SPIN_GAP_NS = 300_000
# A sleeper wakes up this often, which is how short a gap it may miss and how much it costs.
_SLEEP_PERIOD_NS = 1_000_000
# Lateness of a wake-up that counts. Others are up to 0.17 ms late, in an emulated guest mostly
# less than 0.45 ms.
_LATE_NS = 500_000

_SECOND_NS = 1_000_000_000
# What the cpuset allows is asked again after so long, or when a probe finds that it does not.
_ASK_AGAIN_NS = 10 * _SECOND_NS

_OFFLINE = "offline"
_HIDDEN = "hidden by a cpuset"
_REASONS = {
    _probe.LEFT: "went away during a probe",
    _probe.NO_THREAD: "no thread could be started for it",
}


def _permitted(action: Callable[[], object]) -> bool:
    """Whether a thread may do `action`."""

    def attempt() -> bool:
        try:
            action()
        except OSError:
            return False
        return True

    return in_thread(attempt)


class NativeMachine:
    """This machine, as `Machine`.

    `proc` and `sys` are where the kernel's figures are read; tests give recorded ones.
    """

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._stat = proc / "stat"
        self._schedstat = proc / "thread-self/schedstat"
        self._cpus = sys / "devices/system/cpu"
        self._clock_source = sys / "devices/system/clocksource/clocksource0/current_clocksource"
        self._failed: dict[int, str] = {}
        self._known_vcpus: tuple[set[int], set[int]] | None = None  # online, and allowed of these
        self._ask_again_ns = 0

    def _listed(self, name: str) -> set[int]:
        return set(parse_cpu_list((self._cpus / name).read_text(encoding="ascii")))

    def _allowed(self) -> set[int]:
        """vCPUs that the kernel lets a thread of ours use, whatever this process is pinned to."""
        online = {vcpu for vcpu in self._listed("online") if vcpu < _probe.MAX_VCPUS}
        now_ns = self.now_ns()
        if self._known_vcpus and now_ns < self._ask_again_ns and self._known_vcpus[0] == online:
            return self._known_vcpus[1]

        def widest() -> set[int]:
            os.sched_setaffinity(0, online)  # the kernel takes off what the cpuset hides
            return os.sched_getaffinity(0) & online

        allowed = in_thread(widest)
        self._known_vcpus, self._ask_again_ns = (online, allowed), now_ns + _ASK_AGAIN_NS
        return allowed

    def vcpus(self) -> tuple[int, ...]:
        """The vCPUs that are online and in the cpuset, in increasing order.

        One that a cpuset has just given back may appear some seconds later.
        """
        return tuple(sorted(self._allowed()))

    def unavailable(self) -> dict[int, str]:
        """The possible vCPUs that may not be probed, and those that the last probe lost.

        The latter may be back by now, and then appear in `vcpus` too, until probed again.
        """
        online = self._listed("online")
        missing = self._listed("possible") - self._allowed()
        reasons = {vcpu: _HIDDEN if vcpu in online else _OFFLINE for vcpu in missing}
        reasons |= {
            vcpu: f"numbers from {_probe.MAX_VCPUS} on are not probed"
            for vcpu in missing
            if vcpu >= _probe.MAX_VCPUS
        }
        return dict(sorted((reasons | self._failed).items()))

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def sleep_ns(self, duration_ns: int) -> None:
        """Sleeps for `duration_ns`; ValueError when negative."""
        time.sleep(duration_ns / _SECOND_NS)

    def pair_probes(
        self, pairs: Sequence[tuple[int, int]], budget_ns: int, samples: int
    ) -> dict[tuple[int, int], PairSample]:
        """Probes disjoint `pairs` at the same time: see `Machine`.

        A latency is the mean of 16 transfers during which neither thread noticed that it did not
        run. A pair's time begins when both of its threads have been seen running; a pair that
        never got as far within 0.1 s comes back without latencies and without activity.
        Besides the shared vCPU, ValueError names numbers that are no vCPU and amounts out of range.
        """
        members = [vcpu for pair in pairs for vcpu in pair]
        if len(set(members)) < len(members):
            raise ValueError("a vCPU can be in one pair at a time only")
        self._check(members)
        found: dict[tuple[int, int], PairSample] = {}
        results = _probe.pair_probes(pairs, budget_ns, samples)
        self._note(members, (state for result in results for state in result[0]))
        for (a, b), (states, latencies, active, both, elapsed) in zip(pairs, results, strict=True):
            if states == (_probe.OK, _probe.OK):
                found[a, b] = PairSample(a, b, latencies, active, both, elapsed)
        return found

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        """Watches all of `vcpus` at the same time for `duration_ns`: see `Machine`.

        A gap is time that the host took: what the guest gave to others is in `lost_ns`. ValueError
        names numbers that are no vCPU and durations out of range.
        """
        chosen = sorted(set(vcpus))
        self._check(chosen)
        sleeps = demand is Demand.SLEEP
        threshold_ns = _LATE_NS if sleeps else _SPIN_GAP_NS
        results = _probe.watch(chosen, duration_ns, demand, threshold_ns, _SLEEP_PERIOD_NS)
        self._note(chosen, (result[0] for result in results))
        return {
            vcpu: Availability(
                vcpu=vcpu,
                start_ns=start_ns,
                end_ns=end_ns,
                gaps=tuple(Gap(*gap) for gap in gaps),
                resolution_ns=_SLEEP_PERIOD_NS if sleeps else 0,
                loops=loops,
                cpu_ns=cpu_ns,
                lost_ns=lost_ns,
                blip_ns=blip_ns,
            )
            for vcpu, (state, start_ns, end_ns, gaps, loops, cpu_ns, lost_ns, blip_ns) in zip(
                chosen, results, strict=True
            )
            if state == _probe.OK
        }

    def _check(self, vcpus: Iterable[int]) -> None:
        unknown = set(vcpus) - self._listed("possible")
        if unknown:
            raise ValueError(f"no such vCPU: {', '.join(map(str, sorted(unknown)))}")

    def _note(self, vcpus: Iterable[int], states: Iterable[int]) -> None:
        """Remembers why vCPUs of a probe are absent from its result."""
        online: set[int] | None = None
        for vcpu, state in zip(vcpus, states, strict=True):
            self._failed.pop(vcpu, None)
            if state != _probe.OK:
                self._known_vcpus = None
            if state == _probe.OFFLINE:
                online = self._listed("online") if online is None else online
                self._failed[vcpu] = _HIDDEN if vcpu in online else _OFFLINE
            elif state != _probe.OK:
                self._failed[vcpu] = _REASONS[state]

    def _ticks(self) -> dict[int, list[int]]:
        """The columns of /proc/stat for each online vCPU."""
        rows = (line.split() for line in self._stat.read_text(encoding="ascii").splitlines())
        return {
            int(row[0][3:]): [int(column) for column in row[1:]]
            for row in rows
            if row and row[0].startswith("cpu") and row[0] != "cpu"
        }

    def steal_ns(self) -> dict[int, int] | None:
        """Steal since boot in steps of 10 ms, the kernel's finest account of it.

        None when /proc/stat has no such column. A column of zeros is given as it is: whether the
        hypervisor reports steal at all is for the caller to judge.
        """
        tick_ns = _SECOND_NS // os.sysconf("SC_CLK_TCK")
        ticks = self._ticks()
        if not ticks or min(map(len, ticks.values())) < 8:
            return None
        return {vcpu: columns[7] * tick_ns for vcpu, columns in ticks.items()}

    def busy_ns(self) -> dict[int, int]:
        """Time that each online vCPU has not been idle, without steal; only differences count.

        What /proc/stat does not count as idle or stolen. The kernel takes idle time by the clock,
        but busy time in ticks, and where it is told of no steal the ticks that fall into an absence
        are lost (kernel/sched/cputime.c, account_process_tick()): a busy vCPU would look idle.
        """
        tick_ns = _SECOND_NS // os.sysconf("SC_CLK_TCK")
        now_ns = self.now_ns()
        # idle, iowait; steal
        return {
            vcpu: now_ns - (sum(columns[3:5]) + sum(columns[7:8])) * tick_ns
            for vcpu, columns in self._ticks().items()
        }

    def limits(self) -> tuple[str, ...]:
        """What cannot be measured here, or less well, one sentence each; empty when all can."""
        sentences = []
        fifo = os.sched_param(1)
        if not _permitted(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, fifo)):
            sentences.append(
                "SCHED_FIFO is not permitted: probes wait behind other tasks, see less of vCPUs "
                "that are busy, and may miss that these are stacked."
            )
        if not _permitted(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)):
            sentences.append(
                "Raising priority is not permitted: pair probes share their vCPUs with what runs "
                "there, and take longer."
            )
        if not self._counts_waits():
            sentences.append(
                "The kernel does not count how long tasks wait (CONFIG_SCHED_INFO): sleeping "
                "probes may take the guest's own work for the host's."
            )
        hidden = [vcpu for vcpu, reason in self.unavailable().items() if reason == _HIDDEN]
        if hidden:
            sentences.append(
                f"A cpuset hides vCPUs from this process: {', '.join(map(str, hidden))}."
            )
        return tuple(sentences)

    def _counts_waits(self) -> bool:
        try:
            fields = self._schedstat.read_text(encoding="ascii").split()
        except OSError:
            return False
        return len(fields) == 3 and fields[2] != "0"

    def clock_source(self) -> str:
        """The kernel's name for the clock source in use; empty when it does not say."""
        try:
            return self._clock_source.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def clock_problem(self) -> str | None:
        """Why CLOCK_MONOTONIC is not fit for probing, None when it is; takes up to 0.2 s."""
        return clock_problem(self.clock_source() or "unknown", self.vcpus())
