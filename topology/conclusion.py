"""From what a full probe found to the domains that it names."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.topology.classes import name_classes
from scx_vsched.topology.domains import Domains, Level, numbered, relation
from scx_vsched.topology.measure import Origin, PairMeasure
from scx_vsched.topology.measured import Effort, MeasuredTopology
from scx_vsched.topology.placement import ordered
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.topology.classes import LatencyClasses
    from scx_vsched.topology.placement import Ledger, Pair, Placement

__all__ = ["Findings", "conclude"]

_EVERYTHING = -1  # the name of a domain that holds all units


@dataclass(frozen=True, slots=True)
class Findings:
    """All that a probe found; `placement` is of one vCPU for each stack."""

    vcpus: tuple[int, ...]
    claims: Mapping[int, Domains]
    stacks: tuple[tuple[int, ...], ...]
    placement: Placement
    ledger: Ledger
    classes: LatencyClasses
    gone: Mapping[int, str]
    unavailable: Mapping[int, str]
    notes: tuple[str, ...]
    effort: Effort


def conclude(found: Findings) -> MeasuredTopology:
    """Names the classes and makes domains of them; says who could not be placed, and why."""
    classified = found.ledger.classified(found.classes)
    names = _names(found, classified)
    first = {vcpu: stack[0] for stack in found.stacks for vcpu in stack}
    units = found.placement.units
    placed = {unit for pair in classified for unit in pair} if len(units) > 1 else set(units)
    unknown = dict(found.unavailable) | dict(found.gone)
    keys = {}
    for vcpu in found.vcpus:
        unit = first.get(vcpu, vcpu)
        if vcpu in unknown:
            continue
        if unit in placed:
            keys[vcpu] = (unit, *_outer(found.placement, unit, names))
        else:
            unknown[vcpu] = "it never ran long enough at the same time as another vCPU"
    domains = numbered(keys)
    return MeasuredTopology(
        domains=domains,
        pairs=_pairs(found, domains),
        class_latency_ns=_medians(found, classified, names),
        unknown=unknown,
        notes=found.notes,
        effort=found.effort,
    )


def _names(found: Findings, classified: Mapping[Pair, int | None]) -> tuple[Relation, ...]:
    claimed: dict[int, set[Relation]] = {}
    for (a, b), own in classified.items():
        if own is not None and a in found.claims and b in found.claims:
            claimed.setdefault(own, set()).add(relation(found.claims[a], found.claims[b]))
    number = len(found.classes.classes)
    smt = found.placement.leaf == 1 and number > 0
    return name_classes(number, smt, {own: frozenset(told) for own, told in claimed.items()})


def _outer(placement: Placement, unit: int, names: Sequence[Relation]) -> list[int]:
    """The core, cache, socket and node of a unit, each named by a unit of it."""
    found = []
    for level in tuple(Level)[Level.CORE :]:
        within = [at for at, name in enumerate(names) if name <= Relation(level)]
        if within and within[-1] == len(names) - 1:
            found.append(_EVERYTHING)
        else:
            found.append(placement.domain(unit, within[-1]) if within else unit)
    return found


def _pairs(found: Findings, domains: Mapping[int, Domains]) -> dict[Pair, PairMeasure]:
    """The probed pairs, each as its two vCPUs were placed."""
    pairs = {
        (a, b): PairMeasure(
            relation(domains[a], domains[b]), Origin.MEASURED, found.ledger.latency_ns((a, b))
        )
        for a, b in found.ledger.seen
        if a in domains and b in domains
    }
    for stack in found.stacks:
        here = [vcpu for vcpu in stack if vcpu in domains]
        for a, b in pairwise(here):
            pairs[ordered(a, b)] = PairMeasure(Relation.STACKED, Origin.MEASURED)
    return dict(sorted(pairs.items()))


def _medians(
    found: Findings, classified: Mapping[Pair, int | None], names: Sequence[Relation]
) -> dict[Relation, float]:
    latencies: dict[Relation, list[float]] = {}
    for pair, own in classified.items():
        latency = found.ledger.latency_ns(pair)
        if own is not None and latency is not None:
            latencies.setdefault(names[own], []).append(latency)
    return {name: median(latencies[name]) for name in sorted(latencies)}
