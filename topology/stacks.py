"""Stacked vCPUs: those that share one hardware thread, found without N² probes.

The vCPUs of a stack never run at the same time. Others may never either, such as two with quotas in
opposite phase, so that alone is no proof. The proof is that each gets more time when those with
which it never runs are silent: what a stack has is shared out, a quota is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median
from typing import TYPE_CHECKING

from scx_vsched.topology.spins import CELL_NS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from scx_vsched.topology.spins import Spinner, Spins

__all__ = ["Stacks", "find_stacks"]

_MS = 1_000_000

# The first watch of all vCPUs: some turns of a host that gives each of a stack 3-4 ms.
_FIRST_NS = 24 * _MS
# Later ones last for some of the alternations seen, but no longer than this.
_LONGEST_NS = 80 * _MS
_ALTERNATIONS = 2.5

# By chance two vCPUs would have run together for so long, and did not at all.
_TOGETHER_BY_CHANCE_NS = 1.5 * _MS
# Alone, the two get so many times what they got together, and each of them at least so many.
_GAIN, _GAIN_OF_EACH = 1.25, 1.1
# With less than this they are not stacked; one comparison alone says so only with even less.
_NO_GAIN, _NO_GAIN_AT_ALL = 1.12, 0.95
# Shares of one hardware thread add up to no more than it has.
_WHOLE = 1.05
# How often that is compared: at least, and while it remains unclear.
_FEWEST_TURNS, _MOST_TURNS = 2, 5


@dataclass(frozen=True, slots=True)
class Stacks:
    """The sets of stacked vCPUs, and pairs that may be stacked or not: nothing could show it."""

    sets: tuple[tuple[int, ...], ...]
    unclear: tuple[tuple[int, int], ...]
    spins: Spins  # of all vCPUs at the same time


def find_stacks(spinner: Spinner, vcpus: Sequence[int]) -> Stacks:
    """The stacks among `vcpus`.

    One watch of all where no two vCPUs take turns; where some do, about ten more of those.
    """
    spins = spinner.spin(vcpus, _FIRST_NS)
    here = sorted(spins.active)
    partly = [vcpu for vcpu in here if spins.seen[vcpu].gaps]
    pairs = _turn_taking(spins, combinations(partly, 2))
    if not pairs:
        return Stacks((), (), spins)
    gains = _Gains(spinner, pairs, _watch_ns(spins, pairs))
    stacked, unclear = gains.judge()
    return Stacks(*_sets(stacked, unclear), spins)


def _turn_taking(spins: Spins, pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs that never ran together and together had no more than the whole time."""
    here = spins.active.keys()
    return [
        (a, b)
        for a, b in pairs
        if a in here and b in here and not spins.active[a] & spins.active[b]
    ]


def _watch_ns(spins: Spins, pairs: Collection[tuple[int, int]]) -> int:
    """Long enough for some alternations, and for chance to bring pairs together."""
    members = {vcpu for pair in pairs for vcpu in pair}
    lasted = spins.cells * CELL_NS
    alternation = median(lasted / max(1, len(spins.seen[vcpu].gaps)) for vcpu in members)
    rarest = min(spins.share(a) * spins.share(b) for a, b in pairs)
    chance = _TOGETHER_BY_CHANCE_NS / rarest / _FEWEST_TURNS if rarest else _LONGEST_NS
    return int(min(_LONGEST_NS, max(_FIRST_NS, _ALTERNATIONS * alternation, chance)))


class _Gains:
    """Compares what turn-taking vCPUs get together with what they get apart."""

    def __init__(
        self, spinner: Spinner, pairs: Sequence[tuple[int, int]], duration_ns: int
    ) -> None:
        self._spinner = spinner
        self._pairs = list(pairs)
        self._duration_ns = duration_ns
        self._together: dict[int, list[float]] = {}
        self._apart: dict[int, list[float]] = {}
        self._chance_ns: dict[tuple[int, int], float] = dict.fromkeys(pairs, 0.0)

    def judge(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """The stacked pairs, and those that may be."""
        stacked: list[tuple[int, int]] = []
        for turn in range(1, _MOST_TURNS + 1):
            self._watch_together()
            self._watch_apart()
            enough = turn >= _FEWEST_TURNS
            stacked += [pair for pair in self._pairs if enough and self._proven(pair)]
            least = _NO_GAIN if enough else _NO_GAIN_AT_ALL
            self._pairs = [
                pair for pair in self._pairs if pair not in stacked and self._gain(pair) >= least
            ]
            if not self._pairs:
                break
        return stacked, self._pairs

    def _watch_together(self) -> None:
        members = sorted({vcpu for pair in self._pairs for vcpu in pair})
        spins = self._spinner.spin(members, self._duration_ns)
        for vcpu in spins.active:
            self._together.setdefault(vcpu, []).append(spins.share(vcpu))
        self._pairs = [
            pair for pair in _turn_taking(spins, self._pairs) if all(map(self._together.get, pair))
        ]
        for pair in self._pairs:
            self._chance_ns[pair] += spins.chance(*pair)

    def _watch_apart(self) -> None:
        for group in _independent(self._pairs):
            spins = self._spinner.spin(group, self._duration_ns)
            for vcpu in spins.active:
                self._apart.setdefault(vcpu, []).append(spins.share(vcpu))
        self._pairs = [pair for pair in self._pairs if all(map(self._apart.get, pair))]

    def _gain(self, pair: tuple[int, int]) -> float:
        """How many times more the two get when they do not spin at the same time."""
        together = sum(fmean(self._together[vcpu]) for vcpu in pair)
        apart = sum(fmean(self._apart[vcpu]) for vcpu in pair)
        return apart / together if together else 1.0

    def _proven(self, pair: tuple[int, int]) -> bool:
        """Both gained, together they had no more than the whole, and had time to meet."""
        together = [fmean(self._together[vcpu]) for vcpu in pair]
        apart = [fmean(self._apart[vcpu]) for vcpu in pair]
        return (
            self._gain(pair) >= _GAIN
            and all(x >= _GAIN_OF_EACH * y for x, y in zip(apart, together, strict=True))
            and sum(together) <= _WHOLE
            and self._chance_ns[pair] >= _TOGETHER_BY_CHANCE_NS
        )


def _independent(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
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


def _sets(
    stacked: Sequence[tuple[int, int]], unclear: Sequence[tuple[int, int]]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, int], ...]]:
    """Stacks, in each of which every pair is stacked; pairs that make none are unclear."""
    beside: dict[int, set[int]] = {}
    for a, b in stacked:
        beside.setdefault(a, {a}).add(b)
        beside.setdefault(b, {b}).add(a)
    sets = {tuple(sorted(members)) for members in beside.values()}
    whole = [members for members in sets if all(beside[vcpu] == set(members) for vcpu in members)]
    placed = {vcpu for members in whole for vcpu in members}
    odd = [(a, b) for a, b in stacked if not (a in placed and b in placed)]
    return tuple(sorted(whole)), tuple(sorted([*unclear, *odd]))
