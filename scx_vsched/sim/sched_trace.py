"""Recorded wake-ups and runs as a workload: the text of `perf script` or of ftrace.

What each task computed between two waits is computed again. Who woke whom is kept: a task woken by
another one waits for that one's message, a task woken from outside (by a timer, a device, a
real-time task) wakes at the same time as in the record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.sim.workload import Instruction, Program, TaskSet, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["trace_workload"]

_LINE = re.compile(
    r"\s*.*?[\s-](?P<pid>\d+)\s+(?:\([\d\s-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?:(?P<flags>\S+)\s+)?"
    r"(?P<s>\d+)\.(?P<fraction>\d{6,9}):\s+(?:sched:)?(?P<event>\w+):\s*(?P<rest>.*)"
)
# Each in the words of the kernel, and in those of perf's own printer.
_SWITCH = (
    re.compile(
        r"prev_comm=(.*) prev_pid=(\d+) prev_prio=(-?\d+) prev_state=(\S+) ==> "
        r"next_comm=(.*) next_pid=(\d+) next_prio=(-?\d+)"
    ),
    re.compile(r"(.*):(\d+) \[(-?\d+)\] (\S+) ==> (.*):(\d+) \[(-?\d+)\]"),
)
_WAKE = (
    re.compile(r"comm=(.*) pid=(\d+) prio=(-?\d+)"),
    re.compile(r"(.*):(\d+) \[(-?\d+)\]"),
)
_WAKES = ("sched_waking", "sched_wakeup", "sched_wakeup_new")
_LOST = re.compile(r"PERF_RECORD_LOST|\bLOST \d+ (?:EVENTS|events)")
_KEPT = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")
_PER_CPU = re.compile(r"(?:kworker|ksoftirqd|rcuc|cpuhp|irq_work|idle_inject)/(\d+)")
_FAIR_PRIO, _NICE_0 = 100, 120  # kernel/sched: below 100 are real-time tasks
_WAKEUP, _BURSTS = 0, 1  # metrics


@dataclass(slots=True)
class _Task:
    comm: str
    prio: int
    start_ns: int = 0
    state: str = "unknown"  # runs, ready, waits, ended
    since_ns: int = 0  # when it began to run
    burst_ns: int = 0  # computed since its last step
    woken_early: bool = False  # while it still ran
    received: int = 0
    steps: list[Instruction] = field(default_factory=list)

    def ran_until(self, at_ns: int) -> None:
        self.burst_ns += at_ns - self.since_ns
        self.since_ns = at_ns

    def end_burst(self) -> None:
        if self.burst_ns:
            self.steps.append(Instruction("compute", self.burst_ns))
            self.burst_ns = 0


@dataclass(frozen=True, slots=True)
class _Event:
    where: str
    at_ns: int
    cpu: int
    pid: int  # of whoever ran there
    in_irq: bool
    name: str
    rest: str


def trace_workload(text: str, name: str) -> Workload:
    """The workload that the record in `text` shows; its metrics are `wakeup` and `bursts`.

    Raises UserError, naming the line, where it is no such record or has holes.
    """
    replay = _Replay()
    for event in _events(text, name):
        replay.take(event)
    return replay.workload(name)


def _events(text: str, name: str) -> Iterator[_Event]:
    first = last = None
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{name}, line {number}"
        kept = _KEPT.match(line)
        if _LOST.search(line) or (kept and kept[1] != kept[2]):
            raise UserError(
                f"{where}: the record has a hole: {line.strip()}", "record with larger buffers"
            )
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.match(line)
        if not match:
            raise UserError(
                f"{where} is no event: {line.strip()[:60]!r}",
                "the output of `perf script --ns` or of ftrace is read",
            )
        at_ns = int(match["s"]) * 10**9 + int(match["fraction"].ljust(9, "0"))
        first = at_ns if first is None else first
        if last is not None and at_ns < last:
            raise UserError(f"{where}: time runs backwards", "`perf script` sorts by time")
        last = at_ns
        flags = match["flags"] or ""
        yield _Event(
            where,
            at_ns - first,
            int(match["cpu"]),
            int(match["pid"]),
            len(flags) > 2 and flags[2] in "hHzZs",  # as ftrace prints it
            match["event"],
            match["rest"],
        )
    if first is None:
        raise UserError(f"{name} holds no events", "`perf sched record`, then `perf script --ns`")


class _Replay:
    """What the record says of tasks and CPUs, event by event."""

    def __init__(self) -> None:
        self.tasks: dict[int, _Task] = {}
        self.running: dict[int, int] = {}  # by CPU
        self.now_ns = 0
        self.switches = 0

    def take(self, event: _Event) -> None:
        """Raises UserError where the event contradicts those before it."""
        self.now_ns = event.at_ns
        if event.name == "sched_switch":
            self.switches += 1
            comm, pid, prio, state, next_comm, next_pid, next_prio = _fields(_SWITCH, event)
            self._leaves(event, int(pid), comm, int(prio), state)
            self._comes(event, int(next_pid), next_comm, int(next_prio))
        elif event.name in _WAKES:
            comm, pid, prio = _fields(_WAKE, event)
            self._woken(event, int(pid), comm, int(prio))

    def _task(self, pid: int, comm: str, prio: int) -> _Task:
        return self.tasks.setdefault(pid, _Task(comm, prio))

    def _leaves(self, event: _Event, pid: int, comm: str, prio: int, state: str) -> None:
        ran = self.running.get(event.cpu, pid)
        if ran != pid:
            raise UserError(
                f"{event.where}: the record has a hole: pid {pid} leaves CPU {event.cpu}, where "
                f"pid {ran} ran",
                "events were lost; record with larger buffers",
            )
        if not pid:
            return
        task = self._task(pid, comm, prio)
        if event.cpu not in self.running and task.state != "unknown":
            task.since_ns = event.at_ns  # it came before this CPU was recorded
        elif task.state in ("ready", "waits"):
            raise UserError(
                f"{event.where}: the record has a hole: pid {pid} leaves CPU {event.cpu} without "
                "having come"
            )
        task.ran_until(event.at_ns)
        task.state = "ready"
        if state[0] in "XZ":
            task.end_burst()
            task.state = "ended"
        elif state[0] != "R" and not task.woken_early:
            task.end_burst()
            task.steps.append(Instruction("mark", _BURSTS))
            task.state = "waits"
        task.woken_early = False

    def _comes(self, event: _Event, pid: int, comm: str, prio: int) -> None:
        self.running[event.cpu] = pid
        if not pid:
            return
        task = self._task(pid, comm, prio)
        if task.state in ("runs", "waits", "ended"):
            how = {
                "runs": "runs on two CPUs",
                "waits": "runs though nothing woke it",
                "ended": "runs after its end",
            }
            raise UserError(
                f"{event.where}: the record has a hole: pid {pid} {how[task.state]}",
                "events were lost; record sched_switch and sched_waking of all CPUs",
            )
        task.since_ns = event.at_ns
        task.state = "runs"

    def _woken(self, event: _Event, pid: int, comm: str, prio: int) -> None:
        task = self._task(pid, comm, prio)
        if event.name == "sched_wakeup_new" and task.state == "unknown":
            task.start_ns = event.at_ns
            task.state = "ready"
        if task.state == "runs":
            task.woken_early = True
        if task.state not in ("waits", "unknown"):
            return
        task.state = "ready"
        waker = self.tasks.get(event.pid)
        if waker and waker.state == "runs" and waker.prio >= _FAIR_PRIO and not event.in_irq:
            waker.ran_until(event.at_ns)
            waker.end_burst()
            waker.steps += [Instruction("stamp"), Instruction("send", pid)]
            task.steps.append(Instruction("receive", pid))
            task.received += 1
        else:
            task.steps.append(Instruction("until", event.at_ns))
        task.steps.append(Instruction("latency", _WAKEUP))

    def workload(self, name: str) -> Workload:
        """All of it, the tasks' channels numbered."""
        if not self.switches:
            raise UserError(f"{name} holds no sched_switch", "`perf sched record` records them")
        fair = {pid: task for pid, task in self.tasks.items() if task.prio >= _FAIR_PRIO}
        waiting = {pid: task for pid, task in fair.items() if task.received}
        channel = {pid: index for index, pid in enumerate(waiting)}
        programs = []
        for pid, task in fair.items():
            if task.state == "runs":
                task.ran_until(self.now_ns)
            task.end_burst()
            steps = [
                Instruction(step.op, channel[step.a]) if step.op in ("send", "receive") else step
                for step in task.steps
                if step.op != "send" or step.a in channel
            ]
            programs.append(Program(f"{task.comm} {pid}", (*steps, Instruction("exit"))))
        return Workload(
            name=name,
            programs=tuple(programs),
            tasks=tuple(_task_set(f"{t.comm} {pid}", t) for pid, t in fair.items()),
            channels=tuple(task.received for task in waiting.values()),
            metrics=("wakeup", "bursts"),
            max_tasks=len(fair) + 1,
        )


def _task_set(program: str, task: _Task) -> TaskSet:
    per_cpu = _PER_CPU.match(task.comm)
    return TaskSet(
        program=program,
        nice=min(task.prio - _NICE_0, 19),
        kthread=bool(per_cpu),
        start_ns=task.start_ns,
    )


def _fields(forms: tuple[re.Pattern[str], ...], event: _Event) -> tuple[str, ...]:
    for form in forms:
        match = form.match(event.rest)
        if match:
            return match.groups()
    raise UserError(f"{event.where}: cannot read {event.name}: {event.rest[:80]!r}")
