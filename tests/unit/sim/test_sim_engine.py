"""What the simulator says of machines and schedulers whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scx_vsched.sim.machine import HostThread, Machine, simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Group, Instruction, Program, Step, TaskSet, Workload

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
FOREVER = Instruction("forever")
WORK = (Instruction("compute", MS), Instruction("mark", 0), FOREVER)
BOTH = pytest.mark.parametrize("policy", ["core", "default"])


def hogs(*sets: TaskSet, **more: object) -> Workload:
    return Workload(
        programs=(Program("hog", WORK),), tasks=sets, metrics=("done",), **more  # type: ignore[arg-type]
    )  # fmt: skip


def simulate(
    machine: Machine, load: Workload, policy: str = "core", seconds: float = 2, **options: int
) -> Outcome:
    settings = Options(**{"end_ns": round(seconds * 1e9), "check_every": 1, **options})  # type: ignore[arg-type]
    outcome = prepare(policy).run(machine, load, settings)
    assert outcome.failure is None
    return outcome


def shares(outcome: Outcome) -> list[float]:
    total = sum(task.run_ns for task in outcome.tasks)
    return [task.run_ns / total for task in sorted(outcome.tasks, key=lambda t: t.pid)]


@BOTH
def test_a_dedicated_machine_is_used_in_full(policy: str) -> None:
    outcome = simulate(simple_machine(4), hogs(TaskSet(program="hog", count=4)), policy)
    assert all(vcpu.busy_ns > 1_999 * MS for vcpu in outcome.vcpus)
    assert sum(outcome.counts.values()) == pytest.approx(8000, rel=0.01)
    assert outcome.migrations <= 3  # each once at birth


@BOTH
def test_weights_share_a_vcpu_as_the_kernels_table_says(policy: str) -> None:
    load = hogs(TaskSet(program="hog", nice=0), TaskSet(program="hog", nice=5))
    heavy, light = shares(simulate(simple_machine(1), load, policy, seconds=5))
    assert heavy / light == pytest.approx(1024 / 335, rel=0.05)


@pytest.mark.parametrize(("vcpus", "per_llc", "tasks"), [(4, 1, 12), (8, 4, 12), (16, 4, 24)])
def test_hogs_are_shared_out_between_caches(vcpus: int, per_llc: int, tasks: int) -> None:
    """Those that never sleep stayed where they were born: some got twice as much as others."""
    machine = simple_machine(vcpus, per_llc=per_llc)
    load = hogs(TaskSet(program="hog", count=tasks))
    before, after = (simulate(machine, load, seconds=seconds) for seconds in (5, 10))
    ran = [b.run_ns - a.run_ns for a, b in zip(before.tasks, after.tasks, strict=True)]
    assert max(ran) < 1.02 * min(ran)


@pytest.mark.parametrize(("compute_us", "sleep_us"), [(500, 100), (2000, 200)])
def test_those_that_wake_in_the_crowd_get_no_more_or_less_for_it(
    compute_us: int, sleep_us: int
) -> None:
    """They stayed on their vCPU and went past its queue: some got twice as much as others."""
    nap = (Instruction("compute", compute_us * 1000), Instruction("sleep", sleep_us * 1000))
    load = Workload(
        programs=(Program("hog", WORK), Program("waker", (*nap, FOREVER))),
        tasks=(TaskSet(program="hog", count=3), TaskSet(program="waker", count=13)),
        metrics=("done",),
    )
    outcome = simulate(simple_machine(2), load, seconds=6)
    assert outcome.stats["passed"] > 100
    found = shares(outcome)
    assert max(found) < 1.3 * min(found)


@pytest.mark.parametrize("start_s", [0, 20])
def test_time_in_which_nobody_waited_is_not_waiting(start_s: int) -> None:
    """The first to come after a long rest were taken for those that had waited since then."""
    nap = (Instruction("compute", MS), Instruction("sleep", 30_000 * MS))
    load = Workload(
        programs=(Program("hog", WORK), Program("napper", (*nap, FOREVER))),
        tasks=(
            TaskSet(program="napper", count=2),
            TaskSet(program="hog", count=6, start_ns=start_s * 1000 * MS),
        ),
        metrics=("done",),
    )
    outcome = simulate(simple_machine(2), load, seconds=start_s + 2)
    assert outcome.stats["queued_llc"] > 10
    assert outcome.stats["rescued"] == 0


PUSHY = """\
from scx_vsched.policy import Policy, Task, VCpu, guest


class Pushy(Policy):
    mechanism = guest

    def passes(self, task: Task, vcpu: VCpu) -> bool:
        return True
"""


def test_a_policy_that_lets_everybody_pass_does_not_starve_who_waits(tmp_path: Path) -> None:
    """What passes never lets its vCPU run dry, which is when it looks at its queue."""
    (tmp_path / "pushy.py").write_text(PUSHY)
    nap = (Instruction("compute", MS // 10), Instruction("sleep", MS // 100))
    load = Workload(
        programs=(Program("hog", WORK), Program("waker", (*nap, FOREVER))),
        tasks=(
            TaskSet(program="hog", affinity=(0,)),
            TaskSet(program="hog", affinity=(1,)),
            TaskSet(program="waker", count=8),
        ),
        metrics=("done",),
    )
    outcome = simulate(simple_machine(2), load, str(tmp_path / "pushy.py"), seconds=4)
    assert outcome.stats["passed"] > 1000
    assert min(shares(outcome)) > 0.02


def test_groups_share_by_their_weights() -> None:
    load = hogs(
        TaskSet(program="hog", group=1, count=3),
        TaskSet(program="hog", group=2),
        groups=(Group(), Group(0, 100), Group(0, 300)),
    )
    found = shares(simulate(simple_machine(1), load, seconds=5))
    assert found[3] == pytest.approx(0.75, abs=0.04)


@BOTH
def test_a_quota_is_what_the_vcpu_gets(policy: str) -> None:
    machine = replace(
        simple_machine(1), threads=(HostThread(0, quota_ns=6 * MS, period_ns=20 * MS, phase_ns=0),)
    )
    vcpu = simulate(machine, hogs(TaskSet(program="hog")), policy).vcpus[0]
    assert vcpu.hosted_ns == pytest.approx(600 * MS, rel=0.01)
    assert vcpu.stolen_ns == pytest.approx(1_400 * MS, rel=0.01)


@BOTH
def test_rivals_share_a_hardware_thread_by_weight(policy: str) -> None:
    machine = replace(simple_machine(1), threads=(HostThread(0), HostThread(0, weight=3072)))
    vcpu = simulate(machine, hogs(TaskSet(program="hog")), policy).vcpus[0]
    assert vcpu.hosted_ns == pytest.approx(500 * MS, rel=0.03)


@BOTH
def test_siblings_of_a_core_slow_each_other_down(policy: str) -> None:
    machine = replace(simple_machine(2, threads=2), smt_factor=640)
    both = simulate(machine, hogs(TaskSet(program="hog", count=2)), policy)
    alone = simulate(machine, hogs(TaskSet(program="hog")), policy)
    assert sum(both.counts.values()) / sum(alone.counts.values()) == pytest.approx(1.25, rel=0.02)


@BOTH
def test_an_affinity_is_kept_when_it_changes_under_way(policy: str) -> None:
    load = hogs(
        TaskSet(program="hog", count=4),
        script=tuple(Step(n * 50 * MS, "affinity", n, mask=(n % 3, 3)) for n in range(1, 20)),
    )
    simulate(simple_machine(4), load, policy)


@BOTH
def test_a_barrier_ends_rounds_when_the_slowest_comes(policy: str) -> None:
    steps = (Instruction("compute", MS), Instruction("barrier", 0), Instruction("mark", 0), FOREVER)
    load = Workload(
        programs=(Program("p", steps),),
        tasks=(TaskSet(program="p", count=4),),
        barriers=(4,),
        metrics=("rounds",),
    )
    fast = simple_machine(4)
    slow = replace(fast, pcpus=(*fast.pcpus[:3], replace(fast.pcpus[3], speed=256)))
    ratio = [sum(simulate(m, load, policy).counts.values()) for m in (fast, slow)]
    assert ratio[0] / ratio[1] == pytest.approx(4, rel=0.05)


# ---- What the fuzzer found in the simulator itself ----


@BOTH
def test_a_sleeper_whose_vcpu_goes_offline_wakes_elsewhere(policy: str) -> None:
    steps = (
        Instruction("compute", MS),
        Instruction("sleep", 3 * MS),
        Instruction("mark", 0),
        FOREVER,
    )
    load = Workload(
        programs=(Program("p", steps),),
        tasks=(TaskSet(program="p", count=4),),
        metrics=("rounds",),
        script=(
            Step(20 * MS, "offline", 1),
            Step(21 * MS, "offline", 0),
            Step(90 * MS, "online", 1),
        ),
    )
    outcome = simulate(simple_machine(3), load, policy, seconds=0.2, drain=True)
    assert sum(outcome.counts.values()) > 120


def test_a_task_that_must_not_migrate_keeps_its_vcpu_until_that_goes_offline() -> None:
    load = hogs(
        TaskSet(program="hog", count=3),
        script=(
            Step(10 * MS, "migration", 0, 1),
            Step(30 * MS, "affinity", 0, mask=(1,)),
            Step(60 * MS, "offline", 0),
            Step(90 * MS, "online", 0),
        ),
    )
    for kernel in ("6.12", "7.1.13", "7.x"):
        options = Options(end_ns=200 * MS, check_every=1, drain=True)
        outcome = prepare("core", kernel=kernel).run(simple_machine(2), load, options)
        assert outcome.failure is None


def test_the_lock_of_a_killed_task_is_no_other_tasks() -> None:
    steps = (
        Instruction("lock", 0),
        Instruction("compute", 5 * MS),
        Instruction("unlock", 0),
        FOREVER,
    )
    load = Workload(
        programs=(Program("p", steps), Program("q", (Instruction("compute", MS), FOREVER))),
        tasks=(TaskSet(program="p", count=2), TaskSet(program="q", start_ns=30 * MS, count=2)),
        locks=1,
        script=tuple(Step(n * MS, "kill", 0) for n in (12, 14, 40)),
    )
    simulate(simple_machine(2), load, seconds=0.2, drain=True)
