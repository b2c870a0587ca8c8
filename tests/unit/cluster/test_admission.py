"""Who may start where: machines' queues, cells' queues, and what room is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from workloads import UNIT, workload

from scx_vsched.cluster.admission import Admission
from scx_vsched.cluster.setup import Setup
from scx_vsched.cluster.simulator import simulate
from scx_vsched.numa.policies import parse_policy

NONE = parse_policy("no_migration")


def admission(requests: list[float], setup: Setup, capacity: list[float]) -> Admission:
    """Tasks that are all there from the start, on machines of these capacities."""
    tasks = len(requests)
    work = replace(
        workload(tasks),
        submit_s=np.zeros(tasks),
        request=np.array([round(one * UNIT) for one in requests]),
    )
    return Admission(work, setup, np.array([round(one * UNIT) for one in capacity]))


def test_a_task_waits_for_its_machine_though_others_have_room() -> None:
    queues = admission([0.3] * 40, Setup(4), [0.5] * 4)
    started, machine = queues.admit(0)
    assert sorted(machine.tolist()) == [0, 1, 2, 3]
    assert queues.pending == 40 - len(started)
    assert (queues.waiting() == round(0.3 * UNIT)).all()
    assert queues.m_room.tolist() == [UNIT // 5] * 4


def test_in_a_cell_a_task_starts_where_there_is_the_most_room() -> None:
    # Whatever machine was drawn for it, the second finds the other machine of the cell.
    queues = admission([0.3, 0.3, 0.3], Setup(2, cell_size=2, cell_queue=True), [0.5, 0.4])
    started, machine = queues.admit(0)
    assert (started.tolist(), machine.tolist()) == ([0, 1], [0, 1])
    assert queues.pending == 1
    # Nothing changed: nothing is looked at again, until somebody leaves.
    assert len(queues.admit(1)[0]) == 0
    queues.leave(started[1:], machine[1:])
    assert queues.admit(2)[1].tolist() == [1]


def test_the_first_of_a_cells_queue_holds_up_those_behind_it() -> None:
    queues = admission([0.3, 0.3, 0.4, 0.01], Setup(2, cell_size=2, cell_queue=True), [0.5] * 2)
    assert queues.admit(0)[0].tolist() == [0, 1]
    assert queues.pending == 2


def test_larger_machines_get_more_tasks() -> None:
    queues = admission([0.0] * 4000, Setup(4), [0.1, 0.1, 0.1, 0.7])
    machine = queues.admit(0)[1]
    assert abs((machine == 3).mean() - 0.7) < 0.05


def test_moved_tasks_take_their_requests_along() -> None:
    queues = admission([0.2], Setup(2), [0.5] * 2)
    task, machine = queues.admit(0)
    queues.move(task, machine, 1 - machine)
    assert queues.m_room[machine[0]] == UNIT // 2
    assert queues.m_room[1 - machine[0]] == UNIT // 2 - round(0.2 * UNIT)


@given(
    seed=st.integers(0, 10_000),
    cell=st.integers(1, 4),
    queue=st.booleans(),
    policy=st.sampled_from(["no_migration", "coarse", "priced"]),
)
def test_every_task_is_somewhere_once(seed: int, cell: int, queue: bool, policy: str) -> None:
    setup = Setup(8, cell_size=cell, cell_queue=queue, allocation_ratio=1.2, seed=seed)
    found = simulate(workload(150, seed), parse_policy(policy), setup).summary
    assert found.finished + found.running + found.pending + found.unsubmitted == 150
