"""Workloads: small programs that tasks run, with what they share."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - cases are read by the annotations
from dataclasses import dataclass

from scx_vsched.errors import UserError

__all__ = [
    "DISTRIBUTIONS",
    "OPS",
    "SCRIPT_OPS",
    "Group",
    "Instruction",
    "Program",
    "Source",
    "Step",
    "TaskSet",
    "Workload",
]

# In the order of enum sim_opcode.
OPS = (
    "compute", "sleep", "yield", "lock", "unlock", "spin_lock", "barrier", "send", "receive",
    "fork", "join", "loop", "end", "forever", "stamp", "latency", "mark", "period", "exit",
    "until",
)  # fmt: skip
DISTRIBUTIONS = ("fixed", "uniform", "exponential")
# In the order of enum sim_script_op.
SCRIPT_OPS = (
    "offline", "online", "affinity", "nice", "group_move", "group_weight", "bypass", "quota",
    "speed", "pin", "class", "kill", "migration", "feed",
    "home", "fix",
)  # fmt: skip
MAX_LOOPS = 8
_MAX_NS = 10**13


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step of a program; what `a`, `b` and `c` mean is said in engine/config.h.

    `compute` and `sleep` last `a` ns: exactly, on average (exponential), or from `a` to `b`.
    """

    op: str
    a: int = 0
    b: int = 0
    c: int = 0
    distribution: str = "fixed"


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions, the last of which is `forever` (to the first) or `exit`."""

    name: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSet:
    """`count` tasks that begin with `program`; `affinity` None allows every vCPU."""

    program: str
    count: int = 1
    nice: int = 0
    policy: int = 0  # SCHED_NORMAL 0, SCHED_BATCH 3, SCHED_IDLE 5
    kthread: bool = False
    group: int = 0
    affinity: tuple[int, ...] | None = None
    start_ns: int = 0
    stagger_ns: int = 0
    footprint: int = 1024  # of its data in the caches, 1/1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Requests from outside into a channel, by interrupts of `irqs` in turn.

    Without `irqs` the vCPU takes the interrupt on which the woken task ran last.
    """

    channel: int
    interval_ns: int
    distribution: str = "exponential"
    start_ns: int = 0
    end_ns: int = 2**63
    irqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A control group; the first is the root, parents come before their children.

    With `domain` it is a domain of a host's scheduler, by these settings; the root's are those of
    domain 0.
    """

    parent: int = 0
    weight: int = 100
    domain: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens at a given time; `mask` is an affinity."""

    at_ns: int
    op: str
    a: int = 0
    b: int = 0
    c: int = 0
    mask: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Tasks and what they share. `metrics` names the counters and latencies of `mark`/`latency`."""

    name: str = ""
    programs: tuple[Program, ...]
    tasks: tuple[TaskSet, ...]
    locks: int = 0
    barriers: tuple[int, ...] = ()  # parties
    channels: tuple[int, ...] = ()  # capacities
    sources: tuple[Source, ...] = ()
    groups: tuple[Group, ...] = (Group(),)
    metrics: tuple[str, ...] = ()
    script: tuple[Step, ...] = ()
    max_tasks: int = 4096

    def __post_init__(self) -> None:
        """Raises UserError, naming what is wrong, for a workload that cannot run."""
        if not self.programs or not self.tasks:
            raise UserError(f"the workload {self.name or '(unnamed)'} has no programs or no tasks")
        names = [program.name for program in self.programs]
        if len(set(names)) != len(names):
            raise UserError("two programs of the workload have the same name")
        for program in self.programs:
            self._check_program(program)
        for tasks in self.tasks:
            self._check_tasks(tasks, names)
            if not 0 <= tasks.group < len(self.groups):
                raise UserError(
                    f"the tasks of {tasks.program} are in group {tasks.group}",
                    f"there are {len(self.groups) - 1} beside the root, which is 0",
                )
        for source in self.sources:
            if not 0 <= source.channel < len(self.channels):
                raise UserError(f"a source feeds the unknown channel {source.channel}")
            if not 1 <= source.interval_ns <= _MAX_NS:
                raise UserError(f"a source has an interval of {source.interval_ns} ns")
            if source.distribution not in DISTRIBUTIONS:
                raise UserError(f"no distribution {source.distribution!r}")
        if len({source.channel for source in self.sources}) != len(self.sources):
            raise UserError("a channel has two sources", "give each a channel of its own")
        if any(parties < 1 for parties in self.barriers):
            raise UserError("a barrier needs at least one party")
        if any(not 1 <= capacity <= 1 << 24 for capacity in self.channels):
            raise UserError("a channel holds 1 to 16777216 messages")
        for index, group in enumerate(self.groups):
            if index and not 0 <= group.parent < index:
                raise UserError(f"group {index} comes before its parent")
            if not 1 <= group.weight <= 10000:
                raise UserError(f"group {index} has the weight {group.weight}", "1 to 10000")
        self._check_script()

    def _check_program(self, program: Program) -> None:
        depth = 0
        if not program.instructions or program.instructions[-1].op not in ("forever", "exit"):
            raise UserError(f"the program {program.name} does not end with `forever` or `exit`")
        limits = {
            "lock": self.locks, "unlock": self.locks, "spin_lock": self.locks,
            "barrier": len(self.barriers), "send": len(self.channels),
            "receive": len(self.channels), "fork": len(self.programs),
            "latency": len(self.metrics), "mark": len(self.metrics),
        }  # fmt: skip
        takes_time = False
        for number, step in enumerate(program.instructions):
            where = f"step {number} ({step.op}) of the program {program.name}"
            if step.op not in OPS:
                raise UserError(f"{where}: no such step", f"there are {', '.join(OPS)}")
            if step.distribution not in DISTRIBUTIONS:
                raise UserError(f"{where}: no distribution {step.distribution!r}")
            if min(step.a, step.b, step.c) < 0 or max(step.a, step.b) > _MAX_NS:
                raise UserError(f"{where}: {step.a}, {step.b} is out of range")
            if step.op in limits and step.a >= limits[step.op]:
                raise UserError(f"{where}: there is no number {step.a}")
            if step.op in ("loop", "period") and not step.a:
                raise UserError(f"{where}: must not be 0")
            if step.distribution == "uniform" and step.b < step.a:
                raise UserError(f"{where}: from {step.a} to {step.b} is no range")
            depth += {"loop": 1, "end": -1}.get(step.op, 0)
            if not 0 <= depth <= MAX_LOOPS:
                raise UserError(f"{where}: loops do not match or are nested too deeply")
            takes_time |= (step.op == "compute" and step.a > 0) or step.op in (
                "sleep", "yield", "lock", "spin_lock", "barrier", "send", "receive", "fork",
                "period", "unlock", "join", "until",
            )  # fmt: skip
        if depth:
            raise UserError(f"a loop of the program {program.name} does not end")
        if not takes_time and program.instructions[-1].op == "forever":
            raise UserError(f"the program {program.name} repeats itself without taking time")

    @staticmethod
    def _check_tasks(tasks: TaskSet, names: list[str]) -> None:
        if tasks.program not in names:
            raise UserError(f"no program {tasks.program!r}", f"there are {', '.join(names)}")
        if tasks.count < 1 or not -20 <= tasks.nice <= 19 or tasks.policy not in (0, 3, 5):
            raise UserError(
                f"{tasks.count} tasks of {tasks.program} with nice {tasks.nice}, policy "
                f"{tasks.policy}",
                "at least one task, nice -20 to 19, policy 0, 3 or 5",
            )
        if min(tasks.start_ns, tasks.stagger_ns, tasks.footprint) < 0:
            raise UserError(f"the tasks of {tasks.program} have a negative time")
        if tasks.affinity is not None and not tasks.affinity:
            raise UserError(f"the tasks of {tasks.program} may run nowhere")

    def _check_script(self) -> None:
        before = 0
        for step in self.script:
            if step.op not in SCRIPT_OPS:
                raise UserError(f"no change {step.op!r}", f"there are {', '.join(SCRIPT_OPS)}")
            if step.at_ns < before:
                raise UserError("changes are not in the order of their times")
            before = step.at_ns
