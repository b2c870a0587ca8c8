"""Hand-overs: one vCPU begins to run the moment that another stops, time after time.

That shows a stack also where nobody can be silenced, as in a guest whose own tasks want every vCPU.
Quotas in opposite phase may fit into each other too, so what counts is that the hand-overs follow
where no clock could tell: when stops and starts come at irregular times, or when the moments of a
hand-over agree far better than the lengths in between.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.topology.placement import Pair
    from scx_vsched.topology.spins import Spins

__all__ = ["Handovers"]

# A start so long after a stop is a hand-over. A host takes a few microseconds, an emulator up to a
# tenth of a millisecond; what takes no time, or less, happens on two hardware threads.
_SOONEST_NS, _LATEST_NS = 500, 150_000
# The least probability of a hand-over to a certain other by chance.
_LEAST_CHANCE = 0.1
# Pairs that never ran together are stacked when chance would give as many hand-overs with no more
# than this probability, of so many stops or more, and such a part of these ended in one. Of two
# quotas that fit into each other and are interrupted now and then, a third may.
_SURE, _FEWEST, _LEAST_PART = 1e-4, 10, 0.5
# Of so many stops at least such a part end in a hand-over to each other in every stack.
_FEWEST_POSSIBLE, _LEAST_POSSIBLE = 20, 0.1
# Gains may come by chance; with fewer hand-overs than this they did. Two of three in turn, on a
# host with others, hand over to each other in a fifth to a third of their stops.
_FEW_STOPS, _SOME = 5, 0.2
# Regular lengths: of so many stops nearly all are hand-overs that agree so many times better.
_FEWEST_REGULAR, _LEAST_PART_REGULAR, _COUPLED = 10, 0.8, 2.0
# Of lengths so large a part tells how irregular they are: noise spoils most of a clock's.
_CORE, _HALF = 0.4, 0.5


class Handovers:
    """The stops and starts of vCPUs in some watches."""

    def __init__(self) -> None:
        self._watches: list[dict[int, tuple[list[int], list[int]]]] = []

    def add(self, spins: Spins) -> None:
        """One more watch."""
        edges = {}
        for vcpu, seen in spins.seen.items():
            ends = [(gap.start_ns, gap.start_ns + gap.length_ns) for gap in seen.gaps]
            stops = [stop for stop, _ in ends if stop > seen.start_ns]
            starts = [start for _, start in ends if start < seen.end_ns]
            edges[vcpu] = (stops, starts)
        self._watches.append(edges)

    def proven(self, members: Sequence[int]) -> bool:
        """Whether vCPUs that never ran together hand their hardware thread over to each other."""
        ways = [self._delays(vcpu, members) for vcpu in members]
        stops, found = self._count(members)
        if stops < _FEWEST or found < _LEAST_PART * stops:
            return False
        lengths = self._lengths_ns(members)
        spread = min(_spread(each, _CORE) for each in lengths)
        chance = max(_CORE * _LATEST_NS / spread if spread else 1.0, _LEAST_CHANCE)
        if _tail(stops, found, min(1.0, (len(members) - 1) * chance)) <= _SURE:
            return True
        regularity = min(_spread(each, _HALF) for each in lengths)
        return any(
            number >= _FEWEST_REGULAR
            and len(delays) >= _LEAST_PART_REGULAR * number
            and _COUPLED * _spread(delays, _HALF) <= regularity
            for delays, number in ways
        )

    def some(self, pair: Pair) -> bool:
        """Whether enough hand-overs were seen to believe what gains say."""
        stops, found = self._count(pair)
        return stops >= _FEW_STOPS and found >= _SOME * stops

    def possible(self, pair: Pair) -> bool:
        """Whether the vCPUs may hand over: few stops were seen, or some ended in a hand-over."""
        stops, found = self._count(pair)
        return stops < _FEWEST_POSSIBLE or found >= _LEAST_POSSIBLE * stops

    def _count(self, members: Sequence[int]) -> tuple[int, int]:
        """How many stops there were, and how many hand-overs."""
        ways = [self._delays(vcpu, members) for vcpu in members]
        return sum(number for _, number in ways), sum(len(delays) for delays, _ in ways)

    def _delays(self, one: int, members: Sequence[int]) -> tuple[list[int], int]:
        """From one's stop to another's start, of each hand-over, and how many stops there were.

        A watch's edges are no stops: who was about to start is not known there.
        """
        delays: list[int] = []
        number = 0
        for edges in self._watches:
            if not edges.keys() >= set(members):
                continue
            starts = sorted(at for vcpu in members if vcpu != one for at in edges[vcpu][1])
            for stop in edges[one][0]:
                at = bisect_left(starts, stop + _SOONEST_NS)
                if at < len(starts) and starts[at] <= stop + _LATEST_NS:
                    delays.append(starts[at] - stop)
            number += len(edges[one][0])
        return delays, number

    def _lengths_ns(self, members: Sequence[int]) -> list[list[int]]:
        """Of each of them, the lengths from stop to stop and from start to start."""
        return [
            [
                after - before
                for edges in self._watches
                if vcpu in edges
                for before, after in pairwise(edges[vcpu][kind])
            ]
            for vcpu in members
            for kind in (0, 1)
        ]


def _spread(values: Sequence[int], part: float) -> float:
    """The least range that holds a part of `values`: small where a clock keeps that part."""
    ordered = sorted(values)
    inside = math.ceil(part * len(ordered))
    return min(
        (last - first for first, last in zip(ordered, ordered[inside:], strict=False)), default=0
    )


def _tail(number: int, found: int, chance: float) -> float:
    """The probability of at least so many found of a number."""
    return sum(
        math.comb(number, k) * chance**k * (1 - chance) ** (number - k)
        for k in range(found, number + 1)
    )
