"""How fast each vCPU's core is: rounds of a spinner in the time that it really ran.

All vCPUs spin at the same moment (vSched §1, heavy phase), so that siblings share their core alike
and the figures compare.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_vsched.topology.evidence import Observation
    from scx_vsched.topology.records import Availability

__all__ = ["SpeedTracker"]

_KEEP = 5
# A spinner that ran for less says nothing.
_LEAST_ACTIVE_NS = 500_000
# The first rounds after a start are slow: cold caches, code that an emulator has yet to translate.
_ENOUGH = 3
# Cores this near to the fastest count as equal, and what is published moves by no less.
_EQUAL = 0.93
_STEP = 0.06


class SpeedTracker:
    """The speed of each vCPU's core relative to the fastest seen."""

    def __init__(self) -> None:
        self._rates: dict[int, deque[float]] = {}
        self._published: dict[int, float] = {}

    def add(self, seen: Availability, observed: Observation) -> None:
        """Take in one spinner; one that hardly ran is left out."""
        # not by CPU time, which without steal includes what the host took
        active = observed.elapsed_ns - observed.away_ns - seen.lost_ns
        if seen.loops and active >= _LEAST_ACTIVE_NS:
            self._rates.setdefault(seen.vcpu, deque(maxlen=_KEEP)).append(seen.loops / active)

    def known(self, vcpu: int) -> bool:
        """Whether the vCPU was seen running often enough."""
        return len(self._rates.get(vcpu, ())) >= _ENOUGH

    def settle(self) -> None:
        """Publish anew, after all spinners of one moment were taken in."""
        rates = {vcpu: median(kept) for vcpu, kept in self._rates.items()}
        fastest = max(rates.values(), default=0.0)
        for vcpu, rate in rates.items():
            speed = rate / fastest
            speed = 1.0 if speed >= _EQUAL else speed
            before = self._published.get(vcpu)
            if before is None or abs(speed - before) > _STEP:
                self._published[vcpu] = speed

    def speed(self, vcpu: int) -> float | None:
        """0 to 1, the fastest core is 1; None for a vCPU that was never seen running."""
        return self._published.get(vcpu)
