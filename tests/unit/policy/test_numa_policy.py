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


# ---- Critical tasks ----

SERVER = Task(nice=-5, awake_ns=MS // 2)
WEAK = VCpu(id=6, stack=6, node_capacity=410, node_vcpus=2)


def test_who_is_fixed_or_has_a_nice_value_below_0_is_critical() -> None:
    is_critical = Numa().is_critical
    assert is_critical(SERVER)
    assert is_critical(Task(is_fixed=True))
    assert not is_critical(Task())
    assert not is_critical(Task(nice=-20, is_kthread=True))


def test_vcpus_are_kept_where_the_host_takes_a_part_and_the_task_sleeps_now_and_then() -> None:
    def keeps(task: Task = SERVER, vcpu: VCpu = WEAK, **tunables: int) -> int:
        return int(Numa(**tunables).keeps_ns(task, vcpu, Sched()))

    assert keeps() == 2000 * MS
    wide = replace(WEAK, node_vcpus=4)
    assert [keeps(vcpu=replace(wide, node_kept=kept)) > 0 for kept in range(4)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert keeps(vcpu=replace(wide, node_kept=2, is_kept=True)) > 0
    assert keeps(vcpu=replace(WEAK, node_vcpus=1, node_capacity=200)) == 0
    assert keeps(vcpu=replace(WEAK, node_capacity=2040)) == 0
    assert keeps(replace(SERVER, awake_ns=1000 * MS)) == 0
    assert keeps(keep_ms=0) == 0


def test_critical_tasks_take_the_vcpu_from_others_only() -> None:
    preempts = Numa().preempts
    assert preempts(SERVER, Task(), WEAK)
    assert not preempts(SERVER, Task(is_critical=True), WEAK)
    assert not preempts(Task(), Task(), WEAK)
    assert preempts(Task(), Task(is_idle_class=True), WEAK)
    assert not preempts(Task(is_batch=True), Task(is_idle_class=True), WEAK)


def test_critical_tasks_wait_for_their_own_vcpu_while_that_is_short() -> None:
    kept = replace(WEAK, is_kept=True, node_kept=1)
    assert Numa().idle_scope(SERVER, kept) == 0
    assert Numa().idle_scope(SERVER, replace(kept, queued=1)) == 3
    assert Numa().idle_scope(Task(), kept) == 3
    busy = replace(kept, node_queued=40)
    assert crosses(WAKING, busy)
    assert not crosses(replace(WAKING, nice=-5), busy)


def test_what_waits_for_a_vcpu_that_is_kept_is_left_there() -> None:
    kept = VCpu(id=7, stack=7, is_kept=True, queued=1)
    shared = replace(kept, llc_queued=1)
    steals = Numa().steals
    assert not steals(WEAK, kept, 1)
    assert not steals(WEAK, shared, 1)
    assert not steals(WEAK, kept, 2)
    assert steals(WEAK, shared, 2), "what waits for its cache is for all"
    assert steals(WEAK, kept, 3), "each task is asked about"


def test_vcpus_that_are_kept_are_no_room_for_others() -> None:
    big = replace(HOG, memory_bytes=100 * MIB)
    half = replace(EMPTY, node_kept=1)
    here = replace(FULL, node_queued=0, node_capacity=1000)
    assert crosses(big, here, EMPTY)
    assert not crosses(big, here, replace(half, node_capacity=1000))
    assert crosses(big, replace(here, node_queued=1, node_kept=1), half)
