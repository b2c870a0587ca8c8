"""Random changes of machines and tasks during a case, vCPUs that come and go among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.sim.workload import Step

if TYPE_CHECKING:
    import random

    from scx_vsched.sim.machine import Machine

__all__ = ["draw_script"]

_MS = 1_000_000


def _step(rng: random.Random, machine: Machine, groups: int, at_ns: int) -> Step:
    vcpus = len(machine.vcpus)
    task = rng.randrange(1000)
    period = rng.randint(1, 30) * _MS
    mask = tuple(sorted(rng.sample(range(vcpus), rng.choice((1, vcpus, rng.randint(1, vcpus))))))
    if machine.retold and rng.random() < 0.2:
        return Step(at_ns, "feed", rng.randrange(len(machine.retold)))
    return rng.choice(
        (
            Step(at_ns, "affinity", task, mask=mask),
            Step(at_ns, "affinity", task, mask=mask),
            Step(at_ns, "nice", task, rng.randint(100, 139)),
            Step(at_ns, "class", task, rng.choice((0, 3, 5))),
            Step(at_ns, "group_move", task, rng.randrange(groups)),
            Step(at_ns, "group_weight", rng.randrange(groups), rng.randint(1, 10_000)),
            Step(at_ns, "quota", rng.randrange(vcpus), rng.randint(period // 20, period), period),
            Step(at_ns, "speed", rng.randrange(len(machine.pcpus)), rng.randint(100, 2048)),
            Step(at_ns, "pin", rng.randrange(vcpus), rng.randrange(len(machine.pcpus))),
            Step(at_ns, "kill", task),
            Step(at_ns, "migration", task, 1),
            Step(at_ns, "migration", task, 0),
            Step(at_ns, "offline", rng.randrange(vcpus)),
            Step(at_ns, "offline", rng.randrange(vcpus)),
            Step(at_ns, "online", rng.randrange(vcpus)),
            Step(at_ns, "bypass", 1),
            Step(at_ns, "bypass", 0),
        )
    )


def draw_script(rng: random.Random, machine: Machine, groups: int, end_ns: int) -> tuple[Step, ...]:
    """Changes and faults during a run of `end_ns`, in the order of their times."""
    count = rng.choice((0, 0, 5, 40))
    times = sorted(rng.randrange(end_ns) for _ in range(count))
    steps = [_step(rng, machine, groups, at) for at in times]
    # the kernel does not suspend for long: what is bypassed comes back, and so do vCPUs
    last = end_ns - 1
    if any(step.op == "bypass" for step in steps):
        steps.append(Step(last, "bypass", 0))
    steps += [
        Step(last, "online", vcpu)
        for vcpu in sorted({step.a for step in steps if step.op == "offline"})
    ]
    return tuple(steps)
