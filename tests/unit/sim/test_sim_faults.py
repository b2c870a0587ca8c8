"""A scheduler or a workload that goes wrong is found, named, and never hangs the simulator."""

from __future__ import annotations

import re

import pytest
from sim_faults import faulty

from scx_vsched.sim.machine import simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Instruction, Program, Source, TaskSet, Workload

MS = 1_000_000
FOREVER = Instruction("forever")
HOGS = Workload(
    programs=(Program("hog", (Instruction("compute", MS), FOREVER)),),
    tasks=(TaskSet(program="hog", count=6),),
)


def run(fault: str, load: Workload = HOGS, **options: int | bool) -> Outcome:
    settings = Options(end_ns=3_000 * MS, timeout_ms=1000, **options)  # type: ignore[arg-type]
    return faulty(fault).run(simple_machine(2), load, settings)


def pinned(vcpu: int) -> Workload:
    return Workload(
        programs=HOGS.programs, tasks=(TaskSet(program="hog", affinity=(vcpu,), count=3),)
    )


@pytest.mark.parametrize(
    ("fault", "name", "says"),
    [
        ("loses a task", "watchdog", "pid 3 has waited for .* keeps it to itself"),
        ("inserts twice", "scx_error", "pid 3 already direct-dispatched"),
        ("moves in enqueue", "kfunc_not_allowed", "scx_bpf_dsq_move_to_local"),
        ("spins", "spins", r"dispatch\(\) has not returned on vCPU \d for a second"),
        ("crashes", "crash", r"Segmentation fault in dispatch on vCPU \d"),
        ("goes in circles", "goes_in_circles", "vCPU . does no work"),
    ],
)
def test_a_fault_is_named_and_the_steps_up_to_it_are_kept(fault: str, name: str, says: str) -> None:
    outcome = run(fault)
    assert outcome.failure
    assert outcome.failure.name == name
    assert re.search(says, outcome.failure.message)
    assert outcome.trace
    assert outcome.trace[-1].at_ns <= outcome.failure.at_ns


def test_a_task_put_where_it_may_not_run_is_found() -> None:
    failure = run("ignores affinity", pinned(0)).failure
    assert failure
    assert failure.name == "scx_error"
    assert "target CPU 1 not allowed for pid 1" in failure.message


def test_a_task_that_waits_beside_an_idle_vcpu_is_found() -> None:
    failure = run("dispatches nothing", pinned(1), stranded_ms=100).failure
    assert failure
    assert failure.name == "stranded"


def test_a_counter_that_is_not_given_back_is_found_once_all_tasks_are_gone() -> None:
    failure = run("miscounts", drain=True).failure
    assert failure
    assert failure.name == "counter_leaked"


def simulate(load: Workload, policy: str = "core", **options: int | float) -> Outcome:
    settings = Options(**{"end_ns": 1_000 * MS, **options})  # type: ignore[arg-type]
    return prepare(policy).run(simple_machine(2), load, settings)


@pytest.mark.parametrize("policy", ["core", "default"])
def test_tasks_that_wait_for_each_other_for_ever_are_a_deadlock(policy: str) -> None:
    def taker(name: str, first: int, second: int) -> Program:
        steps = [
            Instruction("lock", first),
            Instruction("compute", MS),
            Instruction("lock", second),
        ]
        return Program(name, (*steps, Instruction("exit")))

    load = Workload(
        programs=(taker("ab", 0, 1), taker("ba", 1, 0)),
        tasks=(TaskSet(program="ab"), TaskSet(program="ba")),
        locks=2,
    )
    failure = simulate(load, policy).failure
    assert failure
    assert failure.name == "deadlock"
    assert "2 tasks wait for each other" in failure.message


def test_tasks_that_are_yet_to_come_are_no_deadlock() -> None:
    load = Workload(
        programs=(
            Program("early", (Instruction("receive", 0), FOREVER)),
            Program("late", (Instruction("compute", MS), Instruction("send", 0), FOREVER)),
        ),
        tasks=(TaskSet(program="early"), TaskSet(program="late", start_ns=50 * MS)),
        channels=(1,),
    )
    assert simulate(load).failure is None


def test_a_workload_that_forks_without_end_is_stopped() -> None:
    steps = (Instruction("fork", 0, 2), Instruction("compute", 10 * MS), FOREVER)
    load = Workload(
        programs=(Program("bomb", steps),), tasks=(TaskSet(program="bomb"),), max_tasks=500
    )
    failure = simulate(load).failure
    assert failure
    assert (failure.name, failure.message) == (
        "too_many_tasks",
        "the workload has more than 500 tasks at once",
    )


def test_events_are_bounded() -> None:
    failure = simulate(HOGS, max_events=1000).failure
    assert failure
    assert failure.name == "too_many_events"


def test_real_time_is_bounded() -> None:
    steps = (Instruction("compute", 1), Instruction("yield"), FOREVER)
    load = Workload(programs=(Program("busy", steps),), tasks=(TaskSet(program="busy", count=4),))
    failure = simulate(load, end_ns=10**14, max_wall_s=0.2).failure
    assert failure
    assert failure.name == "too_slow"


def test_requests_that_nobody_takes_in_time_are_refused_not_kept() -> None:
    load = Workload(
        programs=(
            Program("slow", (Instruction("receive", 0), Instruction("compute", MS), FOREVER)),
        ),
        tasks=(TaskSet(program="slow"),),
        channels=(4,),
        sources=(Source(channel=0, interval_ns=10_000),),
    )
    assert simulate(load).failure is None
