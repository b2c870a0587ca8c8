"""SMT siblings, found without N² probes.

A busy sibling makes a vCPU slower, not rarer. In as many steps as the vCPU's number has bits, half
of the vCPUs spin and then the other half, divided by that bit; a vCPU is slow when its sibling has
the same bit. So its speeds spell the sibling's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scx_vsched.topology.spins import Spinner, Spins

__all__ = ["Siblings", "find_siblings"]

# Spinning by halves: long enough for a speed when the vCPU is there for a part of it.
_HALF_NS = 8_000_000
# A sibling takes at least this part of the speed (20-50 % on real cores).
_SLOWED = 0.12
# How well the speeds must follow the sibling's activity (correlation), and by what the division
# may be doubted: so many of the least clear bits are tried the other way round.
_FOLLOWS = 0.6
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


def find_siblings(spinner: Spinner, units: Sequence[int], all_spin: Spins) -> Siblings:
    """The siblings among `units`, vCPUs of different hardware threads.

    `all_spin` is a watch of all of them. Siblings on cores of more than two threads are found only
    in part.
    """
    phases = [all_spin]
    halves: list[int | None] = [None]
    for bit in range((len(units) - 1).bit_length()):
        for value in (0, 1):
            half = [vcpu for at, vcpu in enumerate(units) if at >> bit & 1 == value]
            phases.append(spinner.spin(half, _HALF_NS))
            halves.append(bit)
    speeds = {vcpu: [spins.speed(vcpu) for spins in phases] for vcpu in units}
    slowed = [vcpu for vcpu in units if _slowed(speeds[vcpu], halves)]
    found: dict[tuple[int, int], float] = {}
    for at, vcpu in enumerate(units):
        for other in _spelt(at, speeds[vcpu], halves) if vcpu in slowed else ():
            if other < len(units) and other != at:
                pair = (min(vcpu, units[other]), max(vcpu, units[other]))
                if pair not in found:
                    found[pair] = _follows(*pair, speeds, phases)
    sure = {vcpu for pair, score in found.items() if score >= _SURE for vcpu in pair}
    left = [vcpu for vcpu in slowed if vcpu not in sure]
    if len(left) <= _ALL_PAIRS_OF:
        for pair in combinations(left, 2):
            found[pair] = _follows(*pair, speeds, phases)
    pairs = {pair: score for pair, score in found.items() if score >= _FOLLOWS}
    return Siblings(pairs, frozenset(slowed))


def _slowed(speeds: Sequence[float | None], halves: Sequence[int | None]) -> bool:
    """Whether its speeds differ clearly, or are too few to say."""
    known = [speed for speed in speeds if speed is not None]
    bits = {bit for bit, speed in zip(halves, speeds, strict=True) if speed is not None}
    return len(bits) < len(set(halves)) or max(known) - min(known) >= _SLOWED * max(known)


def _spelt(at: int, speeds: Sequence[float | None], halves: Sequence[int | None]) -> Iterable[int]:
    """Which positions the speeds of the one at `at` may spell, likeliest first."""
    known = [speed for speed in speeds if speed is not None]
    if not known:
        return []
    middle = (max(known) + min(known)) / 2
    other, clearness = at, {}
    for speed, bit in zip(speeds, halves, strict=True):
        if bit is None:
            continue
        if speed is not None:
            clearness[bit] = abs(speed - middle)
            if speed > middle:
                other ^= 1 << bit
        else:
            clearness.setdefault(bit, 0.0)
    doubtful = sorted(clearness, key=clearness.__getitem__)[:_DOUBTFUL_BITS]
    return [other, *(other ^ 1 << bit for bit in doubtful)]


def _follows(
    a: int,
    b: int,
    speeds: Mapping[int, Sequence[float | None]],
    phases: Sequence[Spins],
) -> float:
    """How well each one's lost speed follows the other's activity, the mean of both ways."""
    scores = []
    for vcpu, other in ((a, b), (b, a)):
        beside, speed = [], []
        for seen, spins in zip(speeds[vcpu], phases, strict=True):
            if seen is not None:
                ran = max(1, spins.active[vcpu].bit_count())
                both = spins.together(vcpu, other) if other in spins.active else 0
                beside.append(both / ran)
                speed.append(-seen)
        scores.append(_correlation(beside, speed))
    return fmean(scores)


def _correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    if len(xs) < 2:
        return 0.0
    mean_x, mean_y = fmean(xs), fmean(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    square = sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys)
    return float(covariance / square**0.5) if square > 0 else 0.0
