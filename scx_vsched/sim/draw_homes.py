"""Random homes of processes on NUMA nodes, for cases of a scheduler that keeps them there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.sim.layout import NEVER
from scx_vsched.sim.workload import Step
from scx_vsched.topology.nodes import MAX_HOME_NODES

if TYPE_CHECKING:
    import random

    from scx_vsched.sim.case import Case
    from scx_vsched.sim.machine import Machine, VCpu

__all__ = ["with_homes"]


def with_homes(rng: random.Random, case: Case) -> Case:
    """The case with homes for its processes, and tunables at a bound."""
    machine = _with_fewer_nodes(case.machine)
    script = (*case.workload.script, *_homes(rng, machine, case.options.end_ns))
    tunables = {
        "page_ns": rng.choice((0, 500, 10_000_000)),
        "unknown_kib": rng.choice((0, 4096)),
        "horizon_ms": rng.choice((0, 100)),
        "stay_ms": rng.choice((1, 50)),
    }
    return replace(
        case,
        machine=machine,
        workload=replace(case.workload, script=tuple(sorted(script, key=lambda s: s.at_ns))),
        options=replace(case.options, probe=rng.random() < 0.3),
        tunables={**case.tunables, **tunables},
    )


def _with_fewer_nodes(machine: Machine) -> Machine:
    """The machine with as many nodes as homes can be on."""

    def fewer(vcpus: tuple[VCpu, ...]) -> tuple[VCpu, ...]:
        return tuple(replace(vcpu, node=vcpu.node % MAX_HOME_NODES) for vcpu in vcpus)

    return replace(machine, vcpus=fewer(machine.vcpus), retold=tuple(map(fewer, machine.retold)))


def _homes(rng: random.Random, machine: Machine, end_ns: int) -> tuple[Step, ...]:
    """Homes that user space gives to processes, and takes away, during a run of `end_ns`."""
    nodes = len({vcpu.node for vcpu in machine.vcpus})
    return tuple(
        Step(
            at_ns,
            rng.choice(("home", "home", "fix")),
            rng.randrange(1000),
            rng.randrange(nodes),
            rng.choice((0, 1 << 20, 1 << 33, NEVER)),
        )
        for at_ns in sorted(rng.randrange(end_ns) for _ in range(rng.choice((0, 5, 40))))
    )
