"""The gallery's policies schedule: simulated machines, with every invariant checked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.policies import gallery_policies
from scx_vsched.sim.machine import simple_machine
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Group, Instruction, Program, TaskSet, Workload
from scx_vsched.sim.workload_file import load_workload

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("clang")

MS = 1_000_000
NAMES = sorted(gallery_policies())
WORK = (Instruction("compute", MS), Instruction("mark", 0), Instruction("forever"))


def run(name: str, workload: str, seconds: float = 1.0, **settings: int) -> Outcome:
    machine = machine_named("rcvm", contended=True)
    options = Options(end_ns=round(seconds * 1e9), check_every=10, drain=True)
    found = prepare(name, tunables=settings)
    outcome = found.run(machine, load_workload(workload, machine), options)
    assert outcome.failure is None
    return outcome


@pytest.mark.parametrize("workload", ["requests", "barrier", "mixed", "forktree"])
@pytest.mark.parametrize("name", NAMES)
def test_runs_without_a_fault(name: str, workload: str) -> None:
    assert sum(run(name, workload, 0.3).counts.values()) > 0


@pytest.mark.parametrize("workload", ["requests", "barrier", "forktree"])
@pytest.mark.parametrize("name", NAMES)
def test_state_in_cpython_and_in_c_lead_to_the_same_run(name: str, workload: str) -> None:
    machine = machine_named("rcvm", contended=True)
    load = load_workload(workload, machine)
    tasks = tuple(replace(tasks, group=1) for tasks in load.tasks)
    grouped = replace(load, tasks=tasks, groups=(Group(), Group()))
    options = Options(end_ns=100_000_000)
    compiled, stepped = (
        prepare(name, cpython=cpython).run(machine, grouped, options) for cpython in (False, True)
    )
    assert compiled.failure is None
    assert stepped.records > 100
    assert stepped.digest == compiled.digest


def test_hooks_that_ask_the_machine_are_not_computed_by_cpython(tmp_path: Path) -> None:
    policy = tmp_path / "drawn.py"
    policy.write_text(
        "from scx_vsched.policy import Policy, Task, VCpu, guest, random_u32\n"
        "class Drawn(Policy):\n    mechanism = guest\n"
        "    def stays(self, task: Task, vcpu: VCpu) -> bool:\n"
        "        drawn = random_u32()\n        return drawn % 2 == 0\n"
    )
    with pytest.raises(UserError, match="random_u32"):
        prepare(str(policy), cpython=True)


def test_a_timer_runs_out_as_often_as_its_period_says(tmp_path: Path) -> None:
    policy = tmp_path / "timed.py"
    policy.write_text(
        "from scx_vsched.policy import Policy, Sched, counter, guest, u64\n"
        "class Timed(Policy):\n    mechanism = guest\n    rounds = counter(doc='rounds')\n"
        "    def on_timer(self, sched: Sched) -> u64:\n"
        "        self.rounds.add()\n        return 10_000_000\n"
    )
    machine = machine_named("2")
    found = prepare(str(policy)).run(
        machine, load_workload("mixed", machine), Options(end_ns=1_000_000_000)
    )
    assert found.failure is None
    assert 98 <= found.stats["rounds"] <= 102


def test_weighted_vtime_shares_as_the_weights_say() -> None:
    load = Workload(
        programs=(Program("hog", WORK),),
        tasks=(TaskSet(program="hog", nice=0), TaskSet(program="hog", nice=5)),
        metrics=("done",),
    )
    options = Options(end_ns=5_000_000_000, check_every=1)
    outcome = prepare("weighted_vtime").run(simple_machine(1), load, options)
    heavy, light = (t.run_ns for t in sorted(outcome.tasks, key=lambda t: t.pid))
    assert heavy / light == pytest.approx(1024 / 335, rel=0.03)


def test_what_the_policies_count_is_in_the_statistics() -> None:
    assert run("edf", "mixed").stats["late"] > 0
    assert run("latency_nice", "requests").stats["eager"] > 0


def test_gang_sees_stragglers_where_a_cgroup_meets_at_barriers() -> None:
    load = load_workload("barrier", machine_named("rcvm", contended=True))
    tasks = tuple(replace(tasks, group=1) for tasks in load.tasks)
    grouped = replace(load, tasks=tasks, groups=(Group(), Group()))
    machine = machine_named("rcvm", contended=True)
    outcome = prepare("gang").run(machine, grouped, Options(end_ns=1_000_000_000, drain=True))
    assert outcome.failure is None
    assert outcome.stats["stragglers"] > 0


def test_backoff_gives_up_vcpus_where_much_is_taken_away() -> None:
    assert run("backoff", "hogs", 3.0, interval_ms=100).stats["backed_off"] > 0
