"""The synthetic machine does what its spec says: else it would prove nothing."""

from __future__ import annotations

import os
import time
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.topology.domains import Level, check_nesting, members
from scx_vsched.topology.native import NativeMachine
from scx_vsched.topology.records import Demand, Relation
from scx_vsched.topology.synthetic import (
    Always,
    Both,
    Change,
    Costs,
    Hierarchy,
    Latencies,
    Noise,
    Periodic,
    Random,
    Steal,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.synthetic.intervals import intersect, join, subtract, total

MS = 1_000_000
SECOND = 1000 * MS
SILENT = Noise(pair=0, sample=0, outliers=0, speed=0)

times = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(1, 50)).map(lambda at: (at[0], at[0] + at[1])),
    max_size=20,
).map(lambda pieces: join(sorted(pieces)))


def machine(hierarchy: Hierarchy, seed: int = 1, **spec: object) -> SyntheticMachine:
    return SyntheticMachine(SyntheticSpec(hierarchy, **{"noise": SILENT, **spec}), seed)


def points(intervals: list[tuple[int, int]]) -> set[int]:
    return {at for start, end in intervals for at in range(start, end)}


@given(times, times)
def test_intervals_are_sets(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    assert points(intersect(first, second)) == points(first) & points(second)
    assert points(subtract((0, 1100), first)) == set(range(1100)) - points(first)
    assert total(first) == len(points(first))


@given(st.integers(0, 50), st.integers(1, 100), st.integers(0, 400), st.integers(1, 300))
def test_a_periodic_pattern_is_the_same_through_any_window(
    run: int, rest: int, start: int, length: int
) -> None:
    pattern = Periodic(run + 1, run + 1 + rest, 7)
    whole = points(pattern.within(0, 1000))
    part = pattern.within(start, start + length)
    assert points(part) == {at for at in whole if start <= at < start + length}


def test_a_random_pattern_is_the_same_whatever_was_asked_before() -> None:
    pattern = Random(7 * MS, 3 * MS)
    late_first = pattern.source([1, 2])
    late = late_first.within(5 * SECOND, 6 * SECOND)
    in_order = pattern.source([1, 2])
    pieces = [piece for at in range(6) for piece in in_order.within(at * SECOND, (at + 1) * SECOND)]
    assert join(pieces)[-len(late) + 1 :] == late[1:]
    assert total(pattern.source([3]).within(0, 60 * SECOND)) == pytest.approx(42 * SECOND, rel=0.05)


def test_patterns_combine() -> None:
    both = Both(Periodic(6, 10), Periodic(10, 20)).source([1])
    assert both.within(0, 40) == [(0, 6), (20, 26)]


def test_the_same_seed_gives_the_same_machine() -> None:
    def story(seed: int) -> list[object]:
        spec = SyntheticSpec(Hierarchy.regular(2, 1, 1, 4, 2).permuted(seed))
        synthetic = SyntheticMachine(spec, seed)
        return [
            synthetic.pair_probes([(0, 1), (2, 3)], 2 * MS, 16),
            synthetic.watch(range(8), 5 * MS, Demand.NORMAL),
            synthetic.now_ns(),
        ]

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_latencies_are_those_of_the_relation() -> None:
    hierarchy = Hierarchy.regular(2, 2, 2, 2, 2)
    synthetic = machine(hierarchy)
    partners = {
        Relation.SMT: 1,
        Relation.LLC: 2,
        Relation.SOCKET: 4,
        Relation.NODE: 8,
        Relation.APART: 16,
    }
    for relation, other in partners.items():
        assert hierarchy.relation(0, other) is relation
        sample = synthetic.pair_probes([(0, other)], MS, 32)[0, other]
        assert len(sample.latencies_ns) == 32
        assert fmean(sample.latencies_ns) == pytest.approx(Latencies().of(relation))
        assert sample.both_ns == sample.elapsed_ns


def test_preempted_transfers_are_as_many_as_asked() -> None:
    noise = Noise(pair=0, sample=0.1, outliers=0, preempted=0.3)
    synthetic = machine(Hierarchy.regular(cores=2), noise=noise)
    seen = [
        latency
        for _ in range(50)
        for latency in synthetic.pair_probes([(0, 1)], 50 * MS, 48)[0, 1].latencies_ns
    ]
    assert sum(latency > 1000 for latency in seen) / len(seen) == pytest.approx(0.3, abs=0.04)


def test_stacked_vcpus_never_run_together_and_share_the_time() -> None:
    hierarchy = Hierarchy.regular(cores=4).stacked((0, 1, 2))
    synthetic = machine(hierarchy)
    seen = synthetic.watch(range(4), 90 * MS, Demand.NORMAL)
    assert [seen[vcpu].cpu_ns / 90 / MS for vcpu in range(4)] == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 1], abs=0.04
    )
    sample = synthetic.pair_probes([(0, 1)], 20 * MS, 32)[0, 1]
    assert sample.both_ns == 0
    assert all(latency > 2 * MS for latency in sample.latencies_ns[1:])
    alone = synthetic.watch([0], 20 * MS, Demand.NORMAL)[0]
    assert alone.gaps == ()


def test_pairs_that_are_never_there_together_see_nothing() -> None:
    vcpus = {0: VCpuSpec(Periodic(5 * MS, 10 * MS)), 1: VCpuSpec(Periodic(5 * MS, 10 * MS, 5 * MS))}
    synthetic = machine(Hierarchy.regular(cores=2), vcpus=vcpus)
    sample = synthetic.pair_probes([(0, 1)], 40 * MS, 32)[0, 1]
    assert sample.latencies_ns == ()
    assert sample.both_ns == 0
    assert sum(sample.active_ns) == pytest.approx(40 * MS, rel=0.01)


def test_gaps_and_steal_are_what_the_host_took() -> None:
    quota = VCpuSpec(Periodic(4 * MS, 10 * MS))
    synthetic = machine(Hierarchy.regular(cores=2), vcpus={0: quota}, steal=Steal.TRUE)
    seen = synthetic.watch([0, 1], 100 * MS, Demand.NORMAL)
    assert sum(gap.length_ns for gap in seen[0].gaps) == 60 * MS
    assert median(gap.length_ns for gap in seen[0].gaps) == 6 * MS
    assert seen[1].gaps == ()
    assert synthetic.steal_ns() == {0: 60 * MS, 1: 0}
    # a kernel that is told of steal takes it off
    assert synthetic.busy_ns() == {0: 40 * MS, 1: 100 * MS}
    assert synthetic.ran_ns() == {0: 40 * MS, 1: 100 * MS}
    assert synthetic.share(0, 0, SECOND) == pytest.approx(0.4)


def test_steal_may_be_dead_or_absent() -> None:
    quota = {0: VCpuSpec(Periodic(4 * MS, 10 * MS), load=Always())}
    for steal, seen in ((Steal.DEAD, {0: 0}), (Steal.NONE, None)):
        synthetic = machine(Hierarchy.regular(), vcpus=quota, steal=steal)
        synthetic.sleep_ns(SECOND)
        assert synthetic.steal_ns() == seen


def test_load_makes_time_pass_for_the_counters_too() -> None:
    busy = {0: VCpuSpec(Periodic(4 * MS, 10 * MS), load=Always())}
    for steal, counted in ((Steal.TRUE, 400 * MS), (Steal.NONE, SECOND)):
        synthetic = machine(Hierarchy.regular(cores=2), vcpus=busy, steal=steal)
        synthetic.sleep_ns(SECOND)
        assert synthetic.busy_ns() == {0: counted, 1: 0}
        assert synthetic.steal_ns() in ({0: 600 * MS, 1: 0}, None)


def test_a_sleeper_sees_the_gaps_of_a_busy_vcpu_only() -> None:
    quota = Periodic(4 * MS, 10 * MS)
    vcpus = {0: VCpuSpec(quota, load=Always()), 1: VCpuSpec(quota)}
    seen = machine(Hierarchy.regular(cores=2), vcpus=vcpus).watch([0, 1], 200 * MS, Demand.SLEEP)
    assert seen[1].gaps == ()
    assert len(seen[0].gaps) == 20
    assert all(5 * MS <= gap.length_ns <= 6 * MS for gap in seen[0].gaps)
    assert seen[0].cpu_ns < 2 * MS


def test_an_idle_spinner_gets_what_the_load_leaves() -> None:
    vcpus = {0: VCpuSpec(load=Periodic(3 * MS, 10 * MS)), 1: VCpuSpec(load=Always())}
    seen = machine(Hierarchy.regular(cores=2), vcpus=vcpus).watch([0, 1], 100 * MS, Demand.IDLE)
    assert seen[0].cpu_ns == 70 * MS
    assert seen[1].cpu_ns == 0


def test_a_busy_sibling_slows_a_vcpu_down() -> None:
    vcpus = {2: VCpuSpec(speed=0.5)}
    synthetic = machine(Hierarchy.regular(cores=2, threads=2), vcpus=vcpus)
    both = synthetic.watch([0, 1, 2], 10 * MS, Demand.NORMAL)
    alone = synthetic.watch([0], 10 * MS, Demand.NORMAL)
    assert both[0].loops / alone[0].loops == pytest.approx(0.6, rel=0.01)
    assert both[2].loops / alone[0].loops == pytest.approx(0.5, rel=0.01)


def test_changes_come_at_their_time() -> None:
    before, after = Hierarchy.regular(cores=2), Hierarchy.regular(nodes=2)
    changes = (
        Change(2 * SECOND, hierarchy=after, vcpus={0: VCpuSpec(Periodic(5 * MS, 10 * MS))}),
        Change(3 * SECOND, offline=frozenset({1})),
    )
    synthetic = machine(before, changes=changes)
    assert synthetic.hierarchy() == before
    synthetic.sleep_ns(2 * SECOND - synthetic.now_ns() - 50 * MS)
    across = synthetic.watch([0], 100 * MS, Demand.NORMAL)[0]
    assert across.cpu_ns == pytest.approx(75 * MS, rel=0.02)
    assert synthetic.hierarchy() == after
    synthetic.sleep_ns(3 * SECOND - synthetic.now_ns() - 5 * MS)
    assert sorted(synthetic.watch([0, 1], 10 * MS, Demand.NORMAL)) == [0]
    assert synthetic.vcpus() == (0,)
    assert synthetic.unavailable() == {1: "offline"}
    assert synthetic.pair_probes([(0, 1)], MS, 8) == {}


def test_time_passes_as_probes_take_it() -> None:
    synthetic = machine(Hierarchy.regular(cores=4))
    start = synthetic.now_ns()
    synthetic.pair_probes([(0, 1), (2, 3)], 2 * MS, 32)
    costs = SyntheticSpec(Hierarchy.regular()).costs
    took = costs.round_ns + 2 * costs.pair_ns + 32 * (costs.sample_ns + costs.transfers * 45)
    assert synthetic.now_ns() - start == pytest.approx(took, rel=0.01)
    assert synthetic.counters.pair_probes == 2
    assert synthetic.counters.rounds == 1


def test_pairs_of_one_round_are_disjoint() -> None:
    with pytest.raises(ValueError, match="share"):
        machine(Hierarchy.regular(cores=3)).pair_probes([(0, 1), (1, 2)], MS, 8)


@given(
    st.lists(
        st.lists(
            st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=3), min_size=1, max_size=2),
            min_size=1,
            max_size=2,
        ),
        min_size=1,
        max_size=2,
    ),
    st.integers(0, 99),
)
def test_any_hierarchy_is_consistent(shape: list[list[list[list[int]]]], seed: int) -> None:
    hierarchy = Hierarchy.of(shape).permuted(seed)
    check_nesting(hierarchy.domains())
    cores = [threads for node in shape for socket in node for llc in socket for threads in llc]
    sizes = [len(vcpus) for vcpus in members(hierarchy.domains(), Level.CORE).values()]
    assert sorted(sizes) == sorted(cores)


def test_claims_know_no_stacks() -> None:
    hierarchy = Hierarchy.regular(cores=2).stacked((0, 1))
    assert len(members(hierarchy.domains(), Level.STACK)) == 1
    assert len(members(hierarchy.claimed(), Level.STACK)) == 2


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the machine has one CPU")
def test_probes_of_this_machine_cost_no_more_than_synthetic_ones() -> None:
    """The least of many: others may keep either CPU for a while."""
    native, samples = NativeMachine(), 48
    a, b = native.vcpus()[:2]
    least_ns, latency_ns = 1e9, 0.0
    for _ in range(200):
        start_ns = time.monotonic_ns()
        found = native.pair_probes([(a, b)], 20 * MS, samples)
        took_ns = time.monotonic_ns() - start_ns
        if (a, b) in found and len(found[a, b].latencies_ns) == samples and took_ns < least_ns:
            least_ns, latency_ns = took_ns, fmean(found[a, b].latencies_ns)
    costs = Costs()
    each_ns = costs.sample_ns + costs.transfers * latency_ns
    assert least_ns <= costs.round_ns + costs.pair_ns + samples * each_ns
