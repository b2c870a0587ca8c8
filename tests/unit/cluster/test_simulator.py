"""The simulator: the oracle's decisions, nothing lost, and each rule of the facts on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_simulator import plain_simulate
from workloads import UNIT, workload

from scx_vsched.cluster.metrics import gini
from scx_vsched.cluster.setup import Setup
from scx_vsched.cluster.simulator import simulate
from scx_vsched.errors import UserError
from scx_vsched.numa.policies import THESIS_POLICIES, Limits, parse_policy

if TYPE_CHECKING:
    from scx_vsched.cluster.balance import Moves
    from scx_vsched.cluster.workload import Workload

COARSE, NONE, MEMORY = map(parse_policy, ("coarse", "no_migration", "sorted:memory-asc"))


def recorded(work: Workload, policy: str, setup: Setup) -> list[tuple[float, Moves]]:
    """All decisions of a run."""
    moves: list[tuple[float, Moves]] = []
    simulate(
        work, parse_policy(policy), setup, on_moves=lambda now, made: moves.append((now, made))
    )
    return moves


@given(
    seed=st.integers(0, 10_000),
    tasks=st.integers(1, 120),
    cell_size=st.integers(1, 5),
    ratio=st.sampled_from([0.5, 1.0, 1.4]),
    gap=st.sampled_from([0.0, 0.2]),
)
def test_coarse_decides_as_the_plain_implementation_does(
    seed: int, tasks: int, cell_size: int, ratio: float, gap: float
) -> None:
    work = workload(tasks, seed)
    setup = Setup(
        8, cell_size=cell_size, allocation_ratio=ratio, limits=Limits(least_gap=gap), seed=seed
    )
    plain = plain_simulate(work, setup)
    made = [
        (now, int(task), int(target))
        for now, moves in recorded(work, "coarse", setup)
        for task, target in zip(moves.task, moves.target, strict=True)
    ]
    assert sorted(made) == sorted(plain.moves)
    result = simulate(work, COARSE, setup)
    assert result.summary.finished == len(plain.ends)
    assert result.summary.bytes_moved == plain.bytes_moved
    assert result.series.cpu.tolist() == pytest.approx(plain.cpu)
    if plain.ends:
        ran = [end - plain.starts[task] for task, end in plain.ends.items()]
        assert result.summary.duration_s == pytest.approx(np.mean(ran))


@given(
    seed=st.integers(0, 10_000),
    tasks=st.integers(1, 200),
    policy=st.sampled_from(THESIS_POLICIES),
    ratio=st.sampled_from([0.3, 1.0]),
)
def test_every_task_is_accounted_for_and_bytes_are_the_sum_of_moves(
    seed: int, tasks: int, policy: object, ratio: float
) -> None:
    work = workload(tasks, seed)
    setup = Setup(8, allocation_ratio=ratio, seed=seed)
    made = recorded(work, str(policy), setup)
    result = simulate(work, parse_policy(str(policy)), setup)
    done = result.summary
    assert done.tasks == tasks
    assert done.finished + done.running + done.pending + done.unsubmitted == tasks
    assert done.bytes_moved == sum(int(moves.memory_bytes.sum()) for _, moves in made)
    assert done.moves == sum(len(moves.task) for _, moves in made)
    assert done.bytes_moved == done.bytes_first + done.bytes_second == result.series.bytes_moved[-1]
    assert (np.diff(result.series.bytes_moved) >= 0).all()
    assert ((result.series.cpu >= 0) & (result.series.cpu <= 1)).all()
    for _, moves in made:
        assert len(set(moves.task.tolist())) == len(moves.task)


def test_same_seed_same_result_another_seed_another() -> None:
    work = workload(200, 3)
    one, two = (simulate(work, MEMORY, Setup(8, seed=1)) for _ in range(2))
    assert one.summary == two.summary
    assert all(
        (getattr(one.series, name) == getattr(two.series, name)).all()
        for name in one.series.__slots__
    )
    assert simulate(work, MEMORY, Setup(8, seed=2)).summary != one.summary


def test_moves_stay_within_a_cell() -> None:
    work = workload(300, 5)
    places = np.random.default_rng(0).integers(0, 8, len(work))
    for _, moves in recorded(work, "fine", Setup(8, cell_size=2)):
        assert (places[moves.task] // 2 == moves.target // 2).all()
        places[moves.task] = moves.target


def single(cpu: float, duration_s: float, request: float = 0.1, tasks: int = 1) -> Workload:
    """Tasks alike, all there from the start, that use the same CPU all the time."""
    return replace(
        workload(tasks, length_s=3000),
        submit_s=np.zeros(tasks),
        duration_s=np.full(tasks, duration_s),
        request=np.full(tasks, round(request * UNIT)),
        phase_s=np.zeros(tasks),
        offset=np.arange(tasks),
        count=np.ones(tasks, np.int64),
        cpu=np.full(tasks, round(cpu * UNIT), np.int32),
    )


def test_a_task_alone_runs_as_long_as_in_the_trace() -> None:
    done = simulate(single(0.25, 100), NONE, Setup(1)).summary
    assert (done.duration_s, done.wait_s, done.slowdown_p50) == (100, 0, 1)


def test_overload_stretches_what_is_left() -> None:
    # Two tasks of 0.5 on a capacity of 0.5: half as fast.
    done = simulate(single(0.5, 100, tasks=2), NONE, Setup(1)).summary
    assert done.duration_s == pytest.approx(200)
    series = simulate(single(0.5, 100, tasks=2), NONE, Setup(1)).series
    assert series.overcommit[0] == pytest.approx(1)
    assert series.cpu[0] == 1


def test_a_task_waits_until_its_request_fits() -> None:
    done = simulate(single(0.1, 90, request=0.3, tasks=2), NONE, Setup(1)).summary
    assert done.wait_s == pytest.approx((0 + 90) / 2)
    # Allocated half of it, both fit at once.
    half = Setup(1, allocation_ratio=0.5)
    assert simulate(single(0.1, 90, request=0.3, tasks=2), NONE, half).summary.wait_s == 0


def test_a_request_beyond_every_machine_takes_one_for_itself() -> None:
    done = simulate(single(0.1, 90, request=3.0, tasks=2), NONE, Setup(1)).summary
    assert done.finished == 2
    assert done.wait_s == pytest.approx(45)


def test_usage_follows_the_samples_and_the_last_one_stays() -> None:
    work = replace(
        single(0.1, np.inf),
        count=np.array([2]),
        cpu=np.array([UNIT // 10, UNIT // 5], np.int32),
        phase_s=np.array([-300.0]),
    )
    series = simulate(work, NONE, Setup(1)).series
    assert set(series.cpu[series.time_s < 600].tolist()) == {0.2}
    assert set(series.cpu[series.time_s >= 600].tolist()) == {0.4}


def test_only_free_and_small_tasks_move_and_rest_after_it() -> None:
    work = workload(400, 7)
    for _, moves in recorded(work, "coarse", Setup(8)):
        assert (work.priority[moves.task] < 2).all()
    assert not any(len(m.task) for _, m in recorded(work, "fine", Setup(8, priority_below=0)))
    assert not any(len(m.task) for _, m in recorded(work, "fine", Setup(8, max_cpu_below=0)))
    rested = simulate(work, parse_policy("fine"), Setup(8, rest_s=1e9)).summary
    assert rested.most_moves_of_a_task == 1
    assert simulate(work, parse_policy("fine"), Setup(8)).summary.most_moves_of_a_task > 1


def test_machines_may_have_capacities_of_their_own() -> None:
    work = replace(single(0.5, 100, tasks=1), capacity=np.array([UNIT]))
    assert simulate(work, NONE, Setup(1, capacity=None)).series.cpu[0] == 0.5
    with pytest.raises(UserError, match="cannot lend"):
        simulate(work, NONE, Setup(2, capacity=None))
    with pytest.raises(UserError, match="does not say the capacity of 1"):
        simulate(replace(work, capacity=np.array([0])), NONE, Setup(1, capacity=None))


def test_gini() -> None:
    assert gini(np.array([0.3, 0.3, 0.3])) == pytest.approx(0)
    assert gini(np.array([0, 0, 0, 1.0])) == pytest.approx(0.75)
    assert gini(np.zeros(3)) == 0
    # Definition: mean absolute difference of all pairs over twice the mean.
    values = np.random.default_rng(0).random(50)
    pairs = np.abs(values[:, None] - values[None, :]).mean()
    assert gini(values) == pytest.approx(pairs / (2 * values.mean()))
