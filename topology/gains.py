"""What vCPUs gain when others are silent: a hardware thread's time is shared out, a quota is not.

On a crowded host gains are small, and hidden by chance. But there no opposite phases keep two vCPUs
apart either: whose gaps are of all lengths has no phase.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, pvariance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.topology.placement import Pair
    from scx_vsched.topology.records import Availability
    from scx_vsched.topology.spins import Spinner, Spins

__all__ = ["stacked_by_gain"]

_MS = 1_000_000

# Apart two that are stacked get more than together: at least so many times as much, and more than
# nothing by so many standard errors.
_GAIN, _SURE = 1.12, 2.0
# Each of them gains so much, not one alone.
_GAIN_OF_EACH = 1.08
# Gaps are of all lengths when so many of them deviate so much (parts of their mean), and of one
# length when they deviate less. Those of a quota on a noisy host deviate by 0.2, those that are
# left to chance by 0.7.
_MANY_GAPS, _IRREGULAR = 12, 0.4
_FEW_GAPS, _REGULAR = 3, 0.3
# Comparisons become longer while it is unclear, up to this.
_LONGEST_NS = 80 * _MS
_MOST_TURNS = 5
# The error of a share of which too little was seen.
_UNKNOWN = 0.3


class _Share:
    """The part of some watches in which a vCPU ran, and its standard error."""

    def __init__(self) -> None:
        self._ran_ns = 0.0
        self._square_ns = 0.0
        self._lasted_ns = 0
        self._gaps_ns: list[int] = []

    def add(self, spins: Spins, vcpu: int) -> None:
        """One more watch."""
        seen = spins.seen[vcpu]
        lasted = seen.end_ns - seen.start_ns
        self._ran_ns += spins.share(vcpu) * lasted
        self._square_ns += (_share_error(seen) * lasted) ** 2
        self._lasted_ns += lasted
        self._gaps_ns += [gap.length_ns for gap in seen.gaps]

    @property
    def irregular(self) -> bool:
        """Whether its gaps are known to be of all lengths."""
        return len(self._gaps_ns) >= _MANY_GAPS and self._deviation() >= _IRREGULAR

    @property
    def regular(self) -> bool:
        """Whether its gaps seem to be of one length."""
        return len(self._gaps_ns) < _FEW_GAPS or self._deviation() <= _REGULAR

    def _deviation(self) -> float:
        """Of the gaps' lengths, each as often as it is long, as a part of their mean."""
        gaps = self._gaps_ns
        mean = fmean(gaps, gaps)
        return math.sqrt(fmean([(gap - mean) ** 2 for gap in gaps], gaps)) / mean

    @property
    def mean(self) -> float:
        """Over all watches."""
        return self._ran_ns / max(1, self._lasted_ns)

    @property
    def error(self) -> float:
        """Of the mean."""
        return math.sqrt(self._square_ns) / max(1, self._lasted_ns)


def _share_error(seen: Availability) -> float:
    """The standard error of the share of one watch, as of runs and gaps of independent lengths.

    Those of a quota are all alike; then only where the watch cuts a cycle off is left to chance.
    """
    lasted = seen.end_ns - seen.start_ns
    lengths = [gap.length_ns for gap in seen.gaps]
    if not lengths:
        return 0.0
    if len(lengths) < 3:
        return _UNKNOWN
    runs = [after.start_ns - gap.start_ns - gap.length_ns for gap, after in pairwise(seen.gaps)]
    share = 1 - sum(lengths) / lasted
    variance = len(lengths) * (share**2 * pvariance(lengths) + (1 - share) ** 2 * pvariance(runs))
    cycle = lasted / len(lengths)
    return math.hypot(math.sqrt(variance), share * (1 - share) * cycle / math.sqrt(2)) / lasted


def stacked_by_gain(
    spinner: Spinner, pairs: Sequence[Pair], duration_ns: int
) -> tuple[list[Pair], list[Pair]]:
    """Those of `pairs`, which never run together, that are stacked, and those that may be."""
    stacked: list[Pair] = []
    left = list(pairs)
    gains = _Gains(spinner)
    for _ in range(_MOST_TURNS):
        if not left:
            break
        left = gains.watch(left, duration_ns)
        stacked += [pair for pair in left if gains.proven(pair)]
        left = [pair for pair in left if pair not in stacked and not gains.refuted(pair)]
        duration_ns = min(2 * duration_ns, max(_LONGEST_NS, duration_ns))
    return stacked, left


class _Gains:
    """Shares of vCPUs when all spin, and when none of those does that they never meet."""

    def __init__(self, spinner: Spinner) -> None:
        self._spinner = spinner
        self._together: dict[int, _Share] = {}
        self._apart: dict[int, _Share] = {}

    def watch(self, pairs: Sequence[Pair], duration_ns: int) -> list[Pair]:
        """One more comparison; the pairs that are here, and did not meet."""
        spins = self._spinner.spin({vcpu for pair in pairs for vcpu in pair}, duration_ns)
        for vcpu in spins.active:
            self._together.setdefault(vcpu, _Share()).add(spins, vcpu)
        here = set(spins.active)
        left = [pair for pair in pairs if here.issuperset(pair) and not spins.together(*pair)]
        here.clear()
        for group in _independent(left):
            spins = self._spinner.spin(group, duration_ns)
            for vcpu in spins.active:
                self._apart.setdefault(vcpu, _Share()).add(spins, vcpu)
            here.update(spins.active)
        return [pair for pair in left if here.issuperset(pair)]

    def proven(self, pair: Pair) -> bool:
        """Both gain and have no more than the whole together; or they have no phase, and may."""
        gain, error = self._gain(pair)
        whole, whole_error = _sum([self._together[vcpu] for vcpu in pair])
        clear = gain >= _GAIN and gain - _SURE * error > 1
        return (
            (clear or (gain >= 1 and self._irregular(pair)))
            and all(self._gains(vcpu) for vcpu in pair)
            and whole - _SURE * whole_error <= 1
        )

    def refuted(self, pair: Pair) -> bool:
        """It is clear that they gain nothing, where their phases may keep them apart."""
        gain, error = self._gain(pair)
        regular = all(self._apart[vcpu].regular for vcpu in pair)
        return regular and gain + _SURE * error < _GAIN

    def _gains(self, vcpu: int) -> bool:
        """Whether it gains by itself, or may where chance hides it."""
        gain, error = self._gain((vcpu,))
        return gain + error * self._apart[vcpu].irregular >= _GAIN_OF_EACH

    def _irregular(self, pair: Pair) -> bool:
        return all(self._apart[vcpu].irregular for vcpu in pair)

    def _gain(self, vcpus: Sequence[int]) -> tuple[float, float]:
        """How many times more the vCPUs have apart, and its standard error."""
        together, together_error = _sum([self._together[vcpu] for vcpu in vcpus])
        apart, apart_error = _sum([self._apart[vcpu] for vcpu in vcpus])
        if not together or not apart:
            return 1.0, math.inf
        gain = apart / together
        return gain, gain * math.hypot(apart_error / apart, together_error / together)


def _sum(shares: Sequence[_Share]) -> tuple[float, float]:
    return sum(share.mean for share in shares), math.hypot(*(share.error for share in shares))


def _independent(pairs: Sequence[Pair]) -> list[list[int]]:
    """Few groups of vCPUs, none with both of a pair."""
    against: dict[int, set[int]] = {}
    for a, b in pairs:
        against.setdefault(a, set()).add(b)
        against.setdefault(b, set()).add(a)
    groups: list[list[int]] = []
    for vcpu in sorted(against, key=lambda vcpu: (-len(against[vcpu]), vcpu)):
        home = next((group for group in groups if not against[vcpu].intersection(group)), None)
        if home is None:
            groups.append([vcpu])
        else:
            home.append(vcpu)
    return groups
