"""The decisions of the policy numa in CPython: who crosses to another node, and who comes back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.policies.numa import Numa
from scx_vsched.policy import Sched, Task, VCpu

MS, MIB = 1_000_000, 1 << 20
NEXT = 20  # the distance of another node
HOG = Task(memory_bytes=MIB, awake_ns=1000 * MS)
WAKING = replace(HOG, awake_ns=0, is_waking=True)
FULL = VCpu(id=0, stack=0, node_capacity=2048, node_vcpus=2, node_queued=2)
EMPTY = VCpu(id=2, stack=2, node=1, node_capacity=2048, node_vcpus=2)


def crosses(
    task: Task,
    here: VCpu = FULL,
    there: VCpu = EMPTY,
    distance: int = NEXT,
    policy: Numa | None = None,
) -> bool:
    return bool((policy or Numa()).crosses(task, here, there, distance, Sched()))


def test_a_share_that_is_larger_pays_for_pages() -> None:
    assert crosses(HOG)
    assert not crosses(replace(HOG, memory_bytes=1024 * MIB))
    assert crosses(replace(HOG, memory_bytes=100 * MIB))
    assert not crosses(replace(HOG, memory_bytes=100 * MIB), distance=100)
    assert not crosses(replace(HOG, memory_bytes=100 * MIB), policy=Numa(page_ns=20_000))


def test_who_has_just_woken_gains_only_what_it_would_wait() -> None:
    assert crosses(WAKING)
    assert not crosses(replace(WAKING, memory_bytes=100 * MIB))
    longer = replace(FULL, node_queued=40)
    assert crosses(replace(WAKING, memory_bytes=100 * MIB), longer)


def test_nobody_goes_where_it_is_no_better() -> None:
    same = replace(EMPTY, node_queued=2)
    assert not crosses(HOG, there=same)
    assert not crosses(replace(HOG, memory_bytes=1), there=replace(EMPTY, node_queued=9))


def test_what_a_host_takes_from_a_node_counts() -> None:
    """Both nodes have as many vCPUs and nobody waits at either; one gets a fifth of its time."""
    big = replace(HOG, memory_bytes=100 * MIB)
    weak = replace(FULL, node_queued=0, node_capacity=400)
    assert crosses(big, weak)
    assert not crosses(big, EMPTY, weak)
    assert not crosses(big, replace(weak, node_capacity=2048))


def test_memory_that_nobody_told_is_guessed_and_kernel_threads_have_none() -> None:
    unknown = replace(HOG, memory_bytes=0)
    assert crosses(unknown)
    assert not crosses(unknown, policy=Numa(unknown_kib=1 << 20))
    assert crosses(replace(unknown, is_kthread=True), policy=Numa(unknown_kib=1 << 20))


def test_the_horizon_bounds_what_is_expected() -> None:
    big = replace(HOG, memory_bytes=100 * MIB)
    assert not crosses(big, policy=Numa(horizon_ms=1))
    assert crosses(replace(big, memory_bytes=1024 * MIB), policy=Numa(horizon_ms=1000))
    assert not crosses(replace(big, awake_ns=MS)), "it has hardly run"


@pytest.mark.parametrize(("away_ms", "memory", "expected"), [
    (49, 0, False), (51, 0, True), (51, 1 << 30, False), (1000, 1 << 30, True),
])  # fmt: skip
def test_a_visit_lasts_for_a_while_and_for_several_times_the_way(
    away_ms: int, memory: int, expected: bool
) -> None:
    visitor = replace(HOG, away_ns=away_ms * MS, memory_bytes=memory)
    assert Numa().returns(visitor, EMPTY, FULL, NEXT, Sched()) is expected


def test_idle_vcpus_look_at_every_queue_but_their_own_threads() -> None:
    assert Numa().steals(EMPTY, FULL, 3)
    assert not Numa().steals(replace(EMPTY, stack=0), FULL, 1)


NUMBERS = st.integers(0, 2**64 - 1)
SMALL = st.integers(0, 2**32 - 1)


@given(NUMBERS, NUMBERS, SMALL, SMALL, SMALL, SMALL)
def test_any_numbers_give_an_answer(
    memory: int, awake: int, capacity: int, vcpus: int, queued: int, distance: int
) -> None:
    task = Task(memory_bytes=memory, awake_ns=awake, away_ns=awake)
    node = VCpu(node_capacity=capacity, node_vcpus=vcpus, node_queued=queued)
    assert crosses(task, node, EMPTY, distance) in {True, False}
    assert crosses(task, EMPTY, node, distance) in {True, False}


@given(st.integers(0, 40), st.integers(0, 40))
def test_more_memory_never_makes_anybody_cross(less: int, more: int) -> None:
    less, more = sorted((less, more))
    if crosses(replace(HOG, memory_bytes=1 << more)):
        assert crosses(replace(HOG, memory_bytes=1 << less))
