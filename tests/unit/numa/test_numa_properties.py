"""Whatever there is: moves are bounded, the budget is kept, no group splits, all is put back."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from numa_machine import Binder, Machine, Memory, Task

from scx_vsched.numa.balancer import Balancer
from scx_vsched.numa.budget import SAVED_S, ByteBudget, MoveLog
from scx_vsched.numa.load import NodeLoad
from scx_vsched.numa.planning import Damping, Group, Plan, plan
from scx_vsched.numa.saved import SavedFile
from scx_vsched.numa.settings import MIB, Settings, balancer_policy

if TYPE_CHECKING:
    import pytest

POLICIES = [
    "coarse",
    "priced",
    "fine",
    "sorted",
    "sorted:cpu-desc",
    "sorted:request-asc",
    "no_migration",
]
NODES = 4
BIG = 1 << 40


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[NodeLoad], list[Group]]:
    """Loads of four nodes and groups on them whose loads are part of that."""
    groups = []
    for number in range(draw(st.integers(0, 12))):
        members = tuple((number * 10 + i, 1) for i in range(draw(st.integers(1, 3))))
        node = draw(st.integers(0, NODES - 1))
        groups.append(
            Group(
                members,
                "g",
                node,
                draw(st.floats(0, 3000)),
                {draw(st.integers(0, NODES - 1)): draw(st.integers(0, 300)) * MIB},
                threads=len(members),
                fixed=draw(st.sampled_from(["", "", "rule 1"])),
                apart=draw(st.booleans()),
                kept=draw(st.booleans()),
                rested=draw(st.booleans()),
            )
        )
    loads = [
        NodeLoad(
            node,
            2048.0,
            draw(st.floats(0, 2048)),
            sum(group.load for group in groups if group.node == node),
        )
        for node in range(NODES)
    ]
    return loads, groups


def planned(policy: str, loads: list[NodeLoad], groups: list[Group], budget: int = BIG) -> Plan:
    return plan(
        balancer_policy(policy),
        loads,
        groups,
        Damping(),
        budget_bytes=budget,
        most_bytes=budget,
    )


@given(situations(), st.sampled_from(POLICIES), st.integers(0, 400))
def test_a_plan_keeps_to_the_budget_and_moves_each_group_once(
    situation: tuple[list[NodeLoad], list[Group]], policy: str, mib: int
) -> None:
    loads, groups = situation
    found = planned(policy, loads, groups, mib * MIB)
    assert sum(step.memory_bytes for step in found.steps) <= mib * MIB
    moved = [step.group.members for step in found.steps]
    assert len(moved) == len(set(moved))
    assert all(step.group.rested for step in found.steps)
    assert all(step.group in groups for step in found.steps)


@given(situations(), st.sampled_from(POLICIES))
def test_what_is_fixed_is_never_balanced_away(
    situation: tuple[list[NodeLoad], list[Group]], policy: str
) -> None:
    for step in planned(policy, *situation).steps:
        if step.group.fixed:
            assert step.target == step.group.node


@given(situations(), st.sampled_from(["fine", "sorted", "priced"]))
def test_who_is_moved_becomes_faster_and_the_slowest_node_no_slower(
    situation: tuple[list[NodeLoad], list[Group]], policy: str
) -> None:
    loads, groups = situation
    alone = [g for g in groups if len(g.members) == 1 and not g.apart]
    now = {load.node: load for load in loads}
    slowest = min(load.speed() for load in loads)
    for step in planned(policy, loads, alone).steps:
        before, target = now[step.source].speed(), now[step.target]
        crowded = target.used + step.group.load > target.capacity
        now[step.target] = replace(target, used=target.used + step.group.load)
        source = now[step.source]
        now[step.source] = replace(source, used=max(0.0, source.used - step.group.load))
        after = now[step.target].speed()
        assert after >= before * (Damping().crowded_gain if crowded else Damping().least_gain)
    assert min(load.speed() for load in now.values()) >= slowest - 1e-9


@given(situations())
def test_no_migration_does_nothing(situation: tuple[list[NodeLoad], list[Group]]) -> None:
    assert planned("no_migration", *situation) == Plan(())


@given(st.lists(st.tuples(st.floats(0.1, 20), st.integers(0, 5000)), max_size=40))
def test_a_byte_budget_is_never_exceeded(asked: list[tuple[float, int]]) -> None:
    rate, now, spent = 100.0, 0.0, 0
    budget = ByteBudget(rate, now)
    for wait, size in asked:
        now += wait
        if size <= budget.left(now):
            budget.spend(size)
            spent += size
        assert spent <= rate * (SAVED_S + now) + 1


@given(st.lists(st.floats(0.5, 20), max_size=60))
def test_moves_a_minute_are_bounded(waits: list[float]) -> None:
    log, damping, now = MoveLog(), Damping(), 0.0
    times = []
    for wait in waits:
        now += wait
        if log.rested([(1, 1)], now, damping):
            log.note([(1, 1)], now)
            times.append(now)
    assert log.most_per_minute <= damping.most_per_minute
    for at in times:
        assert sum(at <= other < at + 60 for other in times) <= damping.most_per_minute
    assert all(b - a >= damping.rest_s for a, b in itertools.pairwise(times))


@given(data=st.data())
def test_groups_stay_whole_and_everything_is_put_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    machine = Machine(tmp_path_factory.mktemp("machine"))
    count = data.draw(st.integers(1, 6))
    buffers = [data.draw(st.sampled_from([0, 0, 1, 2])) for _ in range(count)]
    for number, buffer in enumerate(buffers):
        cpu = data.draw(st.integers(0, 7))
        shared = [(100 + buffer, cpu // 2, 3, "rw-s")] if buffer else []
        machine.add(Task(10 + number, cpus=(cpu,), own={cpu // 2: 8}, shared=shared))
    policy = data.draw(st.sampled_from(POLICIES))
    binder, lost = Binder(), dict.fromkeys(range(8), 0.0)
    files = {p: p.read_text().strip() for p in machine.proc.glob("irq/*/*")}
    balancer = Balancer(
        Settings(policy=balancer_policy(policy)),
        lambda: lost,
        places=machine.places,
        saved=SavedFile(machine.root / "numa.json", machine.places.proc, machine.places.sys),
        clock=machine.clock,
        affinity=machine,
        memory=Memory(machine),
    )
    balancer.bind_with(binder)
    balancer.look()
    for _ in range(data.draw(st.integers(1, 8))):
        node = data.draw(st.integers(0, NODES - 1))
        for cpu in range(8):
            lost[cpu] = 900.0 if cpu // 2 == node else 0.0
        if len(machine.tasks) > 1 and data.draw(st.booleans()):
            machine.end(data.draw(st.sampled_from(sorted(machine.tasks))))
        machine.run(2.0, dict.fromkeys(machine.tasks, data.draw(st.floats(0, 1))))
        balancer.round()
        for buffer in (1, 2):
            members = [10 + n for n, b in enumerate(buffers) if b == buffer]
            nodes = {binder.homes.get(pid) for pid in members if pid in machine.tasks}
            assert len(nodes) <= 1
        assert set(binder.homes) <= set(machine.tasks)
    balancer.undo()
    assert binder.homes == {}
    assert {p: p.read_text().strip() for p in files} == files
    assert balancer.status()["totals"]["most_moves_per_minute"] <= Damping().most_per_minute
