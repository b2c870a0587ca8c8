"""Between records and the plain data of a document (schema.json), either way.

Decoding expects data that the schema admits, and raises UserError where they contradict themselves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import networkx

from scx_vsched.errors import UserError
from scx_vsched.topology.domains import Domains, Level, members, numbered
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import (
    Activity,
    Evidence,
    Origin,
    PairMeasure,
    Prediction,
    Snapshot,
    VCpuMeasure,
)
from scx_vsched.topology.records import Availability, Gap, Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["decode_availability", "decode_graph", "encode_availability", "encode_graph"]

type Plain = dict[str, Any]


def encode_graph(graph: VCpuGraph) -> Plain:
    """All of the document but its format, version and availability."""
    measures = graph.measures
    data: Plain = {
        "snapshot": _encode_snapshot(graph.snapshot),
        "domains": _encode_tree(graph.domains),
        "vcpus": [
            {"vcpu": vcpu, "stack": _id(Level.STACK, own), **_known(asdict(measures[vcpu]))}
            for vcpu, own in graph.domains.items()
        ],
        "pairs": [
            _known(
                {
                    "a": a,
                    "b": b,
                    "relation": pair.relation.name.lower(),
                    "origin": pair.origin,
                    "latency_ns": pair.latency_ns,
                }
            )
            for (a, b), pair in graph.pairs()
        ],
    }
    if claimed := graph.claimed:
        data["claimed"] = {
            "domains": _encode_tree(claimed),
            "vcpus": [
                {"vcpu": vcpu, "stack": _id(Level.STACK, own)} for vcpu, own in claimed.items()
            ],
        }
    return data


def decode_graph(data: Plain) -> VCpuGraph:
    """The graph of a document."""
    pairs: dict[tuple[int, int], PairMeasure] = {}
    for item in data["pairs"]:
        a, b = int(item["a"]), int(item["b"])
        if (a, b) in pairs:
            raise UserError(f"the pair {a}-{b} is given twice")
        try:
            pairs[a, b] = PairMeasure(
                Relation[item["relation"].upper()], Origin(item["origin"]), item.get("latency_ns")
            )
        except UserError as error:
            raise UserError(f"the pair {a}-{b}: {error.message}") from None
    claimed = data.get("claimed")
    return VCpuGraph(
        _decode_places(data),
        snapshot=_decode_snapshot(data["snapshot"]),
        measures={int(item["vcpu"]): _decode_measure(item) for item in data["vcpus"]},
        pairs=pairs,
        claimed=_decode_places(claimed) if claimed else None,
    )


def encode_availability(seen: Iterable[Availability]) -> list[Plain]:
    """What probes saw, by vCPU and time."""
    return [
        {
            # of gaps that are as they should be
            **{name: value for name, value in asdict(watch).items() if name != "blip_ns"},
            "gaps": [number for gap in watch.gaps for number in (gap.start_ns, gap.length_ns)],
        }
        for watch in sorted(seen, key=lambda watch: (watch.vcpu, watch.start_ns))
    ]


def decode_availability(data: Iterable[Plain], vcpus: Iterable[int]) -> list[Availability]:
    """What probes saw of any of `vcpus`."""
    known = frozenset(vcpus)
    found = []
    for item in data:
        vcpu, start_ns, end_ns, flat = item["vcpu"], item["start_ns"], item["end_ns"], item["gaps"]
        if vcpu not in known:
            raise UserError(f"availability of the unknown vCPU {vcpu}")
        if end_ns < start_ns:
            raise UserError(f"availability of vCPU {vcpu} ends before it starts")
        if len(flat) % 2:
            raise UserError(f"availability of vCPU {vcpu}: the last gap has no length")
        found.append(
            Availability(
                vcpu=vcpu,
                start_ns=start_ns,
                end_ns=end_ns,
                gaps=tuple(map(Gap, flat[::2], flat[1::2])),
                resolution_ns=item.get("resolution_ns", 0),
                loops=item.get("loops", 0),
                cpu_ns=item.get("cpu_ns", 0),
                lost_ns=item.get("lost_ns", 0),
            )
        )
    return found


def _known(fields: Mapping[str, Any]) -> Plain:
    """Without what is None, at any depth."""
    return {
        name: _known(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


def _encode_snapshot(snapshot: Snapshot) -> Plain:
    classes = {kind.name.lower(): ns for kind, ns in sorted(snapshot.class_latency_ns.items())}
    fields = {
        "origin": snapshot.origin,
        "time": snapshot.time or None,
        "monotonic_ns": snapshot.monotonic_ns,
        "kernel": snapshot.kernel or None,
        "clocksource": snapshot.clocksource or None,
        "probes": snapshot.probes,
        "class_latency_ns": classes,
        "settings": dict(sorted(snapshot.settings.items())),
        "notes": list(snapshot.notes) or None,
    }
    return _known(fields)


def _decode_snapshot(data: Plain) -> Snapshot:
    classes = data.get("class_latency_ns", {})
    return Snapshot(
        **{
            **data,
            "origin": Origin(data["origin"]),
            "class_latency_ns": {Relation[name.upper()]: ns for name, ns in classes.items()},
            "notes": tuple(data.get("notes", ())),
        }
    )


def _decode_measure(item: Plain) -> VCpuMeasure:
    fields = {name: value for name, value in item.items() if name not in {"vcpu", "stack"}}
    try:
        if "evidence" in fields:
            fields["evidence"] = Evidence(fields["evidence"])
        if "activity" in fields:
            fields["activity"] = Activity(**fields["activity"])
        if "prediction" in fields:
            fields["prediction"] = Prediction(**fields["prediction"])
        return VCpuMeasure(**fields)
    except UserError as error:
        raise UserError(f"vCPU {item['vcpu']}: {error.message}") from None


def _id(level: Level, own: Domains) -> str:
    return f"{level.name.lower()}{own.at(level)}"


def _encode_tree(domains: Mapping[int, Domains]) -> list[Plain]:
    return [
        {
            "id": _id(level, domains[vcpus[0]]),
            "level": level.name.lower(),
            "parent": None if level == Level.NODE else _id(Level(level + 1), domains[vcpus[0]]),
        }
        for level in reversed(Level)
        for vcpus in members(domains, level).values()
    ]


def _decode_places(data: Plain) -> dict[int, Domains]:
    """The domains of the vCPUs of `data`, which has the tree as "domains"."""
    twice = [v for v, times in Counter(item["vcpu"] for item in data["vcpus"]).items() if times > 1]
    if twice:
        raise UserError(f"vCPU {twice[0]} is given twice")
    paths = _paths(data["domains"])
    keys = {}
    for item in data["vcpus"]:
        path = paths.get(item["stack"])
        if path is None:
            raise UserError(f"vCPU {item['vcpu']} is on {item['stack']!r}, which is no stack")
        keys[int(item["vcpu"])] = path
    return numbered(keys)


def _paths(items: list[Plain]) -> dict[str, tuple[str, ...]]:
    """From each stack's id, its own and those of the larger domains that hold it."""
    tree: networkx.DiGraph[str] = networkx.DiGraph()
    for item in items:
        name, parent = item["id"], item["parent"]
        if name in tree and "level" in tree.nodes[name]:
            others = [str(other) for other in tree.successors(name)]
            if others != ([] if parent is None else [parent]):
                both = " and ".join([*(others or ["none"]), parent or "none"])
                raise UserError(f"the domain {name} has two parents: {both}")
            raise UserError(f"the domain {name} is given twice")
        tree.add_node(name, level=Level[item["level"].upper()])
        if parent is not None:
            tree.add_edge(name, parent)
    _refuse_cycle(tree)
    for name in tree:
        if "level" not in tree.nodes[name]:
            child = next(iter(tree.predecessors(name)))
            raise UserError(f"the domain {child} has the unknown parent {name}")
        _check_parent(tree, name)
    return {
        name: (name, *(outer for _, outer in networkx.dfs_edges(tree, name)))
        for name in tree
        if tree.nodes[name]["level"] == Level.STACK
    }


def _refuse_cycle(tree: networkx.DiGraph[str]) -> None:
    try:
        cycle = networkx.find_cycle(tree)
    except networkx.NetworkXNoCycle:
        return
    way = " in ".join([cycle[0][0], *(edge[1] for edge in cycle)])
    raise UserError(f"the tree of domains is cyclic: {way}")


def _check_parent(tree: networkx.DiGraph[str], name: str) -> None:
    level: Level = tree.nodes[name]["level"]
    parent = next(iter(tree.successors(name)), None)
    wanted = None if level == Level.NODE else Level(level + 1)
    found = None if parent is None else tree.nodes[parent].get("level", wanted)
    if found != wanted:
        says = f"in {parent}, a {found.name.lower()}" if found is not None else "in nothing"
        must = f"in a {wanted.name.lower()}" if wanted is not None else "in nothing"
        raise UserError(f"the domain {name}, a {level.name.lower()}, is {says}; it must be {must}")
