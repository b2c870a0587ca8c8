"""Shapes the vCPU threads of a running VM as a plan says, and measures what they get.

Everything done to the host ends with `Shaping`: its control groups are removed by a keeper
(keeper.py), its timers die with this process (pulse.py), and affinities are put back here, where
they matter only if the VM goes on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.accounting import (
    Schedstat,
    Truth,
    from_events,
    from_schedstat,
    read_schedstat,
)
from scx_vsched.vm.lab.groups import Groups, find_hierarchies, remove_stale
from scx_vsched.vm.lab.keeper import Keeper
from scx_vsched.vm.lab.profile import Mechanism
from scx_vsched.vm.lab.pulse import CORUNNER_PRIORITY, Program, Pulse, Switch
from scx_vsched.vm.lab.trace import try_trace
from scx_vsched.vm.qemu import vcpu_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from scx_vsched.vm.lab.placing import Plan, Stage
    from scx_vsched.vm.lab.profile import VcpuShape

__all__ = ["Shaping"]

_NS = 1_000_000_000
_START_NS = 50_000_000  # from the word to the start, so that every process is waiting for it
_READY_S = 20.0
_LIMIT_S = 7200.0  # no timer process lives longer
# The VM goes before the host's other work: what is taken from it shall be what the profile takes.
_NICE = -10


@dataclass(frozen=True, slots=True)
class _Mark:
    """A moment from which on to measure; from it on stage number `stage` is at work."""

    stage: int
    at_ns: int
    threads: dict[int, Schedstat]
    throttled: dict[int, tuple[int, int] | None]


class _Pulser:
    """A process of pulse.py."""

    def __init__(self, program: Program, vcpus: tuple[int, ...]) -> None:
        self.vcpus = vcpus
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scx_vsched.vm.lab.pulse"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._send(program.to_json())

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            answer = json.loads(self._process.stdout.readline())
        except ValueError:
            answer = {"error": "it ended"}
        if isinstance(answer, dict) and "error" not in answer:
            return answer
        reason = answer["error"] if isinstance(answer, dict) else "it makes no sense"
        raise UserError(
            f"the timer that shapes vCPUs failed: {reason}",
            "co-runners and freezers need the right to use real-time priorities (root)",
        )

    def ready(self) -> None:
        """Wait until it has done everything but start."""
        self._answer()

    def start(self, at_ns: int) -> None:
        """Let it begin at `at_ns`."""
        self._send(str(at_ns))

    def stop(self) -> list[tuple[int, int, int]]:
        """End it; what it did, as (target, away_ns, back_ns)."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            log = self._answer()["log"]
        finally:
            self.kill()
        assert isinstance(log, list)  # noqa: S101 - of our own making
        return [(int(t), int(a), int(b)) for t, a, b in log]

    def kill(self) -> None:
        """End it without asking."""
        self._process.kill()
        self._process.wait()


@dataclass(slots=True)
class _Saved:
    """What to put back into a VM that goes on."""

    affinity: dict[int, set[int]] = field(default_factory=dict)
    nice: dict[int, int] = field(default_factory=dict)
    main: tuple[int, int] | None = None


class Shaping:
    """The plan at work on the QEMU process `pid`, from `start` to the end of the context."""

    def __init__(self, plan: Plan, pid: int) -> None:
        """Prepare; nothing is changed yet.

        Raises:
            UserError: the VM has not the plan's vCPUs.
        """
        self.plan, self.pid = plan, pid
        self.threads = dict(sorted(vcpu_threads(pid).items()))
        wanted = len(plan.profile.shapes)
        if len(self.threads) != wanted:
            raise UserError(f"the profile has {wanted} vCPUs and the VM {len(self.threads)}")
        self.changed: list[tuple[float, float]] = []
        self._marks: list[_Mark] = []
        self.why_not_exact = ""
        self._saved = _Saved()
        self._stop = threading.Event()
        self._changer: threading.Thread | None = None
        self._pulsers: list[_Pulser] = []
        self._logs: dict[int, list[tuple[int, int]]] = {}
        self._failure: UserError | None = None

    def __enter__(self) -> Self:
        hierarchies = find_hierarchies()
        remove_stale(hierarchies)
        self._keeper = Keeper()
        self._groups = Groups(hierarchies, self.pid, self.threads)
        self._trace, self.why_not_exact = try_trace(self.threads.values())
        return self

    def start(self) -> None:
        """Shape the VM from now on.

        Raises:
            UserError: the host does not let us.
        """
        for tid in self.threads.values():
            self._saved.affinity[tid] = os.sched_getaffinity(tid)
            self._saved.nice[tid] = os.getpriority(os.PRIO_PROCESS, tid)
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, tid, _NICE)
        self._apply(self.plan.stages[0], None)
        self._pulsers = [_Pulser(*made) for made in _programs(self.plan, self._groups)]
        for pulser in self._pulsers:
            pulser.ready()
        if self._pulsers:
            self._raise_main_loop()
        start_ns = time.monotonic_ns() + _START_NS
        for pulser in self._pulsers:
            pulser.start(start_ns)
        if len(self.plan.stages) > 1:
            self._changer = threading.Thread(target=self._change, args=(start_ns,), daemon=True)
            self._changer.start()
        time.sleep(max(0.0, (start_ns - time.monotonic_ns()) / _NS))

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
            log = [w for w in self._logs.get(vcpu, []) if w[1] > begin.at_ns and w[0] < end.at_ns]
            throttled = _difference(begin.throttled[vcpu], end.throttled[vcpu])
            if events is not None:
                own = events[events["tid"] == tid]
                yield from_events(vcpu, own, (begin.at_ns, end.at_ns), log, throttled)
            else:
                held = sum(min(b, end.at_ns) - max(a, begin.at_ns) for a, b in log)
                stats = begin.threads[vcpu], end.threads[vcpu]
                yield from_schedstat(vcpu, *stats, held, throttled)

    def finish(self) -> None:
        """Stop shaping and collect the logs; the VM runs on unshaped.

        Raises:
            UserError: a timer or a change failed on the way.
        """
        self._stop.set()
        if self._changer is not None:
            self._changer.join()
        while self._pulsers:
            pulser = self._pulsers.pop()
            for target, away, back in pulser.stop():
                if pulser.vcpus:
                    self._logs.setdefault(pulser.vcpus[target], []).append((away, back))
        if self._trace is not None and self._trace.full:
            raise UserError("the run was too long for the trace of the host's scheduler")
        if self._failure is not None:
            raise self._failure

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for pulser in self._pulsers:
            pulser.kill()
        if self._trace is not None:
            self._trace.close()
        for tid, cpus in self._saved.affinity.items():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(tid, cpus)
                os.setpriority(os.PRIO_PROCESS, tid, self._saved.nice[tid])
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


def _programs(plan: Plan, groups: Groups) -> Iterator[tuple[Program, tuple[int, ...]]]:
    """The timer processes that a plan needs, each with the vCPU of each of its switches."""
    frozen = sorted({v for v, _ in _timed(plan, Mechanism.FREEZER)})
    if frozen:
        switches = []
        for vcpu in frozen:
            path, away, back = groups.freezer(vcpu)
            switches.append(Switch(str(path), away, back))
        pulses = tuple(
            _pulse(frozen.index(vcpu), *made) for vcpu, made in _timed(plan, Mechanism.FREEZER)
        )
        yield Program(tuple(switches), pulses, -1, _LIMIT_S), tuple(frozen)
    by_cpu: dict[int, set[Pulse]] = {}
    for _, made in _timed(plan, Mechanism.CORUNNER):
        by_cpu.setdefault(made[0].cpus[0], set()).add(_pulse(0, *made))
    for cpu, found in sorted(by_cpu.items()):
        yield Program((Switch(),), tuple(sorted(found, key=lambda p: p.from_ns)), cpu, _LIMIT_S), ()


def _timed(plan: Plan, by: Mechanism) -> Iterator[tuple[int, tuple[VcpuShape, float, float]]]:
    """Each stretch of time in which a vCPU is shaped `by`: (vCPU, (shape, from, to)) in seconds."""
    ends = [stage.at_s for stage in plan.stages[1:]] + [_LIMIT_S]
    for vcpu in range(len(plan.profile.shapes)):
        begin: float | None = None
        for number, (stage, end) in enumerate(zip(plan.stages, ends, strict=True)):
            shape = stage.shapes[vcpu]
            if shape.by is not by or shape.quota_us is None or shape.share >= 1:
                begin = None
                continue
            begin = stage.at_s if begin is None else begin
            following = plan.stages[number + 1 : number + 2]
            if following and following[0].shapes[vcpu] == shape:
                continue
            yield vcpu, (shape, begin, end)
            begin = None


def _pulse(target: int, shape: VcpuShape, begin_s: float, end_s: float) -> Pulse:
    assert shape.quota_us is not None  # noqa: S101 - only shaped vCPUs get here
    return Pulse(
        target,
        round(begin_s * _NS),
        round(end_s * _NS),
        shape.period_us * 1000,
        (shape.period_us - shape.quota_us) * 1000,
        shape.phase_us * 1000,
    )
