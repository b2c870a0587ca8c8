"""From the graph to the scheduler's topology."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcpu_graphs import flat, hpvm, large, places, rcvm

from scx_vsched.errors import UserError
from scx_vsched.topology import Llc, Topology, VCpuPlace, claimed_topology
from scx_vsched.topology.claimed import claimed_graph
from scx_vsched.topology.convert import build_topology, graph_topology, with_measures
from scx_vsched.topology.domains import Domains, Level, numbered
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Evidence, Origin, PairMeasure, Snapshot, VCpuMeasure
from scx_vsched.topology.records import Relation

KEYS = st.lists(st.tuples(*(st.integers(0, 2) for _ in Level)), min_size=1, max_size=20)


def test_the_papers_vm() -> None:
    topology = graph_topology(rcvm())
    assert [vcpu.stack for vcpu in topology.vcpus] == [*range(11), 10]
    assert [vcpu.core for vcpu in topology.vcpus] == [v // 2 for v in range(12)]
    assert [vcpu.capacity for vcpu in topology.vcpus[3:9:5]] == [341, 51]
    assert topology.vcpus[8].latency_ns == 19_000_000
    assert not topology.smt, "nobody told the kernel"


@given(KEYS)
def test_any_graph_makes_a_topology_of_the_same_sets(keys: list[tuple[int, ...]]) -> None:
    domains = numbered(dict(enumerate(keys)))
    topology = graph_topology(VCpuGraph(domains, snapshot=Snapshot(Origin.MEASURED)))
    for a, b in zip(topology.vcpus, topology.vcpus[1:], strict=False):
        own, other = domains[a.id], domains[b.id]
        assert (a.stack == b.stack) == (own.stack == other.stack)
        assert (a.core == b.core) == (own.core == other.core)
        assert (a.llc == b.llc) == (own.llc == other.llc)
        assert (a.node == b.node) == (own.node == other.node)
    for llc in topology.llcs:
        assert sorted(other for other, _ in llc.near) == [
            other.index for other in topology.llcs if other != llc
        ]
        distances = [distance for _, distance in llc.near]
        assert distances == sorted(distances)


def test_caches_are_near_by_measured_latency_within_the_node() -> None:
    domains = places(*((v, v, v, 0, 0 if v < 3 else 1) for v in range(5)))
    latencies = {(0, 1): 80.0, (0, 2): 50.0, (0, 3): 200.0, (0, 4): 20.0}
    kinds = {1: Relation.SOCKET, 2: Relation.SOCKET, 3: Relation.APART, 4: Relation.APART}
    pairs = {(a, b): PairMeasure(kinds[b], Origin.MEASURED, ns) for (a, b), ns in latencies.items()}
    graph = VCpuGraph(domains, snapshot=Snapshot(Origin.MEASURED), pairs=pairs)
    assert graph_topology(graph).llcs[0].near == ((2, 2), (1, 2), (4, 3), (3, 3))


def test_sockets_of_a_node_come_by_class_where_no_pair_was_measured() -> None:
    """Caches 0 and 1 share a socket, 2 is another: by medians, 1 is nearer to 0 than 2 is."""
    domains = places((0, 0, 0, 0, 0), (1, 1, 2, 1, 0), (2, 2, 1, 0, 0))
    snapshot = Snapshot(
        Origin.MEASURED, class_latency_ns={Relation.SOCKET: 60.0, Relation.NODE: 120.0}
    )
    assert [
        llc for llc, _ in graph_topology(VCpuGraph(domains, snapshot=snapshot)).llcs[0].near
    ] == [
        2,
        1,
    ]


def test_unmeasured_vcpus_keep_claims_and_full_capacity() -> None:
    measured = {v: Domains(v // 2, v // 2, 0, 0, 0) for v in range(4)}
    graph = VCpuGraph(
        measured,
        snapshot=Snapshot(Origin.MEASURED),
        measures={v: VCpuMeasure(capacity=300) for v in measured},
    )
    topology = graph_topology(graph, flat(6))
    assert [vcpu.capacity for vcpu in topology.vcpus] == [300] * 4 + [1024] * 2
    assert [vcpu.stack for vcpu in topology.vcpus] == [0, 0, 2, 2, 4, 5]
    assert {vcpu.llc for vcpu in topology.vcpus} == {0}


def test_vcpus_with_gaps_in_their_numbers_need_claims() -> None:
    graph = VCpuGraph({0: flat(3)[0], 2: flat(3)[2]}, snapshot=Snapshot(Origin.MEASURED))
    with pytest.raises(UserError, match="not numbered from 0"):
        graph_topology(graph)
    assert len(graph_topology(graph, flat(3)).vcpus) == 3


def test_claims_give_the_same_topology_by_either_road() -> None:
    claims, graph = claimed_topology(), graph_topology(claimed_graph())
    assert graph.vcpus == claims.vcpus
    assert (graph.nr_nodes, graph.smt) == (claims.nr_nodes, claims.smt)
    assert {llc.index: set(llc.near) for llc in graph.llcs} == {
        llc.index: set(llc.near) for llc in claims.llcs
    }


def test_siblings_count_only_where_the_kernel_knows_them() -> None:
    measured = numbered({0: (0, 0, 0, 0, 0), 1: (1, 0, 0, 0, 0)})
    snapshot = Snapshot(Origin.MEASURED)
    assert not graph_topology(VCpuGraph(measured, snapshot=snapshot, claimed=flat(2))).smt
    assert not graph_topology(VCpuGraph(measured, snapshot=snapshot)).smt
    assert graph_topology(VCpuGraph(flat(2), snapshot=snapshot, claimed=measured)).smt
    assert graph_topology(VCpuGraph(flat(2), snapshot=snapshot), measured).smt
    assert graph_topology(VCpuGraph(measured, snapshot=Snapshot(Origin.CLAIMED))).smt


@pytest.mark.parametrize("graph", [hpvm(), large(1024)], ids=["hpvm", "large"])
def test_large_graphs_convert(graph: VCpuGraph) -> None:
    topology = graph_topology(graph)
    assert len(topology.vcpus) == len(graph.vcpus)
    assert len(topology.llcs) == len({own.llc for own in graph.domains.values()})


@pytest.mark.parametrize(
    ("vcpus", "reason"),
    [
        ((VCpuPlace(0, 0, 0, 0, stack=1), VCpuPlace(1, 0, 0, 0)), "stacked on 1, which is not"),
        (
            (
                VCpuPlace(0, 0, 0, 0),
                VCpuPlace(1, 0, 0, 0, stack=0),
                VCpuPlace(2, 0, 0, 0, stack=1),
            ),
            "vCPU 2 is stacked on 1, itself stacked",
        ),
        ((VCpuPlace(0, 0, 0, 0), VCpuPlace(1, 0, 0, 1, stack=0)), "on 0 of another core"),
        ((VCpuPlace(0, 0, 0, 0, latency_ns=-1),), "negative latency"),
    ],
)
def test_impossible_stacks_are_refused(vcpus: tuple[VCpuPlace, ...], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        Topology(vcpus, (Llc(0, 0, ()),), 1, smt=False)


def test_a_place_without_stack_is_a_stack_of_its_own() -> None:
    assert VCpuPlace(3, 0, 0, 0).stack == 3


def test_the_schedulers_road_needs_neither_networkx_nor_numpy() -> None:
    code = (
        "import sys\n"
        "from scx_vsched.topology import claimed_topology\n"
        "import scx_vsched.topology.convert, scx_vsched.topology.measure\n"
        "claimed_topology()\n"
        "assert not {'networkx', 'numpy', 'matplotlib', 'jsonschema'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_time_counts_by_speed_where_the_kernel_leaves_steal_out() -> None:
    own = numbered({vcpu: (vcpu, vcpu, 0, 0, 0) for vcpu in range(3)})
    gaps = {v: VCpuMeasure(capacity=300, speed=800, evidence=Evidence.GAPS) for v in range(2)}
    topology = build_topology(own, gaps, llc_distance=lambda _a, _b: 1.0)
    assert [vcpu.pace for vcpu in topology.vcpus] == [300, 300, 1024]
    # one vCPU without fresh steal does not mean that the kernel stopped to count it
    steal = gaps | {1: VCpuMeasure(capacity=300, speed=800, evidence=Evidence.STEAL)}
    assert [vcpu.pace for vcpu in with_measures(topology, steal).vcpus] == [800, 800, 1024]
