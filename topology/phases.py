"""Whether some clock could keep two vCPUs apart that never run together.

Two quotas in opposite phases look like a stack of busy vCPUs: each begins when the other stops, as
exactly as the host's clock can. But the phases of a clock stay. The turns of a stack slip now and
then, when one was longer or somebody else had one; kept apart by a clock, the two would have met
after that.

So each watch is asked for every period that a clock might have: had the phases stayed, how often
would the two have met? The period that explains best why they did not counts. There is one
alternation in a period at most, so periods are as long as these or, where turns were lost to
others, shorter.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_vsched.topology.placement import Pair
    from scx_vsched.topology.spins import Spins

__all__ = ["Phases", "missed_meetings"]

# Edges of turns are blurred: so many cells at both ends of a run are left out.
_BLUR = 4
# A watch of fewer alternations says nothing of a period, and periods are shorter than these by no
# more than a factor.
_FEWEST_ALTERNATIONS, _SHORTER = 5, 3.0
# Periods are tried in steps by which phases shift by so many cells in the whole watch.
_STEP = 8.0
# Runs are compared with those 1, 2, 3, 5, 7, 10, 14 … periods away: each further by such a part.
_FURTHER = 3
# Phases that stay are refuted by so many meetings that fail to come about, in so many watches:
# chance may shift two clocks at once. Fewer in a watch count as none.
_MEETINGS, _MEETINGS_IN_ONE, _FEWEST_WATCHES = 10.0, 2.0, 3
# So many watches without any. Of an emulated stack every fourth one has none.
_IN_VAIN = 4


class Phases:
    """What some watches say of pairs that never met in them."""

    def __init__(self) -> None:
        self._missed: dict[Pair, list[float]] = {}

    def add(self, spins: Spins, pair: Pair) -> None:
        """One more watch in which the two did not meet."""
        self._missed.setdefault(pair, []).append(missed_meetings(spins, *pair))

    def refuted(self, pair: Pair) -> bool:
        """Whether no phases that stay can be what keeps the two apart."""
        missed = [meetings for meetings in self._missed[pair] if meetings]
        return len(missed) >= _FEWEST_WATCHES and sum(missed) >= _MEETINGS

    def seem_to_stay(self, pair: Pair) -> bool:
        """Whether some watches have shown nothing else: more of them would be in vain."""
        missed = self._missed[pair]
        return len(missed) >= _IN_VAIN and not any(missed)


def missed_meetings(spins: Spins, a: int, b: int) -> float:
    """How often the two would have met in a watch, had each kept its phase.

    The least over all periods; 0 if that is next to nothing, or the watch too short to say.
    """
    one, other = _clear(spins.active[a]), _clear(spins.active[b])
    alternations = _alternations(one, other)
    if alternations < _FEWEST_ALTERNATIONS:
        return 0.0
    longest = spins.cells / (alternations - 1)
    period, least = longest / _SHORTER, math.inf
    while period <= longest:
        least = min(least, _meetings(one, other, period, spins.cells))
        if least < _MEETINGS_IN_ONE:
            return 0.0
        period *= 1 + _STEP / spins.cells
    return least


def _clear(active: int) -> int:
    """The runs without what is blurred at their ends."""
    for _ in range(_BLUR):
        active &= (active >> 1) & (active << 1)
    return active


def _starts(active: int) -> int:
    return active & ~(active << 1)


def _alternations(one: int, other: int) -> float:
    """How often the turn went from one to the other and back."""
    starts = _starts(one) | _starts(other)
    turns = []
    while starts:
        first = starts & -starts
        turns.append(bool(first & one))
        starts ^= first
    return sum(before != after for before, after in pairwise(turns)) / 2


def _meetings(one: int, other: int, period: float, cells: int) -> float:
    """How often runs overlap with what the other ran so many periods before or after.

    Scaled to the whole watch from the part of it that has these neighbours.
    """
    found, seen, number = 0, 0.0, 1
    while (shift := round(number * period)) + period <= cells:
        found += _starts((one >> shift) & other).bit_count()
        found += _starts((other >> shift) & one).bit_count()
        seen += 2 * (1 - shift / cells)
        number += 1 + number // _FURTHER
    return found / seen if seen else 0.0
