"""The graph as GraphML, for other tools: attributes are plain numbers and words."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import networkx

from scx_vsched.topology.domains import Level

if TYPE_CHECKING:
    from scx_vsched.topology.graph import VCpuGraph

__all__ = ["graphml_text", "plain_graph"]


def plain_graph(graph: VCpuGraph) -> networkx.Graph[int]:
    """A copy with attributes of plain types: those of the JSON document, without nesting.

    Each vCPU has the index of its domain at each level ("core", …), and of those that it was told
    ("claimed_core", …). What was not measured is absent.
    """
    plain: networkx.Graph[int] = networkx.Graph()
    snapshot = graph.snapshot
    plain.graph.update(
        _flat(
            {
                "origin": str(snapshot.origin),
                "time": snapshot.time or None,
                "monotonic_ns": snapshot.monotonic_ns,
                "kernel": snapshot.kernel or None,
                "clocksource": snapshot.clocksource or None,
                "probes": snapshot.probes,
                "latency_ns": {
                    kind.name.lower(): float(ns) for kind, ns in snapshot.class_latency_ns.items()
                },
                "setting": {name: float(value) for name, value in snapshot.settings.items()},
            }
        )
    )
    claimed, measures = graph.claimed, graph.measures
    for vcpu, own in graph.domains.items():
        places = {level.name.lower(): own.at(level) for level in Level}
        if told := claimed.get(vcpu):
            places |= {f"claimed_{level.name.lower()}": told.at(level) for level in Level}
        plain.add_node(vcpu, **places, **_flat(asdict(measures[vcpu])))
    for (a, b), pair in graph.pairs():
        fields = {
            "relation": pair.relation.name.lower(),
            "origin": str(pair.origin),
            "latency_ns": None if pair.latency_ns is None else float(pair.latency_ns),
        }
        plain.add_edge(a, b, **_flat(fields))
    return plain


def graphml_text(graph: VCpuGraph) -> str:
    """The graph as GraphML; equal graphs give equal text."""
    return "\n".join(networkx.generate_graphml(plain_graph(graph))) + "\n"


# whole numbers everywhere; all other numbers are floats, for GraphML types each attribute once
_INTEGERS = frozenset({"capacity", "speed", "monotonic_ns", "active_since_ns", "at_ns", "probes"})


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        elif isinstance(value, str):
            flat[prefix + name] = str(value)
        elif value is not None:
            flat[prefix + name] = int(value) if name in _INTEGERS else float(value)
    return flat
