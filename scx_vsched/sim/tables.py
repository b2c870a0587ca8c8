"""Machines, workloads and options as the flat tables that the engine reads."""

from __future__ import annotations

from ctypes import c_uint64
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.kernel import OPS_FLAGS
from scx_vsched.errors import UserError
from scx_vsched.sim import layout
from scx_vsched.sim.workload import DISTRIBUTIONS, OPS, SCRIPT_OPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.run import Options
    from scx_vsched.sim.workload import Workload

__all__ = ["load_table", "machine_table", "options_table"]


class _Numbers:
    """The table of numbers that others point into."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, values: Sequence[int]) -> int:
        start = len(self.values)
        self.values.extend(values)
        return start

    def mask(self, vcpus: Sequence[int], words: int) -> int:
        bits = [0] * words
        for vcpu in vcpus:
            bits[vcpu // 64] |= 1 << vcpu % 64
        return self.add(bits)


def _array(kind: Any, items: Sequence[Any]) -> Any:
    return (kind * max(len(items), 1))(*items)


def machine_table(machine: Machine) -> layout.Machine:
    """The engine's table of the machine."""
    numbers = _Numbers()
    threads = [
        layout.Entity(
            t.pcpu, t.weight, t.quota_ns, t.period_ns,
            layout.NEVER if t.phase_ns is None else t.phase_ns,
            len(t.gates_ns), numbers.add(t.gates_ns),
        )
        for t in machine.threads
    ]  # fmt: skip
    costs = machine.costs
    return layout.Machine(
        vcpus=len(machine.vcpus),
        pcpus=len(machine.pcpus),
        entities=len(threads),
        tick_ns=machine.tick_ns,
        steal_visible=machine.steal_visible,
        smt_factor=machine.smt_factor,
        host_slice_ns=machine.host_slice_ns,
        host_wakeup_ns=machine.host_wakeup_ns,
        ipi_ns=costs.ipi_ns,
        halt_wake_ns=costs.halt_wake_ns,
        switch_ns=costs.switch_ns,
        syscall_ns=costs.syscall_ns,
        wake_ns=costs.wake_ns,
        migrate_ns=tuple(costs.migrate_ns),
        line_ns=tuple(costs.line_ns),
        pcpu=_array(
            layout.PCpu, [layout.PCpu(p.core, p.llc, p.node, p.speed) for p in machine.pcpus]
        ),
        entity=_array(layout.Entity, threads),
        vcpu_core=_array(c_uint64, [v.core for v in machine.vcpus]),
        vcpu_llc=_array(c_uint64, [v.llc for v in machine.vcpus]),
        vcpu_node=_array(c_uint64, [v.node for v in machine.vcpus]),
        numbers=_array(c_uint64, numbers.values),
    )


def _instructions(load: Workload) -> tuple[list[layout.Instruction], list[int]]:
    """All programs behind one another, with each one's start."""
    flat: list[layout.Instruction] = []
    starts = []
    for program in load.programs:
        starts.append(len(flat))
        loops: list[int] = []
        for step in program.instructions:
            a = step.a
            if step.op == "loop":
                loops.append(len(flat) + 1)
            elif step.op == "end":
                a = loops.pop()
            elif step.op == "forever":
                a = starts[-1]
            flat.append(
                layout.Instruction(
                    OPS.index(step.op), a, step.b, step.c, DISTRIBUTIONS.index(step.distribution)
                )
            )
    return flat, starts


def load_table(load: Workload, machine: Machine) -> layout.Load:
    """The engine's table of the workload; UserError where it does not fit the machine."""
    numbers = _Numbers()
    vcpus = len(machine.vcpus)
    words = -(-vcpus // 64)
    names = [program.name for program in load.programs]
    instructions, starts = _instructions(load)

    def mask(of: Sequence[int], who: str) -> int:
        for vcpu in of:
            if not 0 <= vcpu < vcpus:
                raise UserError(f"{who} names vCPU {vcpu}", f"the machine has {vcpus}")
        return numbers.mask(of, words)

    tasks = [
        layout.Task(
            names.index(t.program), t.count, t.nice, t.policy, t.kthread, t.group,
            layout.NEVER if t.affinity is None else mask(t.affinity, f"a task of {t.program}"),
            t.start_ns, t.stagger_ns, t.footprint, 0,
        )
        for t in load.tasks
    ]  # fmt: skip
    for source in load.sources:
        mask(source.irqs, "a source")
    sources = [
        layout.Source(
            s.channel, s.interval_ns, DISTRIBUTIONS.index(s.distribution), s.start_ns, s.end_ns,
            len(s.irqs), numbers.add(s.irqs),
        )
        for s in load.sources
    ]  # fmt: skip
    steps = [(s.at_ns, s.op, s.a, mask(s.mask, "a change") if s.mask else s.b, s.c)
             for s in load.script]  # fmt: skip
    steps += [(c.at_ns, c.op, c.a, c.b, c.c) for c in machine.changes]
    steps.sort(key=lambda step: step[0])
    _check_steps(steps, load, machine)
    return layout.Load(
        instructions=len(instructions),
        programs=len(starts),
        tasks=len(tasks),
        locks=load.locks,
        barriers=len(load.barriers),
        channels=len(load.channels),
        sources=len(sources),
        groups=len(load.groups),
        metrics=len(load.metrics),
        script=len(steps),
        max_tasks=load.max_tasks,
        instruction=_array(layout.Instruction, instructions),
        program=_array(layout.Program, [layout.Program(start) for start in starts]),
        task=_array(layout.Task, tasks),
        barrier=_array(c_uint64, load.barriers),
        channel=_array(c_uint64, load.channels),
        source=_array(layout.Source, sources),
        group=_array(layout.Group, [layout.Group(g.parent, g.weight) for g in load.groups]),
        step=_array(
            layout.Script,
            [layout.Script(at, SCRIPT_OPS.index(op), a, b, c) for at, op, a, b, c in steps],
        ),
        numbers=_array(c_uint64, numbers.values),
    )


def _check_steps(
    steps: Sequence[tuple[int, str, int, int, int]], load: Workload, machine: Machine
) -> None:
    limits = {
        "offline": len(machine.vcpus),
        "online": len(machine.vcpus),
        "group_weight": len(load.groups),
        "quota": len(machine.threads),
        "pin": len(machine.threads),
        "speed": len(machine.pcpus),
        "feed": len(machine.retold),
    }
    for _, op, a, b, c in steps:
        if op in limits and not 0 <= a < limits[op]:
            raise UserError(f"a change ({op}) names number {a} of {limits[op]}")
        if (op == "group_move" and b >= len(load.groups)) or (
            op == "pin" and b >= len(machine.pcpus)
        ):
            raise UserError(f"a change ({op}) goes to number {b}, which there is not")
        if op in {"home", "fix"} and b >= len({vcpu.node for vcpu in machine.vcpus}):
            raise UserError(f"a change ({op}) to node {b}, which there is not")
        if op == "quota" and c and not 1_000 <= b <= c:
            raise UserError(f"a change gives a quota of {b} ns in {c} ns")
        if (op == "group_weight" and not 1 <= b <= 10_000) or (op == "speed" and b < 1):
            raise UserError(f"a change ({op}) to {b} is impossible")


def options_table(options: Options) -> layout.Options:
    """The engine's table of options; UserError for impossible times."""
    if not 1 <= options.end_ns <= 10**15:
        raise UserError(f"a run of {options.end_ns} ns", "up to a million seconds")
    return layout.Options(
        seed=options.seed % 2**64,
        end_ns=options.end_ns,
        warmup_ns=options.warmup_ns,
        max_events=options.max_events,
        max_wall_ms=int(options.max_wall_s * 1000),
        ext=options.scheduler,
        ops_flags=sum(OPS_FLAGS[name] for name in options.ops_flags),
        probe=options.probe,
        timeout_ms=options.timeout_ms,
        stranded_ns=options.stranded_ms * 1_000_000,
        check_every=options.check_every,
        trace_limit=options.trace_limit,
        drain=options.drain,
    )
