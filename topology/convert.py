"""From the graph to the scheduler's `Topology`.

What was measured wins. A vCPU that could not be measured (offline, hidden by a cpuset) keeps the
place that it claims (`domains.combine`), full capacity and no latency: nothing speaks against it,
and the scheduler uses a vCPU only while it is online. Caches are near by the measured latency
between them, as far as it is known, but never across NUMA nodes before those of the own node.

Nothing here imports networkx: `run` gets from the probers' records to a `Topology` without it.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.topology.domains import Domains, Level, combine, members, relation
from scx_vsched.topology.measure import Evidence, Origin
from scx_vsched.topology.model import (
    FULL_CAPACITY,
    OTHER_NODE,
    SAME_NODE,
    Llc,
    Topology,
    VCpuPlace,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scx_vsched.topology.graph import VCpuGraph
    from scx_vsched.topology.measure import PairMeasure, VCpuMeasure
    from scx_vsched.topology.records import Relation

__all__ = ["build_topology", "graph_topology", "llc_latency", "with_measures"]

type LlcDistance = Callable[[int, int], float]
"""How far two caches, by index, are from each other, in any unit; less is nearer."""


def graph_topology(graph: VCpuGraph, claimed: Mapping[int, Domains] | None = None) -> Topology:
    """The scheduler's topology of a graph.

    `claimed` are the machine's claims, for vCPUs that the graph does not know. Raises UserError
    when the vCPUs of both together are not numbered from 0 without gaps.
    """
    domains = combine(graph.domains, claimed or {})
    distance = llc_latency(domains, graph.pairs(), graph.snapshot.class_latency_ns)
    own = graph.domains if graph.snapshot.origin is Origin.CLAIMED else graph.claimed
    return build_topology(
        domains, graph.measures, llc_distance=distance, told={**(claimed or {}), **own}
    )


def llc_latency(
    domains: Mapping[int, Domains],
    pairs: Iterable[tuple[tuple[int, int], PairMeasure]],
    class_latency_ns: Mapping[Relation, float],
) -> LlcDistance:
    """The latency between two caches: the median over measured pairs, else the class's.

    Infinite where neither is known.
    """
    seen: dict[tuple[int, int], list[float]] = {}
    for (a, b), pair in pairs:
        if pair.latency_ns is not None:
            one, other = sorted((domains[a].llc, domains[b].llc))
            seen.setdefault((one, other), []).append(pair.latency_ns)
    known = {caches: median(latencies) for caches, latencies in seen.items()}
    first = {llc: domains[vcpus[0]] for llc, vcpus in members(domains, Level.LLC).items()}

    def distance(a: int, b: int) -> float:
        measured = known.get((min(a, b), max(a, b)))
        if measured is not None:
            return measured
        return class_latency_ns.get(relation(first[a], first[b]), float("inf"))

    return distance


def build_topology(
    domains: Mapping[int, Domains],
    measures: Mapping[int, VCpuMeasure] | None = None,
    *,
    llc_distance: LlcDistance,
    told: Mapping[int, Domains] | None = None,
) -> Topology:
    """The scheduler's topology of vCPUs in domains, numbered as `domains.numbered` does.

    Caches of the own node come before all others, in each group by `llc_distance`. `told` is what
    the kernel believes, where that is not `domains`.
    """
    llcs = members(domains, Level.LLC)
    lowest = {index: vcpus[0] for index, vcpus in members(domains, Level.STACK).items()}
    node_of = {llc: domains[vcpus[0]].node for llc, vcpus in llcs.items()}

    def near(llc: int) -> tuple[tuple[int, int], ...]:
        home = node_of[llc]
        others = [other for other in llcs if other != llc]
        # ties go to the next cache up, so that thieves do not all start with the first
        others.sort(
            key=lambda other: (
                node_of[other] != home,
                llc_distance(llc, other),
                (other - llc) % len(llcs),
            )
        )
        return tuple((o, SAME_NODE if node_of[o] == home else OTHER_NODE) for o in others)

    placed = Topology(
        vcpus=tuple(
            VCpuPlace(vcpu, own.llc, own.node, own.core, stack=lowest[own.stack])
            for vcpu, own in sorted(domains.items())
        ),
        llcs=tuple(Llc(llc, node_of[llc], near(llc)) for llc in llcs),
        nr_nodes=len(set(node_of.values())),
        smt=any(
            len(vcpus) > 1
            for vcpus in members(domains if told is None else told, Level.CORE).values()
        ),
    )
    return with_measures(placed, measures or {})


def with_measures(topology: Topology, measures: Mapping[int, VCpuMeasure]) -> Topology:
    """The same placement with capacities and latencies as measured, else full and none.

    A kernel that is told of steal takes it off what it counts as a task's run time
    (kernel/sched/core.c, update_rq_clock_task): there a share of time would count twice.
    """
    told = any(measure.evidence is Evidence.STEAL for measure in measures.values())
    return replace(
        topology,
        vcpus=tuple(
            replace(
                vcpu,
                capacity=_capacity(measures.get(vcpu.id)),
                pace=(_speed if told else _capacity)(measures.get(vcpu.id)),
                latency_ns=_latency_ns(measures.get(vcpu.id)),
            )
            for vcpu in topology.vcpus
        ),
    )


def _capacity(measure: VCpuMeasure | None) -> int:
    return FULL_CAPACITY if measure is None or measure.capacity is None else measure.capacity


def _speed(measure: VCpuMeasure | None) -> int:
    return FULL_CAPACITY if measure is None or measure.speed is None else measure.speed


def _latency_ns(measure: VCpuMeasure | None) -> int:
    return round(measure.activity.mean_ns) if measure and measure.activity else 0
