"""From what the probes found to the graph."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.topology.claimed import snapshot_here
from scx_vsched.topology.domains import combine
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.measure import Snapshot
    from scx_vsched.topology.snapshot import ProbeSnapshot

__all__ = ["measured_graph"]


def measured_graph(
    found: ProbeSnapshot, claims: Mapping[int, Domains], origin: Snapshot | None = None
) -> VCpuGraph:
    """The graph of all vCPUs that were measured or claimed.

    A vCPU that was not placed by measuring stays where it claims to be. `origin` says when and
    where; by default here and now. Raises UserError where the findings contradict themselves.
    """
    topology = found.topology
    domains = combine(topology.domains if topology else {}, claims)
    snapshot = replace(
        origin or snapshot_here(Origin.MEASURED),
        monotonic_ns=found.at_ns,
        probes=topology.effort.pair_probes if topology else 0,
        class_latency_ns=dict(topology.class_latency_ns) if topology else {},
        settings=found.settings,
        notes=found.degradations,
    )
    return VCpuGraph(
        domains,
        snapshot=snapshot,
        measures={vcpu: m for vcpu, m in found.measures.items() if vcpu in domains},
        pairs=dict(topology.pairs) if topology else {},
        claimed=claims,
    )
