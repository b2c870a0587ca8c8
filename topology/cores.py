"""Which latencies are within cores, and who may yet share one: what spinning says, and claims."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from scx_vsched.topology.placement import Ledger, Pair, Placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.topology.classes import LatencyClasses
    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.siblings import Siblings

__all__ = ["SURE", "Cores"]

SURE = 0.85
"""Siblings of which spinning is so sure (correlation) are probed again if they seem to be none."""

# A core has no more threads.
_MOST_THREADS = 8
# Where spinning showed no contention, claimed siblings are believed to share a core when all other
# pairs are so many times slower.
_CORE_IS_FASTER = 3.0
# All those without a sibling are compared where that takes no more than so many for each vCPU.
_FEW_LONELY = 0.25


class Cores:
    """What is known of cores beside latencies."""

    def __init__(
        self, units: Sequence[int], siblings: Siblings, claims: Mapping[int, Domains]
    ) -> None:
        self._units = units
        self._siblings = siblings
        self._claims = claims

    def score(self, pair: Pair) -> float:
        """How sure spinning is that the two are siblings, 0 when it showed nothing."""
        return self._siblings.pairs.get(pair, 0)

    def shown(self, classes: LatencyClasses, classified: Mapping[Pair, int | None]) -> bool:
        """Whether the fastest class is within cores."""
        fastest = [pair for pair, found in classified.items() if found == 0]
        if not fastest:
            return False
        sizes = Placement(self._units, classified, 2, 0).members(0).values()
        if max(map(len, sizes)) > _MOST_THREADS:
            return False
        scores = self._siblings.pairs
        if scores and len(classes.classes) == 1:
            return all(self.score(pair) >= SURE for pair in fastest)
        if scores:
            return 2 * sum(pair in scores for pair in fastest) >= len(fastest)
        latencies = [found.latency_ns for found in classes.classes[:2]]
        return (
            len(latencies) > 1
            and latencies[1] >= _CORE_IS_FASTER * latencies[0]
            and all(self._claimed(a) == self._claimed(b) for a, b in fastest)
        )

    def _claimed(self, unit: int) -> int:
        """The core that a unit claims, one of its own (below 0) when it claims none."""
        return self._claims[unit].core if unit in self._claims else -1 - unit

    def lonely(self, placement: Placement, ledger: Ledger) -> list[Pair]:
        """Pairs of vCPUs near each other that may be siblings, although spinning did not show it.

        Something slowed one of them down, and nobody knows what; or they are some of few without
        a sibling, and may never have run at the same time.
        """
        if not self._siblings.pairs:
            return []
        alone = {core for core, units in placement.members(0).items() if len(units) == 1}
        pairs = [
            pair
            for units in placement.members(1).values()
            for pair in combinations(sorted(alone.intersection(units)), 2)
            if ledger.latency_ns(pair) is None
        ]
        if len(pairs) <= _FEW_LONELY * len(self._units):
            return pairs
        return [pair for pair in pairs if not self._siblings.slowed.isdisjoint(pair)]
