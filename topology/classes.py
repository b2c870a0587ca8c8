"""Classes of latency, found on the machine's own numbers: no latency has a meaning of its own.

Latencies scatter by factors, so all is done on their logarithms. Candidates for classes come from
merging neighbours bottom-up, each time the two whose merger adds least to the squared deviations
(Ward). Of the divisions found on the way, the one with most classes counts in which all neighbours
are clearly separated: their medians are further apart than a multiple of both spreads (median
absolute deviation). Halves of one class of any usual form (uniform, normal, exponential) never
are: their medians are less than 1.6 of these spreads apart.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scx_vsched.topology.records import PairSample

__all__ = [
    "LatencyClass",
    "LatencyClasses",
    "describe_class",
    "find_classes",
    "name_classes",
    "sample_latency",
]

# Of one probe's transfers this quantile is taken. Being taken away only ever lengthens a transfer,
# so it must be low; the clocks of two vCPUs may differ a little, which shortens every other
# transfer, so it must not be the minimum. With 30 % of the transfers lengthened and 10 % noise its
# own standard deviation over probes of 48 transfers is 2 %, that of the minimum 4 %.
_QUANTILE = 0.25
# Fewer transfers than this say nothing.
_MIN_TRANSFERS = 8

# Pairs at the same distance differ at least so much (natural logarithm): ways through a mesh.
_LEAST_SPREAD = 0.04
# Neighbouring classes' medians are at least so many times the sum of their spreads apart; few
# members estimate a spread badly and need more.
_SEPARATION = 2.2
_SEPARATION_OF_FEW = 4.0
# A latency is of a class when no further from its median than so many spreads.
_REACH = 4.5
# Values nearer than this are one from the start: keeps the merging fast.
_GRAIN = 0.01
_MOST_CLASSES = 12
# Among this many values, those with few neighbours nearer than `_NEAR` are chance, not classes:
# whole probes that the host disturbed lie scattered over all latencies.
_MANY = 20
_NEAR = 2 * _LEAST_SPREAD
_FAIR_PART = 0.015


def sample_latency(sample: PairSample) -> float | None:
    """The one-way latency in ns that a pair probe saw, None where it saw too little.

    A transfer that took longer than the two ran together is the host's doing, not the cache's:
    so it is with stacked vCPUs, between which the line passes only when the host changes over.
    """
    transfers = sorted(sample.latencies_ns)
    if len(transfers) < _MIN_TRANSFERS:
        return None
    latency = transfers[int(_QUANTILE * len(transfers))]
    return latency if 0 < latency <= sample.both_ns else None


@dataclass(frozen=True, slots=True)
class LatencyClass:
    """Latencies around a median; `spread` is their deviation in natural logarithms."""

    latency_ns: float
    spread: float
    members: int


@dataclass(frozen=True, slots=True)
class LatencyClasses:
    """The classes, shortest latency first."""

    classes: tuple[LatencyClass, ...]

    def of(self, latency_ns: float) -> int | None:
        """The index of the class of a latency, None when it fits none well."""
        deviations = self.deviations(latency_ns)
        best = min(range(len(deviations)), key=deviations.__getitem__, default=None)
        return best if best is not None and deviations[best] <= _REACH else None

    def joined_at(self, latency_ns: float) -> LatencyClasses:
        """The two classes on both sides of a latency made one; unchanged if there are none."""
        inner = [found for found in self.classes if found.latency_ns < latency_ns]
        outer = [found for found in self.classes if found.latency_ns >= latency_ns]
        if not inner or not outer:
            return self
        one, other = inner[-1], outer[0]
        apart = math.log(other.latency_ns / one.latency_ns)
        both = LatencyClass(
            math.sqrt(one.latency_ns * other.latency_ns),
            max(one.spread, other.spread) + apart / 2 / _REACH,
            one.members + other.members,
        )
        return LatencyClasses((*inner[:-1], both, *outer[1:]))

    def deviations(self, latency_ns: float) -> list[float]:
        """How many spreads a latency is away from each class's median."""
        return [
            abs(math.log(latency_ns / found.latency_ns)) / found.spread for found in self.classes
        ]


def find_classes(latencies_ns: Iterable[float], firm_ns: Iterable[float] = ()) -> LatencyClasses:
    """The classes of these latencies; a latency far from all others makes no class.

    `firm_ns` are further ones that were seen again when measured again: a class of its own may be
    so small that among many it looks like chance.
    """
    firm = [math.log(latency) for latency in firm_ns if latency > 0]
    others = [math.log(latency) for latency in latencies_ns if latency > 0]
    logs = sorted([*firm, *_dense(sorted([*firm, *others]), set(firm))])
    # one value alone is a class where there is next to nothing else
    fewest = 2 if len(logs) > 2 else 1
    for division in _divisions(logs):
        groups = [logs[start:end] for start, end in division]
        if _separated(groups):
            found = [describe_class(group) for group in groups if len(group) >= fewest]
            if found:
                return LatencyClasses(tuple(found))
    return LatencyClasses(())


def _dense(logs: Sequence[float], firm: set[float]) -> list[float]:
    """The sorted values, but for firm ones, that have their fair number of neighbours."""
    if len(logs) < _MANY:
        return [value for value in logs if value not in firm]
    needed = 1 + max(1, _FAIR_PART * len(logs))  # itself and some others
    return [
        value
        for value in logs
        if value not in firm
        and bisect_right(logs, value + _NEAR) - bisect_left(logs, value - _NEAR) >= needed
    ]


def _divisions(logs: Sequence[float]) -> list[list[tuple[int, int]]]:
    """Divisions of sorted values into neighbouring ranges, from most to one."""
    edges = [0]
    while edges[-1] < len(logs):
        edges.append(bisect_left(logs, logs[edges[-1]] + _GRAIN, edges[-1] + 1))
    ranges = list(pairwise(edges))
    sums = [0.0]
    for value in logs:
        sums.append(sums[-1] + value)

    def merger_cost(at: int) -> float:
        (start, middle), (_, end) = ranges[at], ranges[at + 1]
        left, right = middle - start, end - middle
        apart = (sums[end] - sums[middle]) / right - (sums[middle] - sums[start]) / left
        return left * right / (left + right) * apart * apart

    costs = [merger_cost(at) for at in range(len(ranges) - 1)]
    divisions = []
    while ranges:
        if len(ranges) <= _MOST_CLASSES:
            divisions.append(list(ranges))
        if len(ranges) == 1:
            break
        at = min(range(len(costs)), key=costs.__getitem__)
        ranges[at : at + 2] = [(ranges[at][0], ranges[at + 1][1])]
        del costs[at]
        for beside in (at - 1, at):
            if 0 <= beside < len(costs):
                costs[beside] = merger_cost(beside)
    return divisions


def describe_class(group: Sequence[float]) -> LatencyClass:
    """The class of these logarithms of latencies."""
    middle = median(group)
    # 1.48 makes the median absolute deviation of normal values their standard deviation
    deviation = 1.48 * median(abs(value - middle) for value in group)
    return LatencyClass(math.exp(middle), max(deviation, _LEAST_SPREAD), len(group))


def _separated(groups: Sequence[Sequence[float]]) -> bool:
    found = [describe_class(group) for group in groups]
    for one, other in pairwise(found):
        apart = math.log(other.latency_ns / one.latency_ns)
        needed = _SEPARATION + _SEPARATION_OF_FEW / min(one.members, other.members)
        if apart < needed * (one.spread + other.spread):
            return False
    return True


# What the classes outside a core are called, by their number.
_NAMES = {
    0: (),
    1: (Relation.LLC,),
    2: (Relation.LLC, Relation.APART),
    3: (Relation.LLC, Relation.SOCKET, Relation.APART),
    4: (Relation.LLC, Relation.SOCKET, Relation.NODE, Relation.APART),
}


def name_classes(
    number: int, smt: bool, claimed: Mapping[int, frozenset[Relation]] | None = None
) -> tuple[Relation, ...]:
    """What each of `number` classes is called, shortest latency first.

    `smt` says that the first is within a core. The others are named from inside out; beyond four
    they are all APART. `claimed` gives the relations that the guest was told of the pairs measured
    in each class. Where each class has just one, different and growing with the latency, the claims
    describe this very hierarchy, and their names are taken: only they can tell a machine of two
    sockets in one node from one of two nodes.
    """
    outside = number - smt
    names = (*_NAMES[min(outside, 4)], *[Relation.APART] * (outside - 4))
    if smt:
        names = (Relation.SMT, *names)
    told = [next(iter(seen)) for _, seen in sorted((claimed or {}).items()) if len(seen) == 1]
    grows = all(one < other for one, other in pairwise(told))
    inside = not told or (told[0] == Relation.SMT if smt else told[0] >= Relation.LLC)
    if len(told) == number and number > 1 and grows and inside:
        return tuple(told)
    return names
