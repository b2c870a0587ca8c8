"""What differs between two graphs: what is claimed and what was measured, or two points in time.

Domains are compared as sets of vCPUs, never by number, over the vCPUs that both graphs have. A
difference that follows from another is left out: vCPUs that turn out to be stacked also share a
core that they do not claim to share, and so on upwards; vCPUs on different NUMA nodes share no
socket, and so on downwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.topology.domains import Level, members
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.graph import VCpuGraph

__all__ = [
    "CapacityChange",
    "Difference",
    "DomainChange",
    "LatencyChange",
    "MembershipChange",
    "Sets",
    "Thresholds",
    "claim_differences",
    "differences",
    "plain_difference",
]

type Sets = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Numbers that differ by less count as equal."""

    capacity_step: int = 64  # a sixteenth of a vCPU
    latency_factor: float = 1.5


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """vCPUs that only one of the graphs has."""

    gone: tuple[int, ...]
    new: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DomainChange:
    """The same vCPUs in other domains of one level.

    `before` and `after` are the sets that share a domain; together, each holds the same vCPUs.
    `moved` are those that left the domain in which most of their former peers remain.
    """

    level: Level
    before: Sets
    after: Sets
    moved: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CapacityChange:
    """A vCPU's capacity, 0 to 1024."""

    vcpu: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class LatencyChange:
    """The latency of a pair that both graphs measured."""

    a: int
    b: int
    before_ns: float
    after_ns: float


_DEFAULT = Thresholds()

type Difference = MembershipChange | DomainChange | CapacityChange | LatencyChange


def differences(
    before: VCpuGraph, after: VCpuGraph, thresholds: Thresholds = _DEFAULT
) -> list[Difference]:
    """What differs from `before` to `after`, structure first.

    A vCPU that only one of them measured is compared as if the other had found full capacity:
    that is what an unmeasured vCPU claims. Latencies are compared where both measured the pair.
    """
    found: list[Difference] = _structure(before.domains, after.domains)
    old, new = before.measures, after.measures
    for vcpu in sorted(old.keys() & new.keys()):
        was, now = old[vcpu].capacity, new[vcpu].capacity
        if was is None and now is None:
            continue
        was = FULL_CAPACITY if was is None else was
        now = FULL_CAPACITY if now is None else now
        if abs(now - was) >= thresholds.capacity_step:
            found.append(CapacityChange(vcpu, was, now))
    latencies = {pair: measure.latency_ns for pair, measure in before.pairs()}
    for (a, b), measure in after.pairs():
        was_ns, now_ns = latencies.get((a, b)), measure.latency_ns
        if was_ns is None or now_ns is None:
            continue
        low, high = sorted((was_ns, now_ns))
        if high > low and high >= thresholds.latency_factor * low:
            found.append(LatencyChange(a, b, was_ns, now_ns))
    return found


def claim_differences(graph: VCpuGraph, thresholds: Thresholds = _DEFAULT) -> list[Difference]:
    """What differs from what the guest was told, as the graph itself has it, to what was measured.

    The same as `differences` from a claimed graph. Only vCPUs of which the graph has claims are
    compared.
    """
    claimed = graph.claimed
    found: list[Difference] = _structure(
        claimed, {vcpu: own for vcpu, own in graph.domains.items() if vcpu in claimed}
    )
    for vcpu, measure in graph.measures.items():
        if (
            measure.capacity is not None
            and FULL_CAPACITY - measure.capacity >= thresholds.capacity_step
        ):
            found.append(CapacityChange(vcpu, FULL_CAPACITY, measure.capacity))
    return found


def _structure(before: Mapping[int, Domains], after: Mapping[int, Domains]) -> list[Difference]:
    found: list[Difference] = []
    common = before.keys() & after.keys()
    gone, new = sorted(before.keys() - common), sorted(after.keys() - common)
    if gone or new:
        found.append(MembershipChange(tuple(gone), tuple(new)))
    was, now = ({v: graph[v] for v in common} for graph in (before, after))
    by_level = {level: _regrouped(_sets(was, level), _sets(now, level)) for level in Level}
    for level in Level:
        for old, young in by_level[level]:
            if not _follows(by_level, level, old, young):
                found.append(DomainChange(level, old, young, _moved(old, young)))
    return found


def _sets(domains: Mapping[int, Domains], level: Level) -> Sets:
    return tuple(members(domains, level).values())


def _regrouped(before: Sets, after: Sets) -> list[tuple[Sets, Sets]]:
    """The smallest unions of sets of `before` that are also unions of sets of `after`.

    Those of which both have the same single set are left out.
    """
    import networkx  # noqa: PLC0415

    graph: networkx.Graph[tuple[str, tuple[int, ...]]] = networkx.Graph()
    home = {vcpu: group for group in after for vcpu in group}
    graph.add_edges_from((("was", group), ("is", home[vcpu])) for group in before for vcpu in group)
    changed = []
    for component in networkx.connected_components(graph):
        was = tuple(sorted(group for side, group in component if side == "was"))
        now = tuple(sorted(group for side, group in component if side == "is"))
        if was != now:
            changed.append((was, now))
    return sorted(changed)


def _follows(
    by_level: Mapping[Level, list[tuple[Sets, Sets]]], level: Level, was: Sets, now: Sets
) -> bool:
    """Whether a neighbouring level has the same change, of which this one is a consequence."""
    if len(now) == 1:  # joined: because they are joined in something smaller
        return level > Level.STACK and (was, now) in by_level[Level(level - 1)]
    # parted or moved: because they are parted in something larger
    return level < Level.NODE and (was, now) in by_level[Level(level + 1)]


def _moved(was: Sets, now: Sets) -> tuple[int, ...]:
    """The vCPUs that are not with most of those that they were with.

    Each former set keeps the new set with which it has most in common, if no other former set has
    more in common with that.
    """
    shared = sorted(
        ((len(set(old) & set(new)), old, new) for old in was for new in now),
        key=lambda common: (-common[0], common[1], common[2]),
    )
    kept: dict[tuple[int, ...], tuple[int, ...]] = {}
    for _, old, new in shared:
        if old not in kept and new not in kept.values():
            kept[old] = new
    return tuple(sorted(v for old in was for v in old if v not in kept.get(old, ())))


def plain_difference(change: Difference) -> dict[str, Any]:
    """The difference for JSON: its fields, and `what` as its kind."""
    kinds = {
        MembershipChange: "vcpus",
        DomainChange: "domains",
        CapacityChange: "capacity",
        LatencyChange: "latency",
    }
    fields = asdict(change)
    if isinstance(change, DomainChange):
        fields["level"] = change.level.name.lower()
    return {"what": kinds[type(change)], **fields}
