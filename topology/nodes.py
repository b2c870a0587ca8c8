"""NUMA nodes by the kernel's own numbers, for schedulers that keep tasks where their memory is.

Memory is placed by these numbers, whatever was measured: a hypervisor may show nodes that are one
machine, or hide those that there are. A scheduler with homes gets caches that are cut where the
kernel's nodes end, so that each lies within one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.topology.model import OTHER_NODE, SAME_NODE, Llc, Topology
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.measure import PairMeasure

__all__ = ["MAX_HOME_NODES", "KernelNodes", "cut_at_nodes", "told_distance"]

MAX_HOME_NODES = 64
"""Numbers of nodes with vCPUs are below this (templates/guest/homes.h.j2)."""

# Firmware that says nothing of a distance means these (ACPI specification, SLIT).
_LOCAL_DISTANCE = 10
_REMOTE_DISTANCE = 20
_MAX_DISTANCE = 0xFFFF


def told_distance(told: Mapping[tuple[int, int], int], a: int, b: int) -> int:
    """From node `a` to node `b`, as `told` or else what firmware means by saying nothing."""
    return told.get((a, b), _LOCAL_DISTANCE if a == b else _REMOTE_DISTANCE)


@dataclass(frozen=True, slots=True)
class KernelNodes:
    """The node of each possible vCPU, by number, and distances by pairs of nodes.

    Distances are 10 times that within a node, firmware's unless measured; unknown ones are 20.
    """

    of_vcpu: tuple[int, ...]
    distances: Mapping[tuple[int, int], int]

    def __post_init__(self) -> None:
        """Raises UserError for a node beyond what schedulers can keep tasks on."""
        for vcpu, node in enumerate(self.of_vcpu):
            if not 0 <= node < MAX_HOME_NODES:
                raise UserError(
                    f"vCPU {vcpu} is on NUMA node {node}",
                    f"the feature numa knows nodes 0 to {MAX_HOME_NODES - 1}",
                )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The nodes that have vCPUs, ascending."""
        return tuple(sorted(set(self.of_vcpu)))

    def distance(self, a: int, b: int) -> int:
        """From node to node, at least 10."""
        return min(max(told_distance(self.distances, a, b), _LOCAL_DISTANCE), _MAX_DISTANCE)

    def with_measured(self, pairs: Mapping[tuple[int, int], PairMeasure]) -> KernelNodes:
        """The same with distances by the latencies between vCPUs, where pairs were measured.

        Nodes are as far from each other as the median latency between them is more than that
        within nodes; of the latter, pairs that share a cache count only if there are no others.
        """
        between: dict[tuple[int, int], list[float]] = {}
        within: dict[bool, list[float]] = {False: [], True: []}
        for (a, b), pair in pairs.items():
            if pair.latency_ns is None or pair.relation < Relation.LLC:
                continue
            one, other = sorted((self.of_vcpu[a], self.of_vcpu[b]))
            if one != other:
                between.setdefault((one, other), []).append(pair.latency_ns)
            else:
                within[pair.relation == Relation.LLC].append(pair.latency_ns)
        local = median(within[False] or within[True] or [0.0])
        if not local:
            return self
        found = {
            pair: max(_LOCAL_DISTANCE, round(_LOCAL_DISTANCE * median(latencies) / local))
            for pair, latencies in between.items()
        }
        mirrored = {(b, a): distance for (a, b), distance in found.items()}
        return replace(self, distances={**self.distances, **found, **mirrored})

    def near(self, node: int) -> tuple[int, ...]:
        """The other nodes with vCPUs, nearest first; equally near ones follow their numbers."""
        size = MAX_HOME_NODES
        others = [other for other in self.numbers if other != node]
        return tuple(
            sorted(others, key=lambda other: (self.distance(node, other), (other - node) % size))
        )


def cut_at_nodes(topology: Topology, nodes: KernelNodes) -> Topology:
    """The topology with the kernel's nodes in place of its own, and caches cut where those end.

    Other caches are near by their node, its distance, and then as they were. Raises ValueError for
    another number of vCPUs.
    """
    if len(nodes.of_vcpu) != len(topology.vcpus):
        raise ValueError(f"nodes of {len(nodes.of_vcpu)} vCPUs for {len(topology.vcpus)}")
    parts = list(dict.fromkeys((nodes.of_vcpu[vcpu.id], vcpu.llc) for vcpu in topology.vcpus))
    index = {part: number for number, part in enumerate(parts)}
    order = [[llc.index, *(other for other, _ in llc.near)] for llc in topology.llcs]
    rank = [{llc: place for place, llc in enumerate(near)} for near in order]

    def near(number: int) -> tuple[tuple[int, int], ...]:
        node, llc = parts[number]
        others = sorted(
            (other for other in range(len(parts)) if other != number),
            key=lambda other: (
                parts[other][0] != node,
                nodes.distance(node, parts[other][0]),
                rank[llc].get(parts[other][1], len(parts)),
                (other - number) % len(parts),
            ),
        )
        return tuple((o, SAME_NODE if parts[o][0] == node else OTHER_NODE) for o in others)

    return replace(
        topology,
        vcpus=tuple(
            replace(
                vcpu,
                llc=index[nodes.of_vcpu[vcpu.id], vcpu.llc],
                node=nodes.of_vcpu[vcpu.id],
            )
            for vcpu in topology.vcpus
        ),
        llcs=tuple(Llc(number, part[0], near(number)) for number, part in enumerate(parts)),
        nr_nodes=max(nodes.of_vcpu) + 1,
    )
