"""Random cases: machines, workloads, policies and faults."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.policies import builtin_policies
from scx_vsched.sim.build import KERNELS
from scx_vsched.sim.case import Case
from scx_vsched.sim.draw_homes import with_homes
from scx_vsched.sim.faults import draw_script
from scx_vsched.sim.machine import HostThread, Machine, PCpu, VCpu
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import CHAOS, DEFAULT
from scx_vsched.sim.workload import (
    Group,
    Instruction,
    Program,
    Source,
    TaskSet,
    Workload,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["draw_case"]

_MS = 1_000_000
_MAX_STEPS = 300_000  # of all tasks in a case, about
_SLICES_US = (100, 500, 1_000, 4_000, 20_000, 100_000)


def draw_case(seed: int) -> Case:
    """The case that follows from `seed`: the same in every Python and on every machine."""
    rng = random.Random(seed)  # noqa: S311 - nothing secret is drawn
    machine = _machine(rng)
    end_ns = rng.choice((30, 100, 300, 1_000)) * _MS
    policy = rng.choice(("core", "core", CHAOS, CHAOS, DEFAULT, *builtin_policies()))
    tunables = {}
    if policy == CHAOS:
        tunables = {"salt": rng.randint(0, 1_000_000)}
    elif policy != DEFAULT and rng.random() < 0.5:
        tunables = {"slice_us": rng.choice(_SLICES_US)}
    case = Case(
        machine=machine,
        workload=_workload(rng, machine, end_ns),
        options=Options(
            seed=rng.getrandbits(32),
            end_ns=end_ns,
            max_events=3_000_000,
            max_wall_s=60.0,
            check_every=1 if len(machine.vcpus) < 20 else 50,
            drain=True,
            # it may well leave a vCPU idle beside a waiting task
            stranded_ms=0 if policy == CHAOS else 500,
        ),
        policy=policy,
        # without the iterator over queues nobody is rescued from random keys
        kernel=rng.choice(("6.12", "7.x") if policy == CHAOS else tuple(KERNELS)),
        without=tuple(f for f in ("cgroups", "preemption", "smt") if rng.random() < 0.1),
        tunables=tunables,
    )
    if policy == "numa":
        return with_homes(rng, case)
    return _with_techniques(rng, case) if policy == "vsched" else case


def _with_techniques(rng: random.Random, case: Case) -> Case:
    """The case with some techniques left out, probers or false tales, and tunables at a bound."""
    without = tuple(name for name in ("bvs", "ivh", "rwc") if rng.random() < 0.2)
    retold = tuple(
        tuple(replace(vcpu, latency_ns=rng.choice((0, _time(rng)))) for vcpu in told)
        for told in case.machine.retold
    )
    tunables = {
        "stay_us": rng.choice((100, 1_000)),
        "lead_us": rng.choice((0, 300, 5_000)),
        "hedge_us": rng.choice((0, 200)),
        "small_us": rng.choice((1, 3_000, 1_000_000)),
        "straggler_in": rng.choice((35, 90)),
        "lend_after": rng.choice((1, 50)),
    }
    return replace(
        case,
        machine=replace(case.machine, retold=retold),
        options=replace(case.options, probe=rng.random() < 0.5),
        without=case.without + without,
        tunables={**case.tunables, **tunables},
    )


def _machine(rng: random.Random) -> Machine:
    vcpus = rng.choice((1, 2, 2, 3, 4, 4, 6, 8, 12, rng.randint(1, 24), rng.choice((65, 130))))
    threads = rng.choice((1, 1, 2))
    per_llc = rng.choice((vcpus, -(-vcpus // 2), rng.randint(1, vcpus)))
    llcs_per_node = rng.choice((99, 1, 2))

    def place(n: int) -> tuple[int, int, int]:
        llc = n // per_llc
        # a core lies within its cache
        return (llc * 4096 + n % per_llc // threads, llc, llc // llcs_per_node)

    places = [place(n) for n in range(vcpus)]
    truth = places if rng.random() < 0.7 else [(n, 0, 0) for n in range(vcpus)]
    pcpus = tuple(
        PCpu(*spot, speed=rng.choice((1024, 1024, rng.randint(200, 2000)))) for spot in truth
    )
    shaped = rng.random()
    host = [_thread(rng, n if rng.random() < 0.85 else rng.randrange(vcpus), shaped)
            for n in range(vcpus)]  # fmt: skip
    host += [
        _thread(rng, rng.randrange(vcpus), shaped) for _ in range(rng.choice((0, 0, 1, vcpus)))
    ]
    return Machine(
        name="drawn",
        retold=tuple(_told(rng, places) for _ in range(rng.choice((0, 0, 1, 3)))),
        vcpus=tuple(
            VCpu(*spot, capacity=rng.choice((1024, rng.randint(1, 1024)))) for spot in places
        ),
        pcpus=pcpus,
        threads=tuple(host),
        tick_ns=rng.choice((1, 4, 4, 10)) * _MS,
        steal_visible=rng.random() < 0.5,
    )


def _told(rng: random.Random, places: list[tuple[int, int, int]]) -> tuple[VCpu, ...]:
    """Other capacities in the same places, or other places, too."""
    if rng.random() < 0.5:
        return tuple(VCpu(*spot, capacity=rng.randint(1, 1024)) for spot in places)
    llcs = rng.randint(1, len(places))
    nodes = rng.randint(1, llcs)

    def anywhere(number: int) -> VCpu:
        llc = rng.randrange(llcs)
        return VCpu(number, llc, llc % nodes, capacity=rng.choice((1024, rng.randint(1, 1024))))

    return tuple(anywhere(number) for number in range(len(places)))


def _thread(rng: random.Random, pcpu: int, shaped: float) -> HostThread:
    kind = rng.random()
    if kind > shaped:
        return HostThread(pcpu, weight=rng.choice((1024, 1024, rng.randint(15, 10_000))))
    if kind < shaped / 2:
        period = rng.randint(1, 40) * _MS
        return HostThread(pcpu, quota_ns=rng.randint(period // 20, period), period_ns=period)
    gates = tuple(rng.randint(10_000, 20 * _MS) for _ in range(2 * rng.randint(1, 4)))
    return HostThread(pcpu, gates_ns=gates)


# ---- Workloads ----


def _time(rng: random.Random) -> int:
    """From microseconds to tens of milliseconds, each order of magnitude as likely."""
    return rng.randint(1, 9) * int(10 ** rng.randint(3, 6))


def _lasting(b: _Builder, op: str) -> Instruction:
    rng = b.rng
    length = max(_time(rng), b.least_ns)
    return rng.choice(
        (
            Instruction(op, length),
            Instruction(op, length, distribution="exponential"),
            Instruction(op, length, length * rng.randint(1, 5), distribution="uniform"),
        )
    )


class _Builder:
    """Collects what the tasks of a workload share."""

    def __init__(self, rng: random.Random, vcpus: int, end_ns: int) -> None:
        self.rng = rng
        self.vcpus = vcpus
        self.least_ns = vcpus * end_ns // _MAX_STEPS  # of what is done again and again
        self.programs: list[Program] = []
        self.tasks: list[TaskSet] = []
        self.locks = 0
        self.barriers: list[int] = []
        self.channels: list[int] = []
        self.sources: list[Source] = []
        self.groups = [Group()]

    def add(self, steps: Sequence[Instruction], count: int, **more: object) -> None:
        """Tasks that run `steps`, with attributes drawn at random."""
        rng = self.rng
        name = f"p{len(self.programs)}"
        self.programs.append(Program(name, tuple(steps)))
        affinity = None
        kthread = rng.random() < 0.1
        if rng.random() < 0.3:
            size = rng.choice((1, rng.randint(1, self.vcpus)))
            affinity = tuple(sorted(rng.sample(range(self.vcpus), size)))
        attributes: dict[str, object] = {
            "program": name,
            "count": count,
            "nice": rng.choice((0, 0, rng.randint(-20, 19))),
            "policy": rng.choice((0, 0, 0, 3, 5)),
            "kthread": kthread,
            "group": rng.randrange(len(self.groups)),
            "affinity": affinity,
            "start_ns": rng.choice((0, 0, rng.randint(0, 50 * _MS))),
            "stagger_ns": rng.choice((0, rng.randint(0, 3 * _MS))),
        }
        self.tasks.append(TaskSet(**(attributes | more)))  # type: ignore[arg-type]

    def crowd(self) -> int:
        """How many tasks: few, or several times as many as vCPUs."""
        rng = self.rng
        return max(1, min(rng.choice((1, 2, self.vcpus, 3 * self.vcpus, rng.randint(1, 40))), 150))


_FOREVER = Instruction("forever")


def _hogs(b: _Builder) -> None:
    b.add([_lasting(b, "compute"), _FOREVER], b.crowd())


def _sleepers(b: _Builder) -> None:
    b.add([_lasting(b, "compute"), _lasting(b, "sleep"), _FOREVER], b.crowd())


def _yielders(b: _Builder) -> None:
    b.add([_lasting(b, "compute"), Instruction("yield"), _FOREVER], min(b.crowd(), 10))


def _lockers(b: _Builder) -> None:
    op = b.rng.choice(("lock", "spin_lock"))
    steps = [
        _lasting(b, "compute"),
        Instruction(op, b.locks),
        Instruction("compute", b.least_ns + b.rng.randint(1_000, 300_000)),
        Instruction("unlock", b.locks),
        _FOREVER,
    ]
    b.locks += 1
    b.add(steps, b.crowd())


def _meeters(b: _Builder) -> None:
    parties = b.crowd()
    b.barriers.append(parties)
    steps = [_lasting(b, "compute"), Instruction("barrier", len(b.barriers) - 1), _FOREVER]
    b.add(steps, parties)


def _pipeline(b: _Builder) -> None:
    stages = b.rng.randint(2, 5)
    first = len(b.channels)
    b.channels += [b.rng.choice((1, 4, 64)) for _ in range(stages - 1)]
    sync = b.rng.randint(0, 1)
    for stage in range(stages):
        steps = [Instruction("compute", b.least_ns + b.rng.randint(1_000, 500_000))]
        if stage:
            steps.insert(0, Instruction("receive", first + stage - 1, b.rng.randint(0, 64)))
        if stage < stages - 1:
            steps.append(Instruction("send", first + stage, b.rng.randint(0, 64), sync))
        b.add([*steps, _FOREVER], b.rng.choice((1, 1, 3)))


def _servers(b: _Builder) -> None:
    b.channels.append(1024)
    channel = len(b.channels) - 1
    irqs = tuple(b.rng.sample(range(b.vcpus), b.rng.randint(0, min(b.vcpus, 4))))
    b.sources.append(Source(channel=channel, interval_ns=max(_time(b.rng), b.least_ns), irqs=irqs))
    b.add([Instruction("receive", channel, 4), _lasting(b, "compute"), _FOREVER], b.crowd())


def _forkers(b: _Builder) -> None:
    child = len(b.programs)
    ends = [_lasting(b, "compute"), Instruction("exit")]
    if b.rng.random() < 0.5:
        ends.insert(1, _lasting(b, "sleep"))
    b.add(ends, 1)
    steps = [_lasting(b, "compute"), Instruction("fork", child, b.rng.randint(1, 12))]
    steps.append(Instruction("join"))
    b.add([*steps, _FOREVER], b.rng.randint(1, 3))


def _beats(b: _Builder) -> None:
    steps = [Instruction("period", b.rng.randint(1, 30) * _MS), _lasting(b, "compute")]
    b.add([*steps, _FOREVER], b.crowd())


_KINDS = (_hogs, _sleepers, _yielders, _lockers, _meeters, _pipeline, _servers, _forkers, _beats)


def _workload(rng: random.Random, machine: Machine, end_ns: int) -> Workload:
    builder = _Builder(rng, len(machine.vcpus), end_ns)
    for _ in range(rng.choice((0, 0, 3, 6))):
        parent = rng.randrange(len(builder.groups))
        builder.groups.append(Group(parent, rng.choice((100, 1, 10_000, rng.randint(1, 10_000)))))
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice(_KINDS)(builder)
    return Workload(
        name="drawn",
        programs=tuple(builder.programs),
        tasks=tuple(builder.tasks),
        locks=builder.locks,
        barriers=tuple(builder.barriers),
        channels=tuple(builder.channels),
        sources=tuple(builder.sources),
        groups=tuple(builder.groups),
        script=draw_script(rng, machine, len(builder.groups), end_ns),
        max_tasks=1024,
    )
