"""Critical tasks beside best-effort ones on simulated nodes of which hosts take a part.

The nodes are those of `numa bench`: a server is fixed on node 3, whose host leaves 4 ms of every
20 to each vCPU, and the hosts of the others leave 9 in turn and else 2.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from scx_vsched.sim.machine import Change, HostThread, Machine, simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Instruction, Program, Step, TaskSet, Workload

MS = 1_000_000
MIB = 1 << 20
PERIOD = 20 * MS
WARMUP_MS = 500
SEEDS = range(1, 6)
SERVER_VCPUS = (6, 7)
FOREVER = Instruction("forever")
CLIENT = Program(
    "client",
    (
        Instruction("sleep", 20 * MS, distribution="exponential"),
        Instruction("compute", 10_000),
        Instruction("send", 0),
        FOREVER,
    ),
)
SERVER = Program(
    "server",
    (
        Instruction("receive", 0),
        Instruction("compute", 500_000, distribution="exponential"),
        Instruction("latency", 1),
        FOREVER,
    ),
)
HOG = Program("hog", (Instruction("compute", 200_000), Instruction("mark", 0), FOREVER))
FOLLOWING = ((0, 0), (9500, 2), (17_500, 1))  # to the node that is left free, a while later
ON_SERVERS_NODE = ((0, 3),)


def machine(shaped: bool = True) -> Machine:
    made = simple_machine(8, nodes=4)
    quota = [9, 9, 2, 2, 2, 2, 4, 4]
    changes = [
        Change(at * 1000 * MS, "quota", vcpu, ms * MS, PERIOD)
        for at, node, ms in ((8, 0, 2), (8, 2, 9), (16, 2, 2), (16, 1, 9))
        for vcpu in (2 * node, 2 * node + 1)
    ]
    threads = [HostThread(n, quota_ns=quota[n] * MS, period_ns=PERIOD) for n in range(8)]
    told = [replace(v, capacity=1024 * ms // 20) for v, ms in zip(made.vcpus, quota, strict=True)]
    return replace(
        made,
        vcpus=tuple(told) if shaped else made.vcpus,
        threads=tuple(threads) if shaped else made.threads,
        changes=tuple(changes) if shaped else (),
        node_distances=(10, 20, 40, 40, 20, 10, 40, 40, 40, 40, 10, 20, 40, 40, 20, 10),
    )


def run(
    hogs: int = 0,
    homes: tuple[tuple[int, int], ...] = (),
    *,
    on: Machine | None = None,
    policy: str = "numa",
    seed: int = 1,
    ms: int = 24_000,
    script: tuple[Step, ...] = (),
    keep_ms: int = 2000,
    kernel: str = "7.x",
    affinity: tuple[int, ...] | None = None,
    fixed: bool = True,
    probe: bool = False,
) -> Outcome:
    """Tasks 0 and 1 are the client and the server; `homes` of the hogs are (ms, node).

    Without probers, which take a part of what they measure, the scheduler was told the capacities
    that hold in the beginning; those of the server's node do not change.
    """
    tasks = [TaskSet(program=name, nice=-5, affinity=SERVER_VCPUS) for name in ("client", "server")]
    if hogs:
        tasks.append(TaskSet(program="hog", count=hogs, affinity=affinity))
    steps = [Step(MS, "fix", task, 3, MIB) for task in (0, 1) if fixed]
    steps += [
        Step(max(1, at) * MS, "home", 2 + hog, node, 24 * MIB)
        for at, node in homes
        for hog in range(hogs)
    ]
    steps += script
    load = Workload(
        programs=(CLIENT, SERVER, HOG),
        tasks=tuple(tasks),
        channels=(4096,),
        metrics=("chunks", "latency"),
        script=tuple(sorted(steps, key=lambda step: step.at_ns)) if policy == "numa" else (),
    )
    tunables = {"keep_ms": keep_ms} if policy == "numa" else None
    options = Options(
        seed=seed, end_ns=ms * MS, warmup_ns=WARMUP_MS * MS, probe=probe, check_every=1
    )
    outcome = prepare(policy, kernel=kernel, tunables=tunables).run(on or machine(), load, options)
    assert outcome.failure is None, outcome.failure
    return outcome


def p99_ms(outcomes: list[Outcome]) -> float:
    """Of the latencies of all outcomes together."""
    found = [latency for outcome in outcomes for latency in outcome.latencies_ns["latency"]]
    return statistics.quantiles(found, n=100)[98] / MS


def busy_ms(outcome: Outcome, vcpu: int) -> float:
    return outcome.vcpus[vcpu].busy_ns / MS


@pytest.fixture(scope="module")
def alone() -> list[Outcome]:
    return [run(seed=seed) for seed in SEEDS]


@pytest.mark.parametrize(
    ("hogs", "homes"), [(2, FOLLOWING), (2, ON_SERVERS_NODE), (8, ())], ids=str
)
def test_the_servers_p99_is_that_of_running_alone_beside_any_best_effort_load(
    alone: list[Outcome], hogs: int, homes: tuple[tuple[int, int], ...]
) -> None:
    beside = [run(hogs, homes, seed=seed) for seed in SEEDS]
    assert p99_ms(beside) <= 1.1 * p99_ms(alone)


def test_what_probers_find_is_enough_to_keep_a_vcpu() -> None:
    outcome = run(2, ON_SERVERS_NODE, probe=True)
    assert outcome.stats["numa_kept"] >= 1
    assert p99_ms([outcome]) < 10


def test_without_a_vcpu_that_is_kept_best_effort_work_uses_up_the_servers_time() -> None:
    """What the test above holds against."""
    kept, open_ = (run(2, ON_SERVERS_NODE, keep_ms=ms) for ms in (2000, 0))
    assert kept.stats["numa_kept"] >= 1
    assert open_.stats["numa_kept"] == 0
    assert p99_ms([open_]) > 3 * p99_ms([kept])


def test_best_effort_work_loses_at_most_the_vcpu_that_is_kept() -> None:
    default = run(8, policy="default").counts["chunks"]
    assert run(8).counts["chunks"] > 0.85 * default, "four of 38 ms in 20"
    assert run(2, FOLLOWING).counts["chunks"] > 1.5 * run(2, policy="default").counts["chunks"]


@pytest.mark.parametrize("kernel", ["6.12", "7.1.13"])
def test_vcpus_are_kept_on_other_kernels(kernel: str) -> None:
    outcome = run(2, ON_SERVERS_NODE, kernel=kernel, ms=8000)
    assert outcome.stats["numa_kept"] >= 1
    assert p99_ms([outcome]) < 8


@pytest.mark.parametrize("home", [3, 0])
def test_whose_nice_value_alone_says_so_is_critical_too(home: int) -> None:
    """Also where only the affinity says where it runs: its parent was at home elsewhere."""
    inherited = tuple(Step(MS, "home", task, home, MIB) for task in (0, 1))
    outcome = run(2, ON_SERVERS_NODE, fixed=False, ms=8000, script=inherited)
    assert outcome.stats["numa_kept"] >= 1
    assert p99_ms([outcome]) < 8


def test_several_servers_get_vcpus_of_their_own_but_half_of_the_node_at_most() -> None:
    """A node of eight vCPUs with 4 ms in 20 each; six servers compute for 3 ms at a time."""
    made = simple_machine(16, nodes=2)
    told = [replace(v, capacity=205 if n >= 8 else 1024) for n, v in enumerate(made.vcpus)]
    threads = [
        HostThread(n, quota_ns=4 * MS, period_ns=PERIOD) if n >= 8 else HostThread(n)
        for n in range(16)
    ]
    on = replace(made, vcpus=tuple(told), threads=tuple(threads))
    service = Program(
        "service",
        (
            Instruction("period", 100 * MS),
            Instruction("compute", 3 * MS),
            Instruction("latency", 1),
            FOREVER,
        ),
    )
    node = tuple(range(8, 16))
    load = Workload(
        programs=(service, HOG),
        tasks=(
            TaskSet(program="service", count=6, nice=-5, affinity=node),
            TaskSet(program="hog", count=8, affinity=node),
        ),
        metrics=("chunks", "latency"),
        script=tuple(Step(MS, "fix", task, 1) for task in range(6)),
    )
    options = Options(end_ns=6000 * MS, warmup_ns=500 * MS, check_every=1)
    outcome = prepare("numa").run(on, load, options)
    assert outcome.failure is None, outcome.failure
    assert 2 <= outcome.stats["numa_kept"] - outcome.stats["numa_opened"] <= 4
    busy = sorted(busy_ms(outcome, vcpu) for vcpu in node)
    assert busy[4] > 0.95 * 1200, "hogs use the other half"
    assert busy[0] < 0.5 * 1200


def test_on_a_node_that_its_host_leaves_whole_critical_tasks_preempt_instead() -> None:
    outcome = run(6, ON_SERVERS_NODE, on=machine(shaped=False), ms=6000)
    assert outcome.stats["numa_kept"] == 0
    assert outcome.stats["preempted"] > 0
    assert p99_ms([outcome]) < 4


def test_a_vcpu_is_opened_again_when_critical_tasks_are_gone() -> None:
    end = (Step(6000 * MS, "kill", 0), Step(6000 * MS, "kill", 1))
    outcome = run(2, ON_SERVERS_NODE, ms=12_000, script=end, keep_ms=500)
    assert outcome.stats["numa_kept"] == outcome.stats["numa_opened"] >= 1
    both = [busy_ms(outcome, vcpu) for vcpu in SERVER_VCPUS]
    assert min(both) > 0.2 * 4000, "one was kept for half of the time"


def test_who_must_run_on_a_vcpu_that_is_kept_does() -> None:
    for allowed in ((6,), (7,), (5, 7), (5, 6)):
        outcome = run(1, ON_SERVERS_NODE, affinity=allowed, ms=8000)
        assert outcome.tasks[2].run_ns > 0.9 * 8000 * MS, allowed


@pytest.mark.parametrize("gone", SERVER_VCPUS)
def test_a_vcpu_that_goes_offline_is_not_kept(gone: int) -> None:
    script = (Step(4000 * MS, "offline", gone), Step(8000 * MS, "online", gone))
    outcome = run(4, ON_SERVERS_NODE, ms=12_000, script=script)
    assert all(task.run_ns + task.waited_ns > 0 for task in outcome.tasks)
    assert outcome.stats["numa_kept"] >= 1
    assert p99_ms([outcome]) < 20


def test_a_placement_that_is_put_in_force_meanwhile_changes_nothing() -> None:
    on = machine()
    on = replace(on, retold=(on.vcpus,))
    outcome = run(4, ON_SERVERS_NODE, on=on, ms=8000, script=(Step(5000 * MS, "feed", 0),))
    assert p99_ms([outcome]) < 8
