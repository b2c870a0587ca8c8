"""Shapes the vCPU threads of a running VM as a plan says, and measures what they get.

Everything done to the host ends with `Shaping`: its control groups are removed by a keeper
(keeper.py), its timers die with this process (pulse.py), and affinities are put back here, where
they matter only if the VM goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.accounting import (
    Schedstat,
    Truth,
    from_events,
    from_schedstat,
    read_schedstat,
    with_timer,
)
from scx_vsched.vm.lab.groups import Groups, find_hierarchies, remove_stale
from scx_vsched.vm.lab.keeper import Keeper
from scx_vsched.vm.lab.profile import Mechanism
from scx_vsched.vm.lab.pulse import CORUNNER_PRIORITY
from scx_vsched.vm.lab.timers import Timer, programs
from scx_vsched.vm.lab.trace import try_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from scx_vsched.vm.lab.placing import Plan, Stage
    from scx_vsched.vm.lab.profile import VcpuShape
    from scx_vsched.vm.monitor import Emulator

__all__ = ["Shaping"]

_NS = 1_000_000_000
_START_NS = 50_000_000  # from the word to the start, so that every process is waiting for it
# The VM goes before the host's other work: what is taken from it shall be what the profile takes.
_NICE = -20


@dataclass(frozen=True, slots=True)
class _Mark:
    """A moment from which on to measure; from it on stage number `stage` is at work."""

    stage: int
    at_ns: int
    threads: dict[int, Schedstat]
    throttled: dict[int, tuple[int, int] | None]


@dataclass(slots=True)
class _Saved:
    """What to put back into a VM that goes on."""

    affinity: dict[int, set[int]] = field(default_factory=dict)
    nice: dict[int, int] = field(default_factory=dict)
    main: tuple[int, int] | None = None
    autogroup: str = ""


class Shaping:
    """The plan at work on a VM, from `start` to the end of the context."""

    def __init__(self, plan: Plan, emulator: Emulator, *, trace: bool = True) -> None:
        """Prepare; nothing is changed yet. Without `trace` single absences are not known.

        Raises:
            UserError: the VM has not the plan's vCPUs.
        """
        self.plan, self.pid, self.threads = plan, emulator.pid, emulator.threads
        self._wants_trace = trace
        wanted = len(plan.profile.shapes)
        if len(self.threads) != wanted:
            raise UserError(f"the profile has {wanted} vCPUs and the VM {len(self.threads)}")
        self.changed: list[tuple[float, float]] = []
        self._marks: list[_Mark] = []
        self.why_not_exact = ""
        self._saved = _Saved()
        self._stop = threading.Event()
        self._changer: threading.Thread | None = None
        self._timers: list[Timer] = []
        self._logs: dict[int, list[tuple[int, int]]] = {}
        self._frozen: set[int] = set()
        self._failure: UserError | None = None

    def __enter__(self) -> Self:
        hierarchies = find_hierarchies()
        remove_stale(hierarchies)
        self._keeper = Keeper()
        self._groups = Groups(hierarchies, self.pid, self.threads)
        self._trace, self.why_not_exact = None, "not asked for"
        if self._wants_trace:
            self._trace, self.why_not_exact = try_trace(self.threads.values())
        return self

    def start(self) -> None:
        """Shape the VM from now on.

        Raises:
            UserError: the host does not let us.
        """
        self._prefer()
        self._apply(self.plan.stages[0], None)
        self._timers = [Timer(*made) for made in programs(self.plan, self._groups)]
        for timer in self._timers:
            timer.ready()
        if self._timers:
            self._raise_main_loop()
        start_ns = time.monotonic_ns() + _START_NS
        for timer in self._timers:
            timer.start(start_ns)
        if len(self.plan.stages) > 1:
            self._changer = threading.Thread(target=self._change, args=(start_ns,), daemon=True)
            self._changer.start()
        time.sleep(max(0.0, (start_ns - time.monotonic_ns()) / _NS))

    @property
    def _autogroup(self) -> Path:
        return Path(f"/proc/{self.pid}/autogroup")

    def _prefer(self) -> None:
        """Put the VM before the host's other work, and remember how it was."""
        for tid in self._others():
            with contextlib.suppress(ProcessLookupError):
                self._saved.affinity[tid] = os.sched_getaffinity(tid)
                os.sched_setaffinity(tid, self.plan.emulator_cpus)
        for tid in self.threads.values():
            self._saved.affinity[tid] = os.sched_getaffinity(tid)
            self._saved.nice[tid] = os.getpriority(os.PRIO_PROCESS, tid)
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, tid, _NICE)
        # Where the kernel groups tasks by session, nice values count within a session only.
        with contextlib.suppress(OSError):
            _, _, nice = self._autogroup.read_text().rpartition(" nice ")
            self._autogroup.write_text(str(_NICE))
            self._saved.autogroup = nice.strip()

    def _others(self) -> list[int]:
        """The emulator's threads that are no vCPUs."""
        found = (int(task.name) for task in Path(f"/proc/{self.pid}/task").iterdir())
        return [tid for tid in found if tid not in self.threads.values()]

    def begin(self) -> None:
        """Measure from now on."""
        self._marks = [self._mark(len(self.changed))]

    def end(self) -> None:
        """Measure until now."""
        self._marks.append(self._mark(len(self.changed)))

    def _mark(self, stage: int) -> _Mark:
        now = time.monotonic_ns()
        read = {vcpu: read_schedstat(self.pid, tid, now) for vcpu, tid in self.threads.items()}
        threads = {vcpu: stat for vcpu, stat in read.items() if stat is not None}
        return _Mark(
            stage, now, threads, {vcpu: self._groups.throttled(vcpu) for vcpu in self.threads}
        )

    def truths(self) -> tuple[tuple[int, tuple[Truth, ...]], ...]:
        """What each vCPU got from `begin` to `end`, by stage: (stage number, by vCPU).

        To be asked after `finish`.
        """
        events = self._trace.events() if self._trace is not None else None
        return tuple(
            (begin.stage, tuple(self._truth(begin, end, events)))
            for begin, end in itertools.pairwise(self._marks)
        )

    def _truth(self, begin: _Mark, end: _Mark, events: NDArray[np.void] | None) -> Iterator[Truth]:
        for vcpu, tid in self.threads.items():
            if vcpu not in begin.threads or vcpu not in end.threads:
                continue  # the VM went away
            interval = begin.at_ns, end.at_ns
            log = [w for w in self._logs.get(vcpu, []) if w[1] > interval[0] and w[0] < interval[1]]
            frozen = log if vcpu in self._frozen else []
            throttled = _difference(begin.throttled[vcpu], end.throttled[vcpu])
            if events is not None:
                own = events[events["tid"] == tid]
                found = from_events(vcpu, own, interval, frozen, throttled)
            else:
                held = sum(min(b, interval[1]) - max(a, interval[0]) for a, b in frozen)
                stats = begin.threads[vcpu], end.threads[vcpu]
                found = from_schedstat(vcpu, *stats, held, throttled)
            yield with_timer(found, log, interval)

    def finish(self) -> None:
        """Stop shaping and collect the logs; the VM runs on unshaped.

        Raises:
            UserError: a timer or a change failed on the way.
        """
        self._stop.set()
        if self._changer is not None:
            self._changer.join()
        while self._timers:
            timer = self._timers.pop()
            for target, away, back in timer.stop():
                for vcpu in timer.vcpus[target]:
                    self._logs.setdefault(vcpu, []).append((away, back))
            if timer.freezes:
                self._frozen.update(itertools.chain(*timer.vcpus))
        if self._trace is not None and self._trace.full:
            raise UserError("the run was too long for the trace of the host's scheduler")
        if self._failure is not None:
            raise self._failure

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for timer in self._timers:
            timer.kill()
        if self._trace is not None:
            self._trace.close()
        for tid, cpus in self._saved.affinity.items():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(tid, cpus)
        for tid, nice in self._saved.nice.items():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, tid, nice)
        if self._saved.autogroup:
            with contextlib.suppress(OSError):
                self._autogroup.write_text(self._saved.autogroup)
        if self._saved.main is not None:
            policy, priority = self._saved.main
            with contextlib.suppress(OSError):
                os.sched_setscheduler(self.pid, policy, os.sched_param(priority))
        self._keeper.close()

    def _apply(self, stage: Stage, before: Stage | None) -> None:
        """Set affinities and quotas of `stage`, as far as they differ from `before`."""
        for vcpu, shape in enumerate(stage.shapes):
            was = before.shapes[vcpu] if before is not None else None
            tid = self.threads[vcpu]
            if was is None or was.cpus != shape.cpus:
                os.sched_setaffinity(tid, set(shape.cpus))
            limit, old = _bandwidth(shape), _bandwidth(was) if was is not None else (None, 0)
            if limit != old:
                self._groups.set_quota(vcpu, *limit)

    def _change(self, start_ns: int) -> None:
        """The changes, each at its time; `changed` gets (planned, done) in seconds."""
        before = self.plan.stages[0]
        for stage in self.plan.stages[1:]:
            due = start_ns + round(stage.at_s * _NS)
            if self._stop.wait(max(0.0, (due - time.monotonic_ns()) / _NS)):
                return
            try:
                self._apply(stage, before)
            except UserError as error:
                self._failure = error
                return
            except ProcessLookupError:
                return  # the VM is gone, which its own side reports
            self.changed.append((stage.at_s, (time.monotonic_ns() - start_ns) / _NS))
            if self._marks:
                self._marks.append(self._mark(len(self.changed)))
            before = stage

    def _raise_main_loop(self) -> None:
        """Put the emulator's main loop above co-runners, or the guest's timers starve."""
        policy = os.sched_getscheduler(self.pid)
        self._saved.main = (policy, os.sched_getparam(self.pid).sched_priority)
        fifo = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        try:
            os.sched_setscheduler(self.pid, fifo, os.sched_param(CORUNNER_PRIORITY + 1))
        except PermissionError:
            raise UserError(
                "shaping by co-runners and freezers needs the right to use real-time priorities",
                "run as root",
            ) from None


def _difference(
    before: tuple[int, int] | None, after: tuple[int, int] | None
) -> tuple[int, int] | None:
    if after is None:
        return None
    first = before or (0, 0)
    return after[0] - first[0], after[1] - first[1]


def _bandwidth(shape: VcpuShape) -> tuple[int | None, int]:
    """The quota and period for bandwidth control, (None, 0) where it has nothing to do."""
    limited = shape.by is Mechanism.QUOTA and shape.quota_us is not None and shape.share < 1
    return (shape.quota_us, shape.period_us) if limited else (None, 0)
