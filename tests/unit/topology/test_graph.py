"""The graph: what it refuses, and what follows from domains without an edge."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcpu_graphs import LATENCY_NS, flat, hpvm, large, places, rcvm

from scx_vsched.errors import UserError
from scx_vsched.topology.claimed import claimed_graph
from scx_vsched.topology.domains import Domains, Level, numbered
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import (
    Activity,
    Origin,
    PairMeasure,
    Prediction,
    Snapshot,
    VCpuMeasure,
    stragglers,
)
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Callable

CLAIMED = Snapshot(Origin.CLAIMED)
MEASURED = Snapshot(Origin.MEASURED)
PAIR_OF_SIBLINGS = places((0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (2, 1, 0, 0, 0))
KEYS = st.lists(st.tuples(*(st.integers(0, 2) for _ in Level)), min_size=1, max_size=20)


def smt(latency_ns: float | None = 6.0) -> PairMeasure:
    return PairMeasure(Relation.SMT, Origin.MEASURED, latency_ns)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: VCpuGraph({}, snapshot=CLAIMED), "has no vCPU"),
        (lambda: VCpuGraph({-1: Domains(0, 0, 0, 0, 0)}, snapshot=CLAIMED), "vCPU -1"),
        (
            lambda: VCpuGraph(
                {0: Domains(0, 0, 0, 0, 0), 1: Domains(1, 0, 1, 0, 0)}, snapshot=CLAIMED
            ),
            "core 0 has two parents: last-level cache 0 by vCPU 0 and 1 by vCPU 1",
        ),
        (
            lambda: VCpuGraph(
                {0: Domains(0, 0, 0, 0, 0), 1: Domains(1, 1, 1, 0, 1)}, snapshot=CLAIMED
            ),
            "socket 0 has two parents",
        ),
        (
            lambda: VCpuGraph(flat(2), snapshot=MEASURED, measures={2: VCpuMeasure()}),
            "a measure of the unknown vCPU 2",
        ),
        (
            lambda: VCpuGraph(flat(2), snapshot=MEASURED, claimed=flat(3)),
            "a claim of the unknown vCPU 2",
        ),
        (
            lambda: VCpuGraph(PAIR_OF_SIBLINGS, snapshot=MEASURED, pairs={(0, 7): smt()}),
            "the pair 0-7 of the unknown vCPU 7",
        ),
        (
            lambda: VCpuGraph(PAIR_OF_SIBLINGS, snapshot=MEASURED, pairs={(1, 1): smt()}),
            "vCPU 1 with itself",
        ),
        (
            lambda: VCpuGraph(
                PAIR_OF_SIBLINGS, snapshot=MEASURED, pairs={(0, 1): smt(6), (1, 0): smt(7)}
            ),
            "asymmetric: 0-1 is SMT siblings, 6 ns, measured, but 1-0 is SMT siblings, 7 ns",
        ),
        (
            lambda: VCpuGraph(PAIR_OF_SIBLINGS, snapshot=MEASURED, pairs={(0, 2): smt()}),
            "the pair 0-2 is SMT siblings, but by their domains they are same last-level cache",
        ),
        (lambda: VCpuMeasure(capacity=1025), "capacity is 1025, not 0 to 1024"),
        (lambda: VCpuMeasure(capacity=-1), "capacity is -1"),
        (lambda: VCpuMeasure(share=1.01), "share is 1.01, not 0 to 1"),
        (lambda: VCpuMeasure(share=math.nan), "share is nan, not a number"),
        (lambda: VCpuMeasure(activity=Activity(1, -5, 0, 0)), "mean_ns is -5, negative"),
        (lambda: VCpuMeasure(prediction=Prediction(5, 1.5)), "confidence is 1.5"),
        (lambda: smt(-1.0), "latency_ns is -1.0, negative"),
        (lambda: smt(math.nan), "latency_ns is nan, not a number"),
        (lambda: smt(math.inf), "latency_ns is inf, not a number"),
        (lambda: PairMeasure(Relation.SMT, Origin.INFERRED, 5.0), "inferred, not measured"),
        (lambda: Snapshot(Origin.INFERRED), "not inferred"),
        (
            lambda: Snapshot(Origin.MEASURED, class_latency_ns={Relation.LLC: -2}),
            "class_latency_ns: llc is -2",
        ),
        (lambda: Snapshot(Origin.MEASURED, settings={"x_ms": math.inf}), "x_ms is inf"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    build: Callable[[], object], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        build()


def test_an_edge_given_in_both_directions_alike_is_one_edge() -> None:
    graph = VCpuGraph(PAIR_OF_SIBLINGS, snapshot=MEASURED, pairs={(0, 1): smt(), (1, 0): smt()})
    assert [pair for pair, found in graph.pairs() if found.measured] == [(0, 1)]


@given(KEYS)
def test_all_vcpus_are_tied_together_by_few_edges(keys: list[tuple[int, ...]]) -> None:
    domains = numbered(dict(enumerate(keys)))
    graph = VCpuGraph(domains, snapshot=CLAIMED)
    assert networkx.is_tree(graph.nx)
    for level in Level:
        for (a, b), pair in graph.pairs():
            assert pair.relation is graph.relation(a, b)
        inner = [pair for pair, found in graph.pairs() if found.relation <= level]
        tied = networkx.Graph(inner)
        tied.add_nodes_from(domains)
        sets = {frozenset(component) for component in networkx.connected_components(tied)}
        assert sets == {frozenset(s) for s in _sets(domains, level)}


def _sets(domains: dict[int, Domains], level: Level) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for vcpu, own in domains.items():
        found.setdefault(own.at(level), []).append(vcpu)
    return list(found.values())


def test_latency_of_a_pair_is_measured_else_its_classs() -> None:
    graph = VCpuGraph(
        flat(4),
        snapshot=MEASURED,
        pairs={
            (0, 1): PairMeasure(Relation.LLC, Origin.MEASURED, 40.0),
            (1, 2): PairMeasure(Relation.LLC, Origin.MEASURED, 50.0),
            (2, 3): PairMeasure(Relation.LLC, Origin.MEASURED, 90.0),
        },
    )
    assert graph.latency_ns(1, 0) == 40
    assert graph.latency_ns(0, 3) == 50
    assert VCpuGraph(flat(2), snapshot=CLAIMED).latency_ns(0, 1) is None


@pytest.mark.parametrize("graph", [rcvm(), hpvm(), large(64)], ids=["rcvm", "hpvm", "large"])
def test_matrix_says_what_latency_says(graph: VCpuGraph) -> None:
    matrix = graph.latency_matrix()
    order = graph.order()
    assert matrix.shape == (len(order), len(order))
    for (i, a), (j, b) in itertools.product(enumerate(order), repeat=2):
        expected = None if a == b else graph.latency_ns(a, b)
        if expected is None:
            assert math.isnan(matrix[i, j])
        else:
            assert matrix[i, j] == expected


def test_order_keeps_each_domain_together() -> None:
    graph = large(128)
    order = graph.order()
    for level in Level:
        indices = [graph.domains[vcpu].at(level) for vcpu in order]
        assert len(list(itertools.groupby(indices))) == len(set(indices))


def test_class_latencies_are_medians_of_what_was_measured() -> None:
    classes = large(128).snapshot.class_latency_ns
    assert set(classes) == set(LATENCY_NS)
    for kind, latency_ns in classes.items():
        assert LATENCY_NS[kind] <= latency_ns <= 1.05 * LATENCY_NS[kind]


def test_a_thousand_vcpus_have_far_fewer_edges_than_pairs() -> None:
    graph = large(1024)
    assert graph.nx.number_of_edges() < 6 * 1024
    assert graph.latency_matrix().shape == (1024, 1024)


def test_domain_tree_has_one_root_per_node_and_all_vcpus_as_leaves() -> None:
    tree = hpvm().domain_tree()
    assert networkx.is_forest(tree)
    assert [n for n in tree if tree.in_degree(n) == 0] == [("node", n) for n in range(4)]
    assert {n for n in tree if tree.out_degree(n) == 0} == {("vcpu", v) for v in range(32)}
    assert tree.nodes["socket", 2]["vcpus"] == tuple(range(16, 24))
    assert list(tree.predecessors(("core", 5))) == [("llc", 1)]


def test_domain_tree_of_claims_is_what_was_told() -> None:
    tree = rcvm().domain_tree(claimed=True)
    assert sum(name == "core" for name, _ in tree) == 12


def test_stacked_sets_and_stragglers_are_found() -> None:
    graph = rcvm()
    assert graph.stacks() == ((10, 11),)
    assert stragglers(graph.measures) == {8, 9}


def test_equal_vcpus_have_no_stragglers() -> None:
    assert stragglers({v: VCpuMeasure(capacity=50) for v in range(8)}) == frozenset()
    assert stragglers({0: VCpuMeasure()}) == frozenset()


def test_numbering_of_domains_makes_no_difference() -> None:
    keys = {0: Domains(7, 3, 9, 2, 5), 1: Domains(8, 3, 9, 2, 5)}
    assert VCpuGraph(keys, snapshot=CLAIMED) == VCpuGraph(
        places((0, 0, 0, 0, 0), (1, 0, 0, 0, 0)), snapshot=CLAIMED
    )


def test_graph_of_this_machine_is_claimed() -> None:
    graph = claimed_graph()
    assert graph.snapshot.origin is Origin.CLAIMED
    assert graph.snapshot.kernel
    assert all(pair.origin is Origin.CLAIMED for _, pair in graph.pairs())
    assert all(measure == VCpuMeasure() for measure in graph.measures.values())
