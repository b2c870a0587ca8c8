"""Finite links: transfers one after the other, and tasks that are slow until their pages came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from workloads import UNIT, workload

from scx_vsched.cluster.network import Network
from scx_vsched.cluster.setup import Setup
from scx_vsched.cluster.simulator import simulate
from scx_vsched.numa.policies import parse_policy

FINE = parse_policy("fine")


def array(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Numbers."""
    return np.array(values, np.int64)


def test_transfers_share_no_link() -> None:
    network = Network(4, 10)
    # 0→1 takes 10 s; 0→2 waits for 0's link, 3→1 for 1's; 2→3 for none.
    over = network.send(100, array(0, 0, 3, 2), array(1, 2, 1, 3), array(100, 50, 20, 10))
    assert over.tolist() == [110, 115, 112, 101]
    # What is under way goes on.
    assert network.send(105, array(0), array(3), array(10)).tolist() == [116]
    assert network.send(200, array(0), array(3), array(10)).tolist() == [201]


def test_both_ways_at_once() -> None:
    assert Network(2, 1).send(0, array(0, 1), array(1, 0), array(5, 5)).tolist() == [5, 5]


def test_no_limit_is_the_limit_of_fast_links() -> None:
    work = workload(300, 7)
    free = simulate(work, FINE, Setup(8)).summary
    fast = simulate(work, FINE, Setup(8, link_bytes_s=1e18)).summary
    assert fast.moves == free.moves > 0
    assert (free.following_s, fast.following_s) == (0, pytest.approx(0, abs=1e-6))
    assert fast.duration_s == pytest.approx(free.duration_s)


def test_slow_links_delay_what_moves() -> None:
    work = workload(60, 7)  # few enough that nobody waits for CPU
    free, slow, stopped, unhurt = (
        simulate(work, FINE, Setup(8, link_bytes_s=rate, moving_speed=speed)).summary
        for rate, speed in ((None, 0.5), (4 << 20, 0.5), (4 << 20, 0.0), (4 << 20, 1.0))
    )
    assert slow.following_s > 100
    assert slow.delay_s > free.delay_s
    assert slow.finished > stopped.finished
    # Who still waits for pages does not move again; at full speed nothing is lost but that.
    assert slow.moves < free.moves
    assert (unhurt.finished, unhurt.duration_s) == (free.finished, free.duration_s)


def test_a_moved_task_ends_as_much_later_as_its_pages_took() -> None:
    # Two tasks on one of two machines: one moves in the first step, 0.01 of 64 GiB.
    tasks = 2
    work = replace(
        workload(tasks, length_s=3000),
        submit_s=np.zeros(tasks),
        duration_s=np.full(tasks, 1000.0),
        request=np.zeros(tasks, np.int64),
        priority=np.zeros(tasks, np.int8),
        phase_s=np.zeros(tasks),
        offset=np.arange(tasks),
        count=np.ones(tasks, np.int64),
        cpu=np.full(tasks, UNIT // 100, np.int32),
        max_cpu=np.full(tasks, UNIT // 100, np.int32),
        memory=np.full(tasks, UNIT // 100, np.int32),
    )
    seed = next(  # that places both on one machine
        seed for seed in range(50) if len(set(np.random.default_rng(seed).integers(0, 2, 2))) == 1
    )
    size = 0.01 * (64 << 30)
    setup = Setup(2, cell_size=2, seed=seed, link_bytes_s=size / 100, moving_speed=0.5)
    done = simulate(work, FINE, setup).summary
    assert (done.moves, done.following_s) == (1, pytest.approx(100))
    # 100 s at half speed cost 50 s; the other task is not concerned.
    assert done.duration_s == pytest.approx((1000 + 1050) / 2)
