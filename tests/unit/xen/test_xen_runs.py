"""Xen's schedulers at work on simulated machines, with every invariant checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.policies import xen_policies
from scx_vsched.sim.machine import simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Group, Instruction, Program, Step, TaskSet, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

pytestmark = pytest.mark.usefixtures("clang")

MS = 1_000_000
S = 1_000_000_000
NAMES = sorted(xen_policies())
HOG = Program("hog", (Instruction("compute", MS), Instruction("mark", 0), Instruction("forever")))
SLEEPER = Program(
    "sleeper",
    (
        Instruction("compute", 300_000, distribution="exponential"),
        Instruction("sleep", 2 * MS, distribution="exponential"),
        Instruction("mark", 0),
        Instruction("forever"),
    ),
)
SETTINGS: dict[str, list[dict[str, int]]] = {
    "bvt": [{"warp": 50, "warp_limit_us": 3000}, {}],
    "credit": [{"weight": 256, "cap": 60}, {"weight": 512}],
    "credit2": [{"weight": 256, "cap": 60}, {"weight": 512}],
    "rtds": [
        {"period_us": 10_000, "budget_us": 3000, "extratime": 0},
        {"period_us": 20_000, "budget_us": 6000},
    ],
    "sedf": [{"period_us": 10_000, "slice_us": 3000, "extratime": 0}, {"weight": 3}],
}


def run(
    name: str,
    domains: Sequence[Mapping[str, int]],
    vcpus: Sequence[int],
    cpus: int = 1,
    seconds: float = 10.0,
) -> tuple[list[float], Outcome]:
    """Busy vCPUs in each domain; what each domain got, in CPUs."""
    load = Workload(
        programs=(HOG,),
        tasks=tuple(TaskSet(program="hog", count=n, group=i + 1) for i, n in enumerate(vcpus)),
        groups=(Group(), *(Group(domain=settings) for settings in domains)),
        metrics=("done",),
    )
    options = Options(end_ns=round(seconds * S), check_every=1)
    outcome = prepare(name).run(simple_machine(cpus), load, options)
    assert outcome.failure is None
    tasks = sorted(outcome.tasks, key=lambda task: task.pid)
    used, at = [], 0
    for number in vcpus:
        used.append(sum(task.run_ns for task in tasks[at : at + number]) / outcome.now_ns)
        at += number
    return used, outcome


def mixed(name: str, script: tuple[Step, ...] = ()) -> Workload:
    """Busy and sleeping vCPUs in two domains and outside of them, one pinned."""
    return Workload(
        programs=(HOG, SLEEPER),
        tasks=(
            TaskSet(program="hog", count=2, group=1),
            TaskSet(program="sleeper", count=3, group=1),
            TaskSet(program="hog", group=2),
            TaskSet(program="hog", group=2, affinity=(1,)),
            TaskSet(program="sleeper", count=2, group=2, start_ns=30 * MS),
            TaskSet(program="sleeper", count=2),
        ),
        groups=(Group(), *(Group(domain=settings) for settings in SETTINGS[name])),
        metrics=("done",),
        script=script,
    )


@pytest.mark.parametrize("name", ["bvt", "credit", "credit2"])
@pytest.mark.parametrize(("vcpus", "cpus"), [((1, 1), 1), ((2, 2), 2), ((4, 4), 2)])
def test_busy_domains_share_by_weight(name: str, vcpus: tuple[int, int], cpus: int) -> None:
    used, _ = run(name, [{"weight": 256}, {"weight": 512}], vcpus, cpus)
    assert sum(used) == pytest.approx(cpus, rel=0.001)
    assert used[0] == pytest.approx(cpus / 3, rel=0.03)
    assert used[1] == pytest.approx(2 * cpus / 3, rel=0.03)


@pytest.mark.parametrize("name", ["credit", "credit2"])
@pytest.mark.parametrize(
    ("caps", "vcpus", "cpus", "expected"),
    [
        ((50,), (1,), 1, (0.5,)),
        ((20, 0), (1, 1), 1, (0.2, 0.8)),
        ((150,), (4,), 4, (1.5,)),
        ((5,), (2,), 2, (0.05,)),
        ((30, 60), (2, 3), 4, (0.3, 0.6)),
    ],
)
def test_caps_hold_and_others_get_the_rest(
    name: str, caps: tuple[int, ...], vcpus: tuple[int, ...], cpus: int, expected: tuple[float, ...]
) -> None:
    used, outcome = run(name, [{"cap": cap} for cap in caps], vcpus, cpus)
    assert used == pytest.approx(expected, abs=0.02)
    assert outcome.stats["parked"] > 0


def test_rtds_keeps_every_admitted_reservation() -> None:
    domains = [
        {"period_us": 10_000, "budget_us": 4000, "extratime": 0, "vcpus": 2},
        {"period_us": 20_000, "budget_us": 10_000, "extratime": 0},
        {"period_us": 7000, "budget_us": 2000, "extratime": 1},
    ]
    used, outcome = run("rtds", domains, (2, 1, 1), 2)
    assert used[0] == pytest.approx(0.8, rel=0.01)
    assert used[1] == pytest.approx(0.5, rel=0.01)
    assert used[2] > 0.5  # its 2/7 and extra time
    assert outcome.stats["periods"] > 2000
    assert outcome.stats["missed"] == 0


@pytest.mark.parametrize("name", ["rtds", "sedf"])
def test_budgets_are_not_exceeded_on_idle_cpus(name: str) -> None:
    length = "budget_us" if name == "rtds" else "slice_us"
    used, _ = run(name, [{"period_us": 10_000, length: 3000, "extratime": 0}], (1,), 2)
    assert used[0] == pytest.approx(0.3, rel=0.01)


def test_what_is_not_admitted_is_refused_in_words() -> None:
    domains = [{"period_us": 10_000, "budget_us": 6000}, {"period_us": 20_000, "budget_us": 10_000}]
    with pytest.raises(UserError, match="group2: Rtds does not admit it with period_us=20000"):
        run("rtds", domains, (1, 1))


def test_sedf_shares_what_is_left_by_weight() -> None:
    domains = [
        {"period_us": 10_000, "slice_us": 2000, "extratime": 0},
        {"weight": 1},
        {"weight": 3},
    ]
    used, _ = run("sedf", domains, (1, 1, 1))
    assert used == pytest.approx([0.2, 0.2, 0.6], rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_latency_sensitive_domain_beside_hogs_is_not_starved(name: str) -> None:
    load = mixed(name)
    options = Options(end_ns=3 * S, check_every=1, drain=True)
    outcome = prepare(name).run(simple_machine(2), load, options)
    assert outcome.failure is None
    assert outcome.longest_wait_ns < S


@pytest.mark.parametrize("kernel", ["6.12", "7.1.13", "7.x"])
@pytest.mark.parametrize("name", NAMES)
def test_cpus_affinities_and_groups_may_change(name: str, kernel: str) -> None:
    script = (
        Step(50 * MS, "offline", 1),
        Step(100 * MS, "group_move", 1, 2),
        Step(150 * MS, "online", 1),
        Step(200 * MS, "affinity", 2, mask=(0,)),
        Step(250 * MS, "group_move", 1, 0),
        Step(300 * MS, "affinity", 2, mask=(0, 1, 2)),
        Step(350 * MS, "kill", 3),
        Step(400 * MS, "bypass", 1),
        Step(420 * MS, "bypass", 0),
    )
    options = Options(end_ns=S, check_every=1, drain=True)
    found = prepare(name, kernel=kernel)
    outcome = found.run(simple_machine(3), mixed(name, script), options)
    assert outcome.failure is None, outcome.failure


@pytest.mark.parametrize("name", NAMES)
def test_hooks_in_cpython_and_in_c_lead_to_the_same_run(name: str) -> None:
    options = Options(end_ns=S // 2)
    compiled, stepped = (
        prepare(name, cpython=cpython).run(simple_machine(2), mixed(name), options)
        for cpython in (False, True)
    )
    assert compiled.failure is None
    assert stepped.records > 100
    assert stepped.digest == compiled.digest
