"""Differences: domains as sets, numbers beyond thresholds, each said once and in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcpu_graphs import flat, large, measure, places, probed, rcvm

from scx_vsched.topology.diff import (
    CapacityChange,
    DomainChange,
    LatencyChange,
    MembershipChange,
    Thresholds,
    claim_differences,
    differences,
    plain_difference,
)
from scx_vsched.topology.domains import Domains, Level, numbered, partition
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin, PairMeasure, Snapshot, VCpuMeasure
from scx_vsched.topology.records import Relation
from scx_vsched.topology.sentences import number_list, sentences

if TYPE_CHECKING:
    import random

KEYS = st.lists(st.tuples(*(st.integers(0, 2) for _ in Level)), min_size=1, max_size=14)


def claimed(domains: dict[int, Domains]) -> VCpuGraph:
    return VCpuGraph(domains, snapshot=Snapshot(Origin.CLAIMED))


def measured(domains: dict[int, Domains], **capacities: int) -> VCpuGraph:
    return VCpuGraph(
        domains,
        snapshot=Snapshot(Origin.MEASURED),
        measures={int(v[1:]): VCpuMeasure(capacity=c) for v, c in capacities.items()},
    )


@given(KEYS)
def test_nothing_differs_from_itself(keys: list[tuple[int, ...]]) -> None:
    graph = claimed(numbered(dict(enumerate(keys))))
    assert differences(graph, graph) == []


@given(KEYS, st.randoms(use_true_random=False))
def test_numbers_of_domains_are_no_difference(
    keys: list[tuple[int, ...]], rng: random.Random
) -> None:
    domains = numbered(dict(enumerate(keys)))
    swaps = [rng.sample(range(len(keys)), len(keys)) for _ in Level]
    renamed = {
        vcpu: Domains(*(swaps[level][own.at(level)] for level in Level))
        for vcpu, own in domains.items()
    }
    assert differences(claimed(domains), claimed(renamed)) == []


@given(KEYS, st.data())
def test_structure_differs_exactly_where_some_sets_do(
    keys: list[tuple[int, ...]], data: st.DataObject
) -> None:
    others = data.draw(st.lists(st.sampled_from(keys), min_size=len(keys), max_size=len(keys)))
    before, after = numbered(dict(enumerate(keys))), numbered(dict(enumerate(others)))
    found = differences(claimed(before), claimed(after))
    differing = {lv for lv in Level if partition(before, lv) != partition(after, lv)}
    levels = {change.level for change in found if isinstance(change, DomainChange)}
    assert levels <= differing
    assert bool(levels) == bool(differing)
    for change in found:
        assert isinstance(change, DomainChange)
        assert set(map(frozenset, change.before)) <= partition(before, change.level)
        assert set(map(frozenset, change.after)) <= partition(after, change.level)
        assert sorted(v for s in change.before for v in s) == sorted(
            v for s in change.after for v in s
        )


def test_stacked_pair_is_said_once_not_for_each_level() -> None:
    domains = places((0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (2, 2, 0, 0, 0), (1, 1, 0, 0, 0))
    assert differences(claimed(flat(4)), measured(domains)) == [
        DomainChange(Level.STACK, ((1,), (3,)), ((1, 3),), (3,))
    ]


def test_vcpus_on_two_nodes_are_said_once_not_for_each_level() -> None:
    domains = places(*((v, v, v // 2, v // 2, v // 2) for v in range(4)))
    assert differences(claimed(flat(4)), measured(domains)) == [
        DomainChange(Level.NODE, ((0, 1, 2, 3),), ((0, 1), (2, 3)), (2, 3))
    ]


def test_the_papers_vm_against_what_it_is_told() -> None:
    said = sentences(claim_differences(rcvm()), before=Origin.CLAIMED, after=Origin.MEASURED)
    assert said == [
        "vCPUs 10-11 are stacked on one hardware thread, though told apart",
        "vCPUs 0-1 | 2-3 | 4-5 | 6-7 | 8-9 each share a core, though told apart",
        "vCPUs 0-3,10-11: capacity told 1024, measured 341 (-67% of a full vCPU)",
        "vCPUs 4-7: capacity told 1024, measured 683 (-33% of a full vCPU)",
        "vCPUs 8-9: capacity told 1024, measured 51 (-95% of a full vCPU)",
    ]


@pytest.mark.parametrize("graph", [rcvm(), large(64)], ids=["rcvm", "large"])
def test_claims_in_the_graph_and_claims_as_a_graph_differ_alike(graph: VCpuGraph) -> None:
    assert claim_differences(graph) == differences(claimed(graph.claimed), graph)


def test_a_moved_vcpu_is_named() -> None:
    before = places(*((v, v, v // 4, v // 4, v // 4) for v in range(8)))
    keys = {v: (v, v, v // 4, v // 4, v // 4) for v in range(8)}
    keys[1] = (1, 1, 1, 1, 1)
    found = differences(measured(before), measured(numbered(keys)))
    assert [c.moved for c in found if isinstance(c, DomainChange)] == [(1,)]
    assert sentences(found, before=Origin.MEASURED, after=Origin.MEASURED) == [
        "vCPU 1 moved to another NUMA node: was 0-3 | 4-7; is 0,2-3 | 1,4-7"
    ]


def test_two_stacks_that_exchange_partners() -> None:
    before = places((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (2, 1, 0, 0, 0), (2, 1, 0, 0, 0))
    after = places((0, 0, 0, 0, 0), (1, 1, 0, 0, 0), (0, 0, 0, 0, 0), (1, 1, 0, 0, 0))
    found = differences(measured(before), measured(after))
    assert found == [DomainChange(Level.CORE, ((0, 1), (2, 3)), ((0, 2), (1, 3)), (1, 2))]


def test_unstacking_is_said() -> None:
    stacked = places((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (2, 1, 0, 0, 0))
    parted = places((0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (2, 1, 0, 0, 0))
    found = differences(measured(stacked), measured(parted))
    assert sentences(found, before=Origin.MEASURED, after=Origin.MEASURED) == [
        "vCPUs 0-1 do not share a hardware thread any more: is 0 | 1"
    ]


def test_vcpus_that_come_and_go() -> None:
    found = differences(claimed(flat(4)), claimed({v: flat(6)[v] for v in (0, 1, 4, 5)}))
    assert found == [MembershipChange((2, 3), (4, 5))]
    assert sentences(found, before=Origin.CLAIMED, after=Origin.CLAIMED) == [
        "vCPUs 2-3 only in the first; vCPUs 4-5 only in the second"
    ]


def test_capacity_counts_from_the_threshold_on() -> None:
    before, after = measured(flat(2), v0=500, v1=500), measured(flat(2), v0=436, v1=437)
    assert differences(before, after) == [CapacityChange(0, 500, 436)]
    assert differences(before, after, Thresholds(capacity_step=65)) == []
    assert len(differences(before, after, Thresholds(capacity_step=63))) == 2


def test_unmeasured_vcpus_count_as_full() -> None:
    assert differences(claimed(flat(2)), measured(flat(2), v0=1000, v1=300)) == [
        CapacityChange(1, 1024, 300)
    ]


def test_latency_counts_by_its_factor_in_either_direction() -> None:
    def graph(latency_ns: float) -> VCpuGraph:
        pair = PairMeasure(Relation.LLC, Origin.MEASURED, latency_ns)
        return VCpuGraph(flat(2), snapshot=Snapshot(Origin.MEASURED), pairs={(0, 1): pair})

    assert differences(graph(40), graph(59)) == []
    assert differences(graph(40), graph(60)) == [LatencyChange(0, 1, 40, 60)]
    assert differences(graph(60), graph(40)) == [LatencyChange(0, 1, 60, 40)]
    assert differences(graph(40), graph(60), Thresholds(latency_factor=2)) == []
    assert sentences(
        differences(graph(40), graph(60)), before=Origin.MEASURED, after=Origin.MEASURED
    ) == ["vCPUs 0 and 1: latency was 40.0 ns, is 60.0 ns"]


def test_noise_is_no_difference() -> None:
    domains = places(*((v, v // 2, v // 8, v // 8, v // 8) for v in range(32)))
    measures = {v: measure(4, 8) for v in range(32)}
    one, other = (probed(domains, measures, seed=seed, noise=0.2) for seed in (1, 2))
    assert differences(one, other) == []


def test_differences_are_plain_data() -> None:
    found = [plain_difference(change) for change in claim_differences(rcvm())]
    assert json.loads(json.dumps(found))[0] == {
        "what": "domains",
        "level": "stack",
        "before": [[10], [11]],
        "after": [[10, 11]],
        "moved": [11],
    }
    assert {change["what"] for change in found} == {"domains", "capacity"}


@given(st.sets(st.integers(0, 60)))
def test_number_lists_are_the_kernels(numbers: set[int]) -> None:
    from scx_vsched.topology.sysfs import parse_cpu_list  # noqa: PLC0415

    assert parse_cpu_list(number_list(sorted(numbers))) == sorted(numbers)
