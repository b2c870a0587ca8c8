"""A simulated scheduler is told of other vCPUs while it runs, as user space does it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scx_vsched.errors import UserError
from scx_vsched.sim.machine import Machine, VCpu, simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Instruction, Program, Step, TaskSet, Workload

MS = 1_000_000
FOREVER = Instruction("forever")


def simulate(machine: Machine, load: Workload, kernel: str = "7.x") -> Outcome:
    options = Options(end_ns=500 * MS, check_every=1, drain=True)
    outcome = prepare("core", kernel=kernel).run(machine, load, options)
    assert outcome.failure is None
    return outcome


def sleepers(count: int, *script: Step) -> Workload:
    steps = (Instruction("compute", MS), Instruction("sleep", 2 * MS), FOREVER)
    return Workload(
        programs=(Program("p", steps),),
        tasks=(TaskSet(program="p", count=count),),
        script=script,
    )


def hogs(count: int, *script: Step) -> Workload:
    return Workload(
        programs=(Program("p", (Instruction("compute", MS), FOREVER)),),
        tasks=(TaskSet(program="p", count=count),),
        script=script,
    )


def test_a_vcpu_that_is_called_weak_gets_no_more_than_it_must() -> None:
    machine = simple_machine(4)
    before = simulate(machine, sleepers(2))
    used = max(range(4), key=lambda vcpu: before.vcpus[vcpu].busy_ns)
    weak = [replace(v, capacity=100) if n == used else v for n, v in enumerate(machine.vcpus)]
    told = replace(machine, retold=(tuple(weak),))
    after = simulate(told, sleepers(2, Step(MS, "feed", 0)))
    assert before.vcpus[used].busy_ns > 100 * MS
    assert after.vcpus[used].busy_ns < 10 * MS
    assert after.stats["capacities"] == 1


@pytest.mark.parametrize("kernel", ["6.12", "7.1.13", "7.x"])
def test_tasks_follow_when_caches_change_places(kernel: str) -> None:
    machine = simple_machine(8, per_llc=4)
    shapes = [[n % 2 for n in range(8)], [0] * 8, [n // 2 for n in range(8)]]
    told = tuple(tuple(VCpu(n, llc) for n, llc in enumerate(llcs)) for llcs in shapes)
    script = [Step((20 + 7 * n) * MS, "feed", n % 3) for n in range(60)]
    outcome = simulate(replace(machine, retold=told), hogs(40, *script), kernel)
    assert outcome.stats["topologies"] == 60
    shares = [task.run_ns for task in outcome.tasks]
    assert min(shares) > 0.5 * max(shares)
    if kernel != "7.1.13":
        assert outcome.stats["settled"] > 0


def test_what_is_told_must_be_about_the_same_vcpus() -> None:
    machine = simple_machine(2)
    with pytest.raises(UserError, match="not about as many vCPUs"):
        replace(machine, retold=((VCpu(0),),))
    with pytest.raises(UserError, match="names number 1 of 0"):
        prepare("core").run(machine, hogs(1, Step(0, "feed", 1)), Options(end_ns=MS))
