"""Makes a failing case smaller while it fails in the same way."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.sim.machine import HostThread, Machine, PCpu, VCpu
from scx_vsched.sim.workload import Group, Instruction, Program, TaskSet, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scx_vsched.sim.case import Case

    type _Candidates = Iterator[Case | None]

__all__ = ["minimise"]

_MS = 1_000_000


def minimise(case: Case, fails: Callable[[Case], bool], *, seconds: float = 60.0) -> Case:
    """The smallest case found within `seconds` for which `fails` is true, as it is for `case`.

    Each pass tries every way to leave something out; the passes end when none of them helped.
    """
    until = time.monotonic() + seconds
    helped = True
    while helped:
        helped = False
        for way in _WAYS:
            smaller = _first(way(case), case, fails, until)
            while smaller:
                case, helped = smaller, True
                smaller = _first(way(case), case, fails, until)
    return case


def _first(
    candidates: _Candidates, case: Case, fails: Callable[[Case], bool], until: float
) -> Case | None:
    for candidate in candidates:
        if time.monotonic() > until:
            return None
        if candidate is not None and candidate != case and fails(candidate):
            return candidate
    return None


def _fewer[T](items: Sequence[T], keep: int = 0) -> Iterator[tuple[T, ...]]:
    """`items` without a half, a quarter, … a single one, but at least `keep` of them."""
    size = len(items) // 2 or 1
    while size and len(items) > keep:
        for start in range(0, len(items), size):
            left = (*items[:start], *items[start + size :])
            if len(left) >= keep:
                yield left
        size //= 2


def _load(case: Case, **changes: Any) -> Case | None:
    try:
        return replace(case, workload=replace(case.workload, **changes))
    except UserError:
        return None


def _machine(case: Case, **changes: Any) -> Case | None:
    try:
        return replace(case, machine=replace(case.machine, **changes))
    except UserError:
        return None


# ---- What can be left out, the largest first ----


def _steps(case: Case) -> _Candidates:
    for script in _fewer(case.workload.script):
        yield _load(case, script=script)


def _task_sets(case: Case) -> _Candidates:
    for tasks in _fewer(case.workload.tasks, 1):
        yield _load(case, tasks=tasks)


def _competitors(case: Case) -> _Candidates:
    vcpus = case.machine.threads[: len(case.machine.vcpus)]
    for others in _fewer(case.machine.threads[len(vcpus) :]):
        yield _machine(case, threads=(*vcpus, *others))


def _ending(case: Case) -> _Candidates:
    for end_ns in (case.options.end_ns // 2, case.options.end_ns * 3 // 4):
        script = tuple(step for step in case.workload.script if step.at_ns < end_ns)
        if end_ns > _MS and len(script) == len(case.workload.script):
            yield replace(case, options=replace(case.options, end_ns=end_ns))


def _counts(case: Case) -> _Candidates:
    sets = case.workload.tasks
    for index, tasks in enumerate(sets):
        for count in (1, tasks.count // 2, tasks.count - 1):
            if 0 < count < tasks.count:
                one = replace(tasks, count=count)
                yield _load(case, tasks=(*sets[:index], one, *sets[index + 1 :]))


def _vcpus(case: Case) -> _Candidates:
    machine = case.machine
    count = len(machine.vcpus)
    for left in (count // 2, count - 1):
        if left:
            yield _first_vcpus(case, left)


def _first_vcpus(case: Case, count: int) -> Case | None:
    machine, load = case.machine, case.workload

    def within(mask: Sequence[int]) -> tuple[int, ...]:
        return tuple(vcpu for vcpu in mask if vcpu < count)

    script = [
        replace(step, mask=within(step.mask)) if step.mask else step
        for step in load.script
        if (step.op not in ("offline", "online", "quota", "pin") or step.a < count)
        and (not step.mask or within(step.mask))
    ]
    smaller = _machine(
        case,
        vcpus=machine.vcpus[:count],
        threads=(*machine.threads[:count], *machine.threads[len(machine.vcpus) :]),
    )
    return smaller and _load(
        smaller,
        script=tuple(script),
        tasks=tuple(
            replace(tasks, affinity=within(tasks.affinity) or None) if tasks.affinity else tasks
            for tasks in load.tasks
        ),
        sources=tuple(replace(source, irqs=within(source.irqs)) for source in load.sources),
    )


def _shapes(case: Case) -> _Candidates:
    """Host threads that are always there."""
    machine = case.machine
    plain = tuple(HostThread(thread.pcpu) for thread in machine.threads)
    yield _machine(case, threads=plain)
    for number, thread in enumerate(machine.threads):
        for simpler in (HostThread(number), HostThread(thread.pcpu), replace(thread, weight=1024)):
            if thread != simpler and simpler.pcpu < len(machine.pcpus):
                threads = machine.threads
                yield _machine(case, threads=(*threads[:number], simpler, *threads[number + 1 :]))


def _likeness(case: Case) -> _Candidates:
    """The same speed, capacity, cache and node for all."""
    machine = case.machine
    yield _machine(case, **{f: getattr(_PLAIN, f) for f in ("tick_ns", "steal_visible")})
    yield _machine(case, pcpus=tuple(replace(p, speed=1024) for p in machine.pcpus))
    yield _machine(case, vcpus=tuple(replace(v, capacity=1024) for v in machine.vcpus))
    yield _machine(
        case,
        vcpus=tuple(replace(v, llc=0, node=0) for v in machine.vcpus),
        pcpus=tuple(replace(p, llc=0, node=0) for p in machine.pcpus),
    )
    yield _machine(
        case,
        vcpus=tuple(replace(v, core=n) for n, v in enumerate(machine.vcpus)),
        pcpus=tuple(replace(p, core=n) for n, p in enumerate(machine.pcpus)),
    )
    used = 1 + max(thread.pcpu for thread in machine.threads)
    yield _machine(case, pcpus=machine.pcpus[:used])


_PLAIN = Machine(vcpus=(VCpu(0),), pcpus=(PCpu(0),), threads=(HostThread(0),))


def _attributes(case: Case) -> _Candidates:
    sets = case.workload.tasks
    for index, tasks in enumerate(sets):
        plain = TaskSet(program=tasks.program)
        for name in ("nice", "policy", "kthread", "group", "affinity", "start_ns", "stagger_ns"):
            one = replace(tasks, **{name: getattr(plain, name)})
            if one != tasks:
                yield _load(case, tasks=(*sets[:index], one, *sets[index + 1 :]))


def _groups(case: Case) -> _Candidates:
    yield _load(case, groups=tuple(Group(0, 100) for _ in case.workload.groups))
    last = len(case.workload.groups) - 1
    if last and not any(tasks.group == last for tasks in case.workload.tasks):
        yield _load(case, groups=case.workload.groups[:last])


def _programs(case: Case) -> _Candidates:
    """Programs that nobody runs, and instructions."""
    load = case.workload
    used = {tasks.program for tasks in load.tasks}
    forks = any(step.op == "fork" for p in load.programs for step in p.instructions)
    if not forks:
        yield _load(case, programs=tuple(p for p in load.programs if p.name in used))
    for index, program in enumerate(load.programs):
        for steps in _fewer(program.instructions[:-1], 1):
            yield _with_program(case, index, (*steps, program.instructions[-1]))
        for number, step in enumerate(program.instructions):
            if step.distribution == "fixed":
                continue
            steps = program.instructions
            fixed = Instruction(step.op, step.a)
            yield _with_program(case, index, (*steps[:number], fixed, *steps[number + 1 :]))


def _with_program(case: Case, index: int, steps: tuple[Instruction, ...]) -> Case | None:
    programs = case.workload.programs
    one = Program(programs[index].name, steps)
    return _load(case, programs=(*programs[:index], one, *programs[index + 1 :]))


def _shared(case: Case) -> _Candidates:
    """Locks, barriers, channels and sources that no program uses."""
    load: Workload = case.workload
    steps = [step for program in load.programs for step in program.instructions]
    channels = {step.a for step in steps if step.op in ("send", "receive")}
    for sources in _fewer(load.sources):
        yield _load(case, sources=sources)
    channels |= {source.channel for source in load.sources}
    yield _load(case, channels=load.channels[: 1 + max(channels, default=-1)])
    if not any(step.op == "barrier" for step in steps):
        yield _load(case, barriers=())
    if not any("lock" in step.op for step in steps):
        yield _load(case, locks=0)


def _build(case: Case) -> _Candidates:
    yield replace(case, tunables={})
    yield replace(case, without=())
    yield replace(case, kernel="7.x")
    yield replace(case, policy="core", tunables={})
    yield replace(case, machine=replace(case.machine, name=""))
    yield replace(case, workload=replace(case.workload, name=""))


_WAYS = (
    _steps, _task_sets, _competitors, _ending, _vcpus, _counts, _shapes, _groups, _attributes,
    _likeness, _programs, _shared, _build,
)  # fmt: skip
