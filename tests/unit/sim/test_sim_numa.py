"""Tasks on simulated machines of several NUMA nodes: at home, away, and back."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scx_vsched.errors import UserError
from scx_vsched.sim.case import run_case
from scx_vsched.sim.draw import draw_case
from scx_vsched.sim.draw_homes import with_homes
from scx_vsched.sim.machine import Machine, VCpu, simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Instruction, Program, Step, TaskSet, Workload
from scx_vsched.topology.nodes import MAX_HOME_NODES

MS = 1_000_000
MIB = 1 << 20
FOREVER = Instruction("forever")
HOG = Program("hog", (Instruction("compute", MS), FOREVER))
SLEEPER = Program("sleeper", (Instruction("compute", MS), Instruction("sleep", 3 * MS), FOREVER))
KERNELS = ("6.12", "7.1.13", "7.x")


def machine(nodes: int = 2, vcpus: int = 2, distances: tuple[int, ...] = ()) -> Machine:
    made = simple_machine(nodes * vcpus, nodes=nodes)
    return replace(made, node_distances=distances)


def load(*tasks: TaskSet, script: tuple[Step, ...] = (), program: Program = HOG) -> Workload:
    return Workload(programs=(program,), tasks=tasks, script=script)


def run(
    on: Machine,
    work: Workload,
    *,
    ms: int = 500,
    kernel: str = "7.x",
    tunables: dict[str, int] | None = None,
    trace: int = 0,
) -> Outcome:
    options = Options(end_ns=ms * MS, check_every=1, drain=True, trace_limit=trace)
    outcome = prepare("numa", kernel=kernel, tunables=tunables).run(on, work, options)
    assert outcome.failure is None, outcome.failure
    return outcome


def busy(outcome: Outcome, vcpus: range) -> int:
    return sum(outcome.vcpus[vcpu].busy_ns for vcpu in vcpus)


def moved_at(outcome: Outcome, pid: int) -> list[tuple[int, int]]:
    """When and to which vCPU a task was switched in, where that changed."""
    steps = [
        (r.at_ns, r.vcpu or 0) for r in outcome.trace if r.kind == "switch_in" and r.pid == pid
    ]
    return [step for n, step in enumerate(steps) if not n or steps[n - 1][1] != step[1]]


def homes(count: int, node: int, memory: int = 0, op: str = "home") -> tuple[Step, ...]:
    return tuple(Step(1, op, task, node, memory) for task in range(count))


# ---- At home ----


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("program", [HOG, SLEEPER])
def test_tasks_stay_on_the_node_that_they_were_given(kernel: str, program: Program) -> None:
    script = tuple(Step(MS, "fix", task, 1) for task in range(4))
    outcome = run(machine(4), load(TaskSet(program=program.name, count=4), script=script,
                                   program=program), kernel=kernel)  # fmt: skip
    assert busy(outcome, range(2, 4)) > 0.9 * busy(outcome, range(8)) - 20 * MS
    shares = [task.run_ns for task in outcome.tasks]
    assert min(shares) > 0.6 * max(shares), "both vCPUs of the node serve all of them"


@pytest.mark.parametrize("program", [HOG, SLEEPER])
def test_who_has_no_home_stays_on_the_node_where_it_began(program: Program) -> None:
    outcome = run(
        machine(4), load(TaskSet(program=program.name, count=3), program=program), trace=100_000
    )
    for task in outcome.tasks:
        nodes = {vcpu // 2 for _, vcpu in moved_at(outcome, task.pid)}
        assert len(nodes) == 1


def test_children_stay_on_their_parents_node() -> None:
    child = Program("child", (Instruction("compute", 2 * MS), Instruction("exit")))
    steps = (Instruction("fork", 1, 3), Instruction("join"), FOREVER)
    work = Workload(
        programs=(Program("parent", steps), child),
        tasks=(TaskSet(program="parent", count=1),),
        script=(Step(1, "fix", 0, 2),),
    )
    outcome = run(machine(4), work)
    assert busy(outcome, range(4, 6)) > 0.99 * busy(outcome, range(8))
    assert busy(outcome, range(4, 6)) > 700 * MS, "three take two rounds on two vCPUs"


# ---- Away ----


def crowd(memory: int, *, far: int = 20, **tunables: int) -> Outcome:
    """Six spinning tasks at home on one node of two vCPUs; the other one has nothing to do."""
    work = load(TaskSet(program="hog", count=6), script=homes(6, 0, memory))
    return run(machine(2, 2, (10, far, far, 10)), work, tunables=tunables, ms=1000)


def test_tasks_cross_where_waiting_costs_more_than_their_memory() -> None:
    outcome = crowd(MIB)
    assert busy(outcome, range(2, 4)) > 1800 * MS
    assert outcome.stats["numa_crossed"] >= 2


def test_tasks_with_much_memory_wait_at_home() -> None:
    outcome = crowd(2048 * MIB)
    assert busy(outcome, range(2, 4)) < 20 * MS
    assert outcome.stats["numa_refused"] > 0


def test_what_pages_cost_decides_and_how_far_they_go() -> None:
    near = crowd(100 * MIB)
    assert busy(near, range(2, 4)) > 1500 * MS
    assert busy(crowd(100 * MIB, far=250), range(2, 4)) < 20 * MS
    assert busy(crowd(100 * MIB, page_ns=100_000), range(2, 4)) < 20 * MS
    assert busy(crowd(MIB, horizon_ms=0, page_ns=100_000), range(2, 4)) < 20 * MS


def test_fixed_tasks_never_cross() -> None:
    work = load(TaskSet(program="hog", count=6), script=homes(6, 0, 1, "fix"))
    outcome = run(machine(), work)
    assert busy(outcome, range(2, 4)) < 10 * MS
    assert outcome.stats["numa_crossed"] == 0


def test_visits_are_few_and_long() -> None:
    """A crossing costs; who crossed stays, and comes back when there is room at home."""
    outcome = crowd(MIB, stay_ms=50)
    assert outcome.stats["numa_crossed"] <= 4 + 1000 / 50
    outcome = run(
        machine(),
        load(
            TaskSet(program="hog", count=3),
            script=(*homes(3, 0, MIB), Step(300 * MS, "kill", 0)),
        ),
        ms=1000,
    )
    assert outcome.stats["numa_returned"] >= 1
    assert busy(outcome, range(2, 4)) < 500 * MS, "two are left, and home has two vCPUs"


def test_nobody_starves_at_home_while_others_visit() -> None:
    work = load(TaskSet(program="hog", count=9), script=homes(9, 0, 64 * MIB))
    outcome = run(machine(3), work, ms=2000)
    assert min(task.run_ns for task in outcome.tasks) > 300 * MS
    assert outcome.longest_wait_ns < 200 * MS


# ---- Homes that move ----


@pytest.mark.parametrize("kernel", KERNELS)
def test_running_and_waiting_tasks_follow_at_once(kernel: str) -> None:
    script = (*homes(4, 0, op="fix"), *(Step(200 * MS, "fix", task, 1) for task in range(4)))
    outcome = run(
        machine(), load(TaskSet(program="hog", count=4), script=script), kernel=kernel, trace=10**6
    )
    bound = 30 * MS if kernel == "7.1.13" else 2 * MS
    late = [
        r
        for r in outcome.trace
        if r.kind == "switch_in" and r.pid and r.at_ns > 200 * MS + bound and r.vcpu in {0, 1}
    ]
    assert late == []
    assert min(task.run_ns for task in outcome.tasks) > 150 * MS
    assert outcome.stats["numa_home"] >= 4


def test_sleeping_tasks_follow_when_they_wake() -> None:
    script = (*homes(2, 0), *(Step(200 * MS, "home", task, 1) for task in range(2)))
    work = load(TaskSet(program="sleeper", count=2), script=script, program=SLEEPER)
    outcome = run(machine(), work, trace=10**6)
    late = {r.vcpu for r in outcome.trace if r.kind == "switch_in" and r.at_ns > 205 * MS and r.pid}
    assert late <= {2, 3}


def test_a_home_that_is_taken_away_leaves_the_task_where_it_is() -> None:
    script = (Step(1, "fix", 0, 1), Step(100 * MS, "home", 0, 1, 2**64 - 1))
    outcome = run(machine(), load(TaskSet(program="hog"), script=script))
    assert busy(outcome, range(2, 4)) > 480 * MS


@given(
    st.lists(
        st.tuples(st.integers(1, 290), st.integers(0, 5), st.integers(0, 2), st.booleans()),
        max_size=12,
    ),
    st.sampled_from(KERNELS),
)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_task_ends_up_where_it_was_told_last(
    moves: list[tuple[int, int, int, bool]], kernel: str
) -> None:
    moves = sorted(moves)
    last = {task: node for _, task, node, _ in moves}
    script = tuple(
        Step(at * MS, "fix" if fixed else "home", task, node, 1 << 40)
        for at, task, node, fixed in moves
    )
    outcome = run(
        machine(3),
        load(TaskSet(program="hog", count=6), script=script),
        ms=400,
        kernel=kernel,
        trace=10**6,
    )
    seen = {r.pid: r.vcpu for r in outcome.trace if r.kind == "switch_in" and r.at_ns < 400 * MS}
    for task, node in last.items():
        assert (seen[task + 1] or 0) // 2 == node


# ---- Odd machines, and tasks that must not run at home ----


def test_who_must_not_run_at_home_runs_where_it_may() -> None:
    script = (*homes(3, 0, op="fix"),)
    work = load(TaskSet(program="hog", count=3, affinity=(2, 3, 4)), script=script)
    outcome = run(machine(3), work)
    assert busy(outcome, range(2)) == 0
    assert busy(outcome, range(2, 5)) > 1400 * MS
    assert outcome.stats["numa_confined"] > 0


def test_an_affinity_that_excludes_home_is_obeyed_and_one_that_allows_it_again_brings_back() -> (
    None
):
    script = (
        Step(1, "fix", 0, 0),
        Step(100 * MS, "affinity", 0, mask=(2, 3)),
        Step(300 * MS, "affinity", 0, mask=(0, 1, 2, 3)),
    )
    outcome = run(machine(), load(TaskSet(program="hog"), script=script), trace=10**6)
    nodes = [(at // MS, vcpu // 2) for at, vcpu in moved_at(outcome, 1)]
    assert [node for _, node in nodes][-3:] == [0, 1, 0]
    assert nodes[-1][0] <= 310


def test_one_node_is_like_none() -> None:
    outcome = run(machine(1, 4), load(TaskSet(program="hog", count=9)))
    assert sum(vcpu.busy_ns for vcpu in outcome.vcpus) > 1980 * MS
    assert not any(count for name, count in outcome.stats.items() if name.startswith("numa"))


@pytest.mark.parametrize("kernel", ["6.12", "7.x"])
def test_a_node_without_any_vcpu_left_keeps_nobody(kernel: str) -> None:
    script = (
        *homes(4, 0, op="fix"),
        Step(100 * MS, "offline", 0),
        Step(110 * MS, "offline", 1),
        Step(300 * MS, "online", 0),
        Step(310 * MS, "online", 1),
    )
    outcome = run(
        machine(), load(TaskSet(program="hog", count=4), script=script), kernel=kernel, trace=10**6
    )
    assert min(task.run_ns for task in outcome.tasks) > 150 * MS
    late = {r.vcpu for r in outcome.trace if r.kind == "switch_in" and r.pid and r.at_ns > 340 * MS}
    assert late <= {0, 1}, "they are back"


@pytest.mark.parametrize("kernel", KERNELS)
def test_who_is_fixed_goes_back_to_a_busy_node_when_its_vcpus_are_back(kernel: str) -> None:
    fixed = tuple(Step(1, "fix", task, 1) for task in range(3))
    away = tuple(Step((20 + vcpu) * MS, "offline", vcpu) for vcpu in (2, 3))
    back = tuple(Step((100 + vcpu) * MS, "online", vcpu) for vcpu in (2, 3))
    work = load(TaskSet(program="hog", count=3), script=fixed + away + back)
    outcome = run(machine(4), work, kernel=kernel, ms=600, trace=100_000)
    for task in outcome.tasks:
        last_at, last = moved_at(outcome, task.pid)[-1]
        assert last in (2, 3), f"on vCPU {last} since {last_at / MS:.0f} ms"
        assert any(at > 100 * MS for at, _ in moved_at(outcome, task.pid))


def test_measured_nodes_do_not_count() -> None:
    """What was measured says one cache and one node; memory is where the kernel says."""
    flat = tuple(VCpu(core=n) for n in range(4))
    on = replace(machine(), retold=(flat,))
    script = (*homes(4, 1, op="fix"), Step(100 * MS, "feed", 0))
    outcome = run(
        on,
        load(TaskSet(program="hog", count=4), script=tuple(sorted(script, key=lambda s: s.at_ns))),
    )
    assert busy(outcome, range(2)) < 10 * MS
    assert outcome.stats["topologies"] == 0


def test_a_cache_beyond_a_node_is_cut() -> None:
    on = machine(2, 4)
    apart = tuple(VCpu(core=n, llc=n % 2, node=0) for n in range(8))
    script = (*homes(8, 1, op="fix"), Step(100 * MS, "feed", 0))
    outcome = run(
        replace(on, retold=(apart,)), load(TaskSet(program="hog", count=8), script=script)
    )
    assert outcome.stats["topologies"] == 1
    assert busy(outcome, range(4)) < 10 * MS
    assert busy(outcome, range(4, 8)) > 1950 * MS


@pytest.mark.parametrize(
    ("node", "distances", "message"),
    [(7, (), "to node 7, which there is not"), (0, (10, 20), "2 distances of 2 nodes")],
)
def test_impossible_input_is_refused(node: int, distances: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(
            machine(2, 2, distances),
            load(TaskSet(program="hog"), script=(Step(1, "home", 0, node),)),
        )


# ---- More nodes than homes can be on ----


def test_schedulers_without_homes_run_on_more_nodes_than_homes_know() -> None:
    many = simple_machine(MAX_HOME_NODES + 2, nodes=MAX_HOME_NODES + 2)
    done = prepare("core").run(many, load(TaskSet(program="hog", count=4)), Options(end_ns=20 * MS))
    assert done.failure is None
    with pytest.raises(UserError, match="is on NUMA node 64"):
        run(many, load(TaskSet(program="hog", count=4)))


def test_drawn_cases_with_homes_have_no_more_nodes_than_homes_know() -> None:
    many = simple_machine(MAX_HOME_NODES + 2, nodes=MAX_HOME_NODES + 2)
    work = load(TaskSet(program="hog", count=4))
    bare = replace(draw_case(0), machine=many, workload=work, policy="numa", tunables={})
    case = with_homes(random.Random(1), bare)
    assert {vcpu.node for vcpu in case.machine.vcpus} == set(range(MAX_HOME_NODES))
    assert run_case(case).failure is None
