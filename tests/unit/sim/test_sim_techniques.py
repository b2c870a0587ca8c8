"""BVS, IVH and RWC at work on simulated machines that probers find out about."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from scx_vsched.sim.machine import HostThread, Machine, simple_machine
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.unseen import unseen_machine
from scx_vsched.sim.workload import Instruction, Program, Step, TaskSet, Workload
from scx_vsched.sim.workload_file import load_workload

MS = 1_000_000
S = 1_000_000_000
FOREVER = Instruction("forever")
TECHNIQUES = ("bvs", "ivh", "rwc")
NEVER_LENT = {"lend_after": 10_000}


def hogs(count: int, *more: TaskSet, script: tuple[Step, ...] = ()) -> Workload:
    program = Program("hog", (Instruction("compute", MS), Instruction("mark", 0), FOREVER))
    tasks = (TaskSet(program="hog", count=count),) if count else ()
    return Workload(programs=(program,), tasks=(*tasks, *more), metrics=("done",), script=script)


def run(
    machine: Machine,
    load: Workload,
    *,
    without: tuple[str, ...] = (),
    seconds: int = 7,
    kernel: str = "7.x",
    tunables: dict[str, int] | None = None,
    probe: bool = True,
) -> Outcome:
    options = Options(end_ns=seconds * S, warmup_ns=min(4, seconds - 1) * S, probe=probe)
    scheduler = prepare("vsched", without=without, kernel=kernel, tunables=tunables)
    outcome = scheduler.run(machine, load, options)
    assert outcome.failure is None, outcome.failure
    return outcome


@cache
def builtin(profile: str, workload: str, without: tuple[str, ...] = (), **tunables: int) -> Outcome:
    machine = machine_named(profile)
    return run(machine, load_workload(workload, machine), without=without, tunables=tunables)


def quantile(outcome: Outcome, metric: str, part: float) -> float:
    ordered = sorted(outcome.latencies_ns[metric])
    return ordered[int(part * len(ordered))]


# ---- RWC ----


def test_a_barrier_no_longer_waits_for_stragglers_and_stacks() -> None:
    with_rwc, without = builtin("harmful", "barrier"), builtin("harmful", "barrier", ("rwc",))
    assert with_rwc.counts["rounds"] > 3 * without.counts["rounds"]
    assert with_rwc.stats["hidden"] == 3
    assert with_rwc.stats["shown"] == 0, "a steady machine changes nothing"
    assert all(with_rwc.vcpus[v].busy_ns < 2 * S for v in (4, 5))
    assert with_rwc.vcpus[7].busy_ns < with_rwc.vcpus[6].busy_ns, "of the stack the first is shown"


@pytest.mark.parametrize("profile", ["straggler", "rcvm"])
def test_the_slowest_of_a_barrier_is_not_left_where_it_is(profile: str) -> None:
    """It never sleeps, since all others have arrived when it does: it seems to wait for nobody."""
    alone, none = (builtin(profile, "barrier", out) for out in (("bvs", "ivh"), TECHNIQUES))
    assert alone.counts["rounds"] > 2 * none.counts["rounds"]


def test_what_waits_for_nobody_uses_hidden_vcpus() -> None:
    outcome = builtin("harmful", "compute")
    assert outcome.stats["hidden"] == 3
    assert all(vcpu.busy_ns > 100 * MS for vcpu in outcome.vcpus)
    assert outcome.counts["done"] >= 0.99 * builtin("harmful", "compute", ("rwc",)).counts["done"]


@pytest.mark.parametrize("profile", ["harmful", "straggler", "rcvm"])
def test_independent_work_that_sleeps_loses_no_throughput(profile: str) -> None:
    hiding, without = builtin(profile, "jobs"), builtin(profile, "jobs", ("rwc",))
    assert hiding.stats["hidden_used"] > 100
    assert hiding.counts["done"] > 0.97 * without.counts["done"]


def test_light_tasks_are_not_put_on_stragglers_beside_hogs() -> None:
    """They are often the last of a short queue, and would never catch up on a straggler."""
    threads = (HostThread(n, quota_ns=3 * MS, period_ns=20 * MS) for n in range(4, 8))
    machine = replace(simple_machine(8), threads=(*(HostThread(n) for n in range(4)), *threads))
    load = load_workload("periodic", machine)
    hiding, without = (run(machine, load, without=out) for out in ((), ("rwc",)))
    assert hiding.stats["hidden_used"] > 100
    assert quantile(hiding, "latency", 0.95) < 0.5 * quantile(without, "latency", 0.95)


def test_vcpus_with_best_effort_work_are_free_for_others() -> None:
    """They are never idle, and yet nobody is lent a straggler."""
    hiding, without = builtin("harmful", "mixed"), builtin("harmful", "mixed", ("rwc",))
    assert hiding.stats["hidden_used"] > 0, "by best-effort work"
    assert quantile(hiding, "latency", 0.99) <= 1.02 * quantile(without, "latency", 0.99)


def test_who_may_run_only_on_hidden_vcpus_still_does() -> None:
    pinned = TaskSet(program="hog", count=2, affinity=(4,))
    confined = TaskSet(program="hog", count=3, affinity=(4, 5))
    outcome = run(machine_named("harmful"), hogs(0, pinned, confined))
    assert outcome.stats["hidden"] == 3
    assert min(task.run_ns for task in outcome.tasks) > 20 * MS


def test_best_effort_work_uses_hidden_vcpus() -> None:
    idle = TaskSet(program="hog", count=8, policy=5)
    outcome = run(machine_named("harmful"), hogs(4, idle), tunables=NEVER_LENT)
    assert outcome.stats["hidden_used"] > 0
    assert outcome.vcpus[4].busy_ns > 100 * MS


def test_never_are_all_hidden() -> None:
    stack = replace(simple_machine(3), threads=tuple(HostThread(0) for _ in range(3)))
    machine = replace(stack, threads=(HostThread(0), HostThread(0), HostThread(0)))
    outcome = run(machine, hogs(3), tunables={"straggler_in": 100, "straggler_out": 200})
    assert outcome.stats["hidden"] <= 2
    assert sum(vcpu.busy_ns for vcpu in outcome.vcpus) > 5 * S


def test_a_vcpu_that_recovers_comes_back() -> None:
    machine = machine_named("harmful")
    script = (Step(5 * S, "quota", 4, 20 * MS, 20 * MS),)
    load = replace(hogs(5), script=script)
    outcome = run(machine, load, seconds=12, tunables=NEVER_LENT)
    assert outcome.stats["shown"] >= 1


@pytest.mark.parametrize("kernel", ["6.12", "7.1.13"])
def test_hiding_works_on_other_kernels(kernel: str) -> None:
    machine = machine_named("harmful")
    outcome = run(machine, load_workload("barrier", machine), kernel=kernel)
    assert outcome.counts["rounds"] > 3 * builtin("harmful", "barrier", ("rwc",)).counts["rounds"]


# ---- IVH ----


def half_time(count: int, **tunables: int) -> Outcome:
    return run(machine_named("half-time"), hogs(count), tunables=tunables)


def test_running_tasks_use_the_time_of_vcpus_that_have_nothing_to_do() -> None:
    harvested = run(machine_named("half-time"), hogs(4))
    alone = run(machine_named("half-time"), hogs(4), without=("ivh",))
    assert harvested.counts["done"] > 1.8 * alone.counts["done"]
    assert harvested.stats["harvests"] > 1000
    assert harvested.stats["harvest_calls"] >= harvested.stats["harvests"]


def test_harvests_are_bounded_for_each_task() -> None:
    outcome = half_time(2, stay_us=20_000)
    assert outcome.stats["harvests"] <= 2 * 7 * 50


def test_the_chosen_task_moves_and_no_other() -> None:
    here = TaskSet(program="hog", count=2, affinity=(0,))
    outcome = run(machine_named("half-time"), hogs(2, here))
    assert outcome.stats["harvests"] > 100
    moves = {task.pid: task.migrations for task in outcome.tasks}
    assert sorted(moves.values())[:2] == [0, 0], "those that may run on one vCPU only"


def test_best_effort_work_gives_way_to_what_is_harvested() -> None:
    idle = TaskSet(program="hog", count=16, policy=5)
    outcome = run(machine_named("half-time"), hogs(4, idle))
    ran = sorted(task.run_ns for task in outcome.tasks)[-4:]
    assert outcome.stats["harvests"] > 100
    assert min(ran) > 0.6 * 7 * S


def test_nobody_is_moved_between_dedicated_vcpus() -> None:
    outcome = run(simple_machine(8), hogs(4))
    assert outcome.stats["harvest_calls"] == 0
    assert outcome.migrations <= 4


def test_where_all_have_work_hardly_anybody_searches() -> None:
    outcome = run(machine_named("half-time"), hogs(16))
    assert outcome.stats["harvest_none"] <= 16 * 7 * 80, "vCPUs, seconds, searches a second"


def test_without_kicks_nothing_is_harvested() -> None:
    outcome = run(machine_named("half-time"), hogs(4), kernel="7.1.13")
    assert outcome.stats["harvest_calls"] == 0


# ---- BVS ----


def test_requests_wait_less_where_vcpus_come_late() -> None:
    biased = builtin("asym-latency", "rpc-mixed")
    plain = builtin("asym-latency", "rpc-mixed", ("bvs",))
    assert quantile(biased, "waiting", 0.95) < 0.58 * quantile(plain, "waiting", 0.95)
    assert biased.stats["biased_busy"] > 1000


def test_idle_vcpus_are_chosen_and_doubtful_ones_hedged() -> None:
    biased, plain = builtin("asym-latency", "rpc"), builtin("asym-latency", "rpc", ("bvs",))
    assert quantile(biased, "waiting", 0.95) < 0.2 * quantile(plain, "waiting", 0.95)
    assert biased.stats["biased_idle"] > 1000
    assert biased.stats["hedged"] > 100


def test_whole_requests_take_less_time_where_vcpus_go_by_the_clock() -> None:
    """They end before the vCPU goes away: what idle vCPUs will do, the probers have said."""
    biased, plain = (builtin("asym-latency", "rpc", out) for out in (("ivh", "rwc"), TECHNIQUES))
    assert quantile(biased, "latency", 0.95) < 0.65 * quantile(plain, "latency", 0.95)


def test_servers_sleep_where_interrupts_find_them_awake() -> None:
    every, plain = (builtin("asym-latency", "requests", without) for without in ((), TECHNIQUES))
    assert quantile(every, "latency", 0.95) < 0.8 * quantile(plain, "latency", 0.95)
    assert quantile(every, "latency", 0.99) < 0.5 * quantile(plain, "latency", 0.99)


# ---- All of them ----


@pytest.mark.parametrize(
    ("tunable", "counters"),
    [
        ("bvs", ("biased_idle", "biased_busy", "hedged")),
        ("ivh", ("harvests", "harvest_calls", "returns")),
        ("rwc", ("hidden", "diverted")),
    ],
)
def test_each_technique_can_be_switched_off_when_it_is_loaded(
    tunable: str, counters: tuple[str, ...]
) -> None:
    on, off = builtin("rcvm", "rpc"), builtin("rcvm", "rpc", **{tunable: 0})
    assert any(on.stats[counter] for counter in counters)
    assert not any(off.stats[counter] for counter in counters)


def test_a_machine_that_changed_is_used_again() -> None:
    """Back to 90 % of its best within 5 s after a migration."""
    machine = machine_named("moved")

    def done(seconds: int) -> int:
        options = Options(end_ns=seconds * S, probe=True)
        return prepare("vsched").run(machine, hogs(4), options).counts["done"]

    best = done(10) - done(9)
    assert done(16) - done(15) >= 0.9 * best


def test_gains_are_not_of_the_machines_that_rules_were_made_on() -> None:
    for number in (1, 2, 3):
        machine = unseen_machine(number)
        load = load_workload("rpc-mixed", machine)
        every, plain = (run(machine, load, without=without) for without in ((), TECHNIQUES))
        assert quantile(every, "latency", 0.95) < quantile(plain, "latency", 0.95)


def test_nobody_starves() -> None:
    for workload in ("rpc-mixed", "barrier", "forktree"):
        assert builtin("rcvm", workload).longest_wait_ns < 1 * S
