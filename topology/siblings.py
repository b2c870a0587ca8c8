"""SMT siblings, found without N² probes.

A busy sibling makes a vCPU slower, not rarer. In as many steps as a vCPU's position has bits, half
of the vCPUs spin and then the other half, divided by that bit; a vCPU is slow when its sibling has
the same bit. So its speeds spell the sibling's position.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.topology.spins import Spinner, Spins

__all__ = ["Siblings", "find_siblings"]

# Spinning by halves: long enough for a speed when the vCPU is there for a part of it.
_HALF_NS = 8_000_000
# A sibling takes at least this part of the speed (20-50 % on real cores).
_SLOWED = 0.12
# Each vCPU's speed is taken at least so often: a few values correlate by chance.
_FEWEST_SPEEDS = 5
# How well the speeds must follow the sibling's activity (correlation), and by what the division
# may be doubted: so many of the least clear bits are tried the other way round.
_FOLLOWS = 0.7
_DOUBTFUL_BITS = 4
# With this correlation nobody else is considered; of the others all pairs are, if they are few.
_SURE = 0.85
_ALL_PAIRS_OF = 96


@dataclass(frozen=True, slots=True)
class Siblings:
    """What spinning by halves showed.

    `pairs` seem to slow each other down, with how sure that is: a correlation, 0 to 1, rarely below
    0.9 for true siblings. `slowed` are all that something slowed down, or that ran too little to
    say.
    """

    pairs: Mapping[tuple[int, int], float]
    slowed: frozenset[int]


def find_siblings(spinner: Spinner, units: Sequence[int]) -> Siblings:
    """The siblings among `units`, vCPUs of different hardware threads.

    Siblings on cores of more than two threads are found only in part.
    """
    if len(units) < 2:
        return Siblings({}, frozenset())
    runs = _Runs(units)
    splits = _splits(len(units))
    for _ in range(-(-_FEWEST_SPEEDS // max(1, len(splits)))):
        for bits in splits:
            for side in (0, 1):
                half = [v for at, v in enumerate(units) if (at & bits).bit_count() & 1 == side]
                runs.add(bits, spinner.spin(half, _HALF_NS))
        if len(units) == 2:
            # two have no halves with both
            runs.add(0, spinner.spin(units, _HALF_NS))
    slowed = [vcpu for vcpu in units if runs.slowed(vcpu)]
    found: dict[tuple[int, int], float] = {}
    for vcpu in slowed:
        for other in runs.spelt(vcpu):
            pair = (min(vcpu, other), max(vcpu, other))
            if pair not in found:
                found[pair] = runs.follow(*pair)
    sure = {vcpu for pair, score in found.items() if score >= _SURE for vcpu in pair}
    left = [vcpu for vcpu in slowed if vcpu not in sure]
    if len(left) <= _ALL_PAIRS_OF:
        for pair in combinations(left, 2):
            found[pair] = runs.follow(*pair)
    pairs = {pair: score for pair, score in found.items() if score >= _FOLLOWS}
    return Siblings(pairs, frozenset(slowed))


def _splits(number: int) -> list[int]:
    """Bits of a position, an odd number of which puts it into the second half.

    Each bit by itself, and two together: positions that differ in all bits are in the same half
    there. In halves, since how many vCPUs spin also changes the clock and a crowded host's mind.
    """
    bits = [1 << bit for bit in range(max(0, number - 1).bit_length())]
    return [*bits, 0b11] if len(bits) > 1 else bits


class _Runs:
    """All spinning by halves, and what it says of the speed of each unit."""

    def __init__(self, units: Sequence[int]) -> None:
        self._units = units
        self._at = {vcpu: at for at, vcpu in enumerate(units)}
        self._runs: dict[int, list[tuple[int, float, Spins]]] = {vcpu: [] for vcpu in units}

    def add(self, bits: int, spins: Spins) -> None:
        """One half's spinning, by a split of these bits."""
        for vcpu in spins.active:
            speed = spins.speed(vcpu)
            if speed is not None:
                self._runs[vcpu].append((bits, speed, spins))

    def slowed(self, vcpu: int) -> bool:
        """Whether its speeds differ clearly, or are too few to say."""
        speeds = [speed for _, speed, _ in self._runs[vcpu]]
        if len({bits for bits, _, _ in self._runs[vcpu]}) < len(_splits(len(self._units))):
            return True
        return max(speeds) - min(speeds) >= _SLOWED * max(speeds)

    def spelt(self, vcpu: int) -> list[int]:
        """The units that its speeds may spell, likeliest first."""
        speeds: dict[int, list[float]] = {}
        for bits, speed, _ in self._runs[vcpu]:
            speeds.setdefault(bits, []).append(speed)
        means = {bits: fmean(seen) for bits, seen in speeds.items()}
        if not means:
            return []
        middle = (max(means.values()) + min(means.values())) / 2
        single = [bits for bits in _splits(len(self._units)) if bits.bit_count() == 1]
        clear = {bits: abs(means.get(bits, middle) - middle) for bits in single}
        spelt = self._at[vcpu]
        for bits in single:
            if means.get(bits, 0.0) > middle:
                spelt ^= bits
        doubtful = sorted(single, key=clear.__getitem__)[:_DOUBTFUL_BITS]
        found = [spelt, *(spelt ^ bits for bits in doubtful)]
        here = range(len(self._units))
        return [self._units[at] for at in found if at in here and at != self._at[vcpu]]

    def follow(self, a: int, b: int) -> float:
        """How well each one's lost speed follows the other's activity, the mean of both ways."""
        scores = []
        for vcpu, other in ((a, b), (b, a)):
            beside, lost = [], []
            fastest = max((speed for _, speed, _ in self._runs[vcpu]), default=1.0)
            for _, speed, spins in self._runs[vcpu]:
                ran = max(1, spins.active[vcpu].bit_count())
                both = spins.together(vcpu, other) if other in spins.active else 0
                beside.append(both / ran)
                lost.append(1 - speed / fastest)
            scores.append(_correlation(beside, lost))
        return fmean(scores)


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of loss with activity; 0 when the loss by a sibling that is always active would be small."""
    if len(xs) < 2:
        return 0.0
    mean_x, mean_y = fmean(xs), fmean(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    square_x = sum((x - mean_x) ** 2 for x in xs)
    square_y = sum((y - mean_y) ** 2 for y in ys)
    if covariance < _SLOWED * square_x or not square_x or not square_y:
        return 0.0
    return float(covariance / (square_x * square_y) ** 0.5)
