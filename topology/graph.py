"""The topology as a graph: vCPUs with their measures, pairs with their latency, domains as a tree.

A typed layer over `networkx.Graph`, which `VCpuGraph.nx` hands to any algorithm of networkx. Each
node is a vCPU's number with the attributes `domains` (Domains), `measure` (VCpuMeasure) and
`claimed` (Domains or None); each edge has the attribute `pair` (PairMeasure); the graph has the
attribute `snapshot` (Snapshot).

Edges are the measured pairs, and of the others just enough to tie each domain to the next larger
one, never N². What is between two vCPUs without an edge follows from their domains.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import networkx

from scx_vsched.errors import UserError
from scx_vsched.topology.domains import (
    LEVEL_NAMES,
    Domains,
    Level,
    check_nesting,
    members,
    numbered,
    relation,
)
from scx_vsched.topology.measure import Origin, PairMeasure, Snapshot, VCpuMeasure
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy
    from numpy.typing import NDArray

__all__ = ["RELATION_NAMES", "VCpuGraph"]

RELATION_NAMES = {
    Relation.STACKED: "stacked",
    Relation.SMT: "SMT siblings",
    Relation.LLC: "same last-level cache",
    Relation.SOCKET: "same socket",
    Relation.NODE: "same NUMA node",
    Relation.APART: "different NUMA nodes",
}


class VCpuGraph:
    """A consistent graph of vCPUs. Its networkx graph is frozen; copy it to change it."""

    def __init__(
        self,
        domains: Mapping[int, Domains],
        *,
        snapshot: Snapshot,
        measures: Mapping[int, VCpuMeasure] | None = None,
        pairs: Mapping[tuple[int, int], PairMeasure] | None = None,
        claimed: Mapping[int, Domains] | None = None,
    ) -> None:
        """Builds the graph, or raises UserError with the reason why there can be none.

        `domains` names the vCPUs; its indices, and those of `claimed`, are numbered anew, so only
        equality counts. vCPUs without an entry in `measures` were not measured. The order of the
        two vCPUs in the keys of `pairs` does not matter. Class latencies that `snapshot` lacks are
        the medians of `pairs`.
        """
        if not domains:
            raise UserError("the topology has no vCPU")
        if min(domains) < 0:
            raise UserError(f"vCPU {min(domains)} has a negative number")
        graph: networkx.Graph[int] = networkx.Graph()
        for vcpu, own in _checked(domains).items():
            graph.add_node(vcpu, domains=own, measure=VCpuMeasure(), claimed=None)
        for vcpu, measure in (measures or {}).items():
            _known(graph, vcpu, "a measure")
            graph.nodes[vcpu]["measure"] = measure
        for vcpu, own in _checked(claimed or {}).items():
            _known(graph, vcpu, "a claim")
            graph.nodes[vcpu]["claimed"] = own
        for (a, b), pair in sorted((pairs or {}).items()):
            _add_pair(graph, a, b, pair)
        self.nx = graph
        self.snapshot = replace(
            snapshot, class_latency_ns=self._medians() | dict(snapshot.class_latency_ns)
        )
        graph.graph["snapshot"] = self.snapshot
        self._tie()
        networkx.freeze(graph)

    def __eq__(self, other: object) -> bool:
        """Whether both say the same, in whatever order it was said."""
        return isinstance(other, VCpuGraph) and self._content() == other._content()

    def __hash__(self) -> int:
        return hash(self.vcpus)

    def _content(self) -> tuple[object, ...]:
        pairs = dict(self.pairs())
        return (self.domains, self.measures, self.claimed, pairs, self.snapshot)

    @property
    def vcpus(self) -> tuple[int, ...]:
        """The vCPUs in increasing order."""
        return tuple(sorted(self.nx))

    @property
    def domains(self) -> dict[int, Domains]:
        """The domains of each vCPU, by its number."""
        return {vcpu: self.nx.nodes[vcpu]["domains"] for vcpu in self.vcpus}

    @property
    def measures(self) -> dict[int, VCpuMeasure]:
        """What was measured of each vCPU, by its number."""
        return {vcpu: self.nx.nodes[vcpu]["measure"] for vcpu in self.vcpus}

    @property
    def claimed(self) -> dict[int, Domains]:
        """The domains that the guest was told of, for vCPUs of which it was told any."""
        claims = {vcpu: self.nx.nodes[vcpu]["claimed"] for vcpu in self.vcpus}
        return {vcpu: own for vcpu, own in claims.items() if own is not None}

    def pairs(self) -> Iterator[tuple[tuple[int, int], PairMeasure]]:
        """The edges in increasing order, the lower vCPU first."""
        for a, b in sorted(map(_ordered, self.nx.edges)):
            yield (a, b), self.nx.edges[a, b]["pair"]

    def relation(self, a: int, b: int) -> Relation:
        """What two vCPUs are to each other, by their domains."""
        return relation(self.nx.nodes[a]["domains"], self.nx.nodes[b]["domains"])

    def latency_ns(self, a: int, b: int) -> float | None:
        """The pair's measured latency, else its class's; None where neither was measured."""
        edge = self.nx.edges.get((a, b))
        if edge and edge["pair"].latency_ns is not None:
            return float(edge["pair"].latency_ns)
        return self.snapshot.class_latency_ns.get(self.relation(a, b))

    def order(self) -> tuple[int, ...]:
        """The vCPUs so that those that share a domain, of whatever level, are neighbours."""
        own = self.domains
        return tuple(sorted(own, key=lambda v: (*(own[v].at(lv) for lv in reversed(Level)), v)))

    def latency_matrix(self) -> NDArray[numpy.float64]:
        """`latency_ns` of all pairs as an N-by-N array in the order of `order`, ns.

        NaN where it is not known and on the diagonal.
        """
        import numpy  # noqa: PLC0415

        order = self.order()
        own = self.domains
        keys = numpy.array([[own[v].at(level) for level in Level] for v in order])
        # The first level at which a pair agrees, from the largest down.
        relations = numpy.full((len(order), len(order)), int(Relation.APART))
        for level in reversed(Level):
            relations[keys[:, None, level] == keys[None, :, level]] = level
        by_class = [self.snapshot.class_latency_ns.get(r, numpy.nan) for r in Relation]
        matrix: NDArray[numpy.float64] = numpy.array(by_class, dtype=numpy.float64)[relations]
        place = {vcpu: i for i, vcpu in enumerate(order)}
        for (a, b), pair in self.pairs():
            if pair.latency_ns is not None:
                i, j = place[a], place[b]
                matrix[i, j] = matrix[j, i] = pair.latency_ns
        numpy.fill_diagonal(matrix, numpy.nan)
        return matrix

    def domain_tree(self, *, claimed: bool = False) -> networkx.DiGraph[tuple[str, int]]:
        """The domains as a forest from NUMA nodes down to vCPUs, measured or as claimed.

        A node is (level's name in lower case or "vcpu", index) with the attribute `vcpus`, a tuple;
        edges lead from the larger domain to the smaller.
        """
        domains = self.claimed if claimed else self.domains
        tree: networkx.DiGraph[tuple[str, int]] = networkx.DiGraph()
        for level in reversed(Level):
            for index, vcpus in members(domains, level).items():
                tree.add_node((level.name.lower(), index), vcpus=vcpus)
                if level < Level.NODE:
                    outer = Level(level + 1)
                    parent = (outer.name.lower(), domains[vcpus[0]].at(outer))
                    tree.add_edge(parent, (level.name.lower(), index))
        for vcpu, own in domains.items():
            tree.add_node(("vcpu", vcpu), vcpus=(vcpu,))
            tree.add_edge(("stack", own.stack), ("vcpu", vcpu))
        return tree

    def stacks(self) -> tuple[tuple[int, ...], ...]:
        """The sets of two or more vCPUs that share a hardware thread."""
        return tuple(s for s in members(self.domains, Level.STACK).values() if len(s) > 1)

    def _medians(self) -> dict[Relation, float]:
        seen: dict[Relation, list[float]] = {}
        for _, pair in self.pairs():
            if pair.latency_ns is not None:
                seen.setdefault(pair.relation, []).append(pair.latency_ns)
        return {kind: float(median(seen[kind])) for kind in sorted(seen)}

    def _tie(self) -> None:
        """Connects all vCPUs: in each domain, the lowest vCPU of each smaller one to the next."""
        origin = Origin.CLAIMED if self.snapshot.origin is Origin.CLAIMED else Origin.INFERRED
        domains = self.domains
        heads = list(domains)
        for level in Level:
            groups = members({head: domains[head] for head in heads}, level)
            for group in groups.values():
                self._chain(group, origin)
            heads = [group[0] for group in groups.values()]
        self._chain(tuple(heads), origin)

    def _chain(self, vcpus: tuple[int, ...], origin: Origin) -> None:
        for a, b in pairwise(vcpus):
            if not self.nx.has_edge(a, b):
                self.nx.add_edge(a, b, pair=PairMeasure(self.relation(a, b), origin))


def _checked(domains: Mapping[int, Domains]) -> dict[int, Domains]:
    check_nesting(domains)
    return numbered({v: [own.at(level) for level in Level] for v, own in domains.items()})


def _ordered(pair: tuple[int, int]) -> tuple[int, int]:
    return (min(pair), max(pair))


def _known(graph: networkx.Graph[int], vcpu: int, what: str) -> None:
    if vcpu not in graph:
        raise UserError(f"{what} of the unknown vCPU {vcpu}")


def _add_pair(graph: networkx.Graph[int], a: int, b: int, pair: PairMeasure) -> None:
    for vcpu in (a, b):
        _known(graph, vcpu, f"the pair {a}-{b}")
    if a == b:
        raise UserError(f"a pair of vCPU {a} with itself")
    if graph.has_edge(a, b):
        other = graph.edges[a, b]["pair"]
        if other != pair:
            raise UserError(
                f"asymmetric: {b}-{a} is {_described(other)}, but {a}-{b} is {_described(pair)}"
            )
        return
    own = (graph.nodes[a]["domains"], graph.nodes[b]["domains"])
    implied = relation(*own)
    if pair.relation != implied:
        raise UserError(
            f"the pair {a}-{b} is {RELATION_NAMES[pair.relation]}, but by their domains they are "
            f"{RELATION_NAMES[implied]}",
            _which(own, Level(min(pair.relation, implied))),
        )
    graph.add_edge(a, b, pair=pair)


def _described(pair: PairMeasure) -> str:
    latency = "" if pair.latency_ns is None else f", {pair.latency_ns:g} ns"
    return f"{RELATION_NAMES[pair.relation]}{latency}, {pair.origin}"


def _which(own: tuple[Domains, Domains], level: Level) -> str:
    a, b = (domains.at(level) for domains in own)
    return f"they are on {LEVEL_NAMES[level]} {a}" + (f" and {b}" if a != b else "")
