"""Which pairs to probe next: the fewest that may settle where a vCPU is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

from scx_vsched.topology.placement import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from scx_vsched.topology.placement import Ledger, Pair, Placement

__all__ = [
    "Guesses",
    "Meetings",
    "every_pair",
    "held_apart_by_few",
    "next_questions",
    "sampling_rounds",
    "strangers",
]

# A pair without a usable latency is asked so often, and two domains are compared by so many pairs.
_MOST_TRIES = 4
_MOST_ASKED = 6
# Rounds of pairs at random at most: of small machines these are about all pairs.
_MIXED = 6
# Domains of so many units are compared once more: a part of one may have grown apart from the rest.
_LARGE = 4
# A guess counts when it was right for so many of the pairs that it was tried on.
_GOOD_GUESS = 0.3


def sampling_rounds(units: Sequence[int], affordable: int) -> Iterator[list[Pair]]:
    """Rounds of disjoint pairs of all kinds; all pairs there are when `affordable` allows it."""
    size = len(units)
    if size * (size - 1) // 2 <= affordable:
        yield from every_pair(units)
        return
    half = size // 2
    yield [ordered(units[at], units[at + 1]) for at in range(0, size - 1, 2)]
    yield [ordered(units[at], units[at + half]) for at in range(half)]
    rng = random.Random(size)  # noqa: S311 - which pairs are compared is no secret
    for _ in range(_MIXED):
        mixed = rng.sample(list(units), size)
        yield [ordered(mixed[at], mixed[at + 1]) for at in range(0, size - 1, 2)]


def every_pair(units: Sequence[int]) -> Iterator[list[Pair]]:
    """Rounds of disjoint pairs, every pair once: one stays, the others move on by one place."""
    circle: list[int | None] = [*units, None] if len(units) % 2 else [*units]
    for _ in range(len(circle) - 1):
        folded = zip(circle, reversed(circle), strict=True)
        pairs = [next(folded) for _ in range(len(circle) // 2)]
        yield [ordered(a, b) for a, b in pairs if a is not None and b is not None]
        circle = [circle[0], circle[-1], *circle[1:-1]]


class Meetings(Protocol):
    """Which vCPUs run at the same time."""

    def share(self, a: int, b: int) -> float:
        """The part of the time in which both ran, as far as that was seen."""


class Guesses:
    """Where a vCPU's neighbours by number, or by claim, lie: used as far as that proves right."""

    def __init__(self, units: Sequence[int], claimed: Mapping[int, int]) -> None:
        """`claimed` is the last-level cache that each vCPU is claimed to share."""
        self._claimed: dict[int, list[int]] = {}
        for unit in units:
            if unit in claimed:
                self._claimed.setdefault(claimed[unit], []).append(unit)
        self._cache = claimed
        self._units = frozenset(units)
        steps = [1 << bit for bit in range(max(1, max(units, default=1)).bit_length())]
        self._steps = sorted({*steps, (max(units, default=0) + 1) // 2} - {0})
        self._rates: dict[int, float] = {}

    def learn(self, classified: Mapping[Pair, int | None], leaf: int) -> None:
        """How often each guess was right for the pairs measured so far."""
        right: dict[int, int] = {}
        tried: dict[int, int] = {}
        for (a, b), found in classified.items():
            kinds = [b - a] if b - a in self._steps else []
            if a in self._cache and self._cache[a] == self._cache.get(b):
                kinds.append(0)
            for kind in kinds:
                tried[kind] = tried.get(kind, 0) + 1
                right[kind] = right.get(kind, 0) + (found is not None and found <= leaf)
        self._rates = {kind: right[kind] / tried[kind] for kind in tried}

    def of(self, unit: int) -> Iterator[int]:
        """Units that may be near, the likeliest first."""
        for kind in sorted(self._rates, key=lambda kind: -self._rates[kind]):
            if self._rates[kind] < _GOOD_GUESS:
                return
            if kind == 0:
                yield from self._claimed.get(self._cache.get(unit, -1), ())
            else:
                yield from (at for at in (unit - kind, unit + kind) if at in self._units)


def next_questions(
    placement: Placement,
    ledger: Ledger,
    guesses: Guesses,
    speakers: Collection[int],
    meetings: Meetings,
) -> list[Pair]:
    """Disjoint pairs to probe; none when all is known that can be.

    `speakers` are the units that speak for their cores. Small domains ask larger ones, so that many
    ask at the same time and every answer counts for many.
    """
    open_to = placement.open_questions()
    for one, other in _given_up(placement, ledger):
        open_to[one] = [leaf for leaf in open_to.get(one, ()) if leaf != other]
        open_to[other] = [leaf for leaf in open_to.get(other, ()) if leaf != one]
    free = {
        leaf: [unit for unit in units if unit in speakers]
        for leaf, units in placement.members(placement.leaf).items()
    }
    sizes = {leaf: len(units) for leaf, units in free.items()}
    rank = {leaf: (-sizes[leaf], leaf) for leaf in free}

    def chosen(unit: int, others: Sequence[int]) -> Pair | None:
        """The unit and that of the others compared least with it, and most there when it is."""
        other = min(
            others, key=lambda at: (ledger.tries(ordered(unit, at)), -meetings.share(unit, at))
        )
        pair = ordered(unit, other)
        return (unit, other) if ledger.tries(pair) < _MOST_TRIES else None

    pairs = []
    # comparing two parts of one domain with the same vCPU would be wasted: parts become one first
    settled = not any(
        sizes[leaf] > 1 and sizes[other] > 1 for leaf in open_to for other in open_to[leaf]
    )
    for leaf in sorted(open_to, key=rank.__getitem__, reverse=True):
        if not settled and sizes[leaf] == 1:
            continue
        larger = [other for other in open_to[leaf] if rank[other] < rank[leaf]]
        # a single vCPU learns more from a domain known to be one than from another single one
        if any(sizes[other] > 1 for other in larger):
            larger = [other for other in larger if sizes[other] > 1]
        larger.sort(key=rank.__getitem__)
        homes = {other: free[other] for other in larger if free[other]}
        pair = _ask(free[leaf], homes, placement, guesses, chosen)
        if pair:
            pairs.append(ordered(*pair))
            for unit, home in zip(pair, map(placement.leaf_of, pair), strict=True):
                free[home].remove(unit)
    return pairs


def held_apart_by_few(
    placement: Placement, ledger: Ledger, speakers: Collection[int]
) -> list[Pair]:
    """Pairs to confirm what few probes say: that two domains within the next are two.

    Another pair of theirs, or the same again when there is no other; smallest domains first. One
    disturbed probe would else make two domains of one.
    """
    members = {
        level: {
            name: [unit for unit in units if unit in speakers]
            for name, units in placement.members(level).items()
        }
        for level in placement.levels[placement.leaf :]
    }
    found = []
    for (level, (a, b)), pairs in placement.held_apart().items():
        ones, others = members[level][a], members[level][b]
        enough = 3 if min(len(ones), len(others)) >= _LARGE else 2
        if len(pairs) >= enough or not ones or not others:
            continue
        pair = min(
            (ordered(one, other) for one in ones[:4] for other in others[:4]), key=ledger.tries
        )
        # what was probed twice is confirmed when there is no other pair to ask
        if ledger.tries(pair) < 2:
            found.append((min(len(ones), len(others)), pair))
    return [pair for _, pair in sorted(found)]


def _ask(
    units: Sequence[int],
    homes: Mapping[int, Sequence[int]],
    placement: Placement,
    guesses: Guesses,
    chosen: Callable[[int, Sequence[int]], Pair | None],
) -> Pair | None:
    """One of `units` and one that is free in a larger domain, if any; `homes` in order of size."""
    for unit in units:
        guessed = (placement.leaf_of(guess) for guess in guesses.of(unit))
        for home in [*(home for home in guessed if home in homes), *homes]:
            if pair := chosen(unit, homes[home]):
                return pair
    return None


def strangers(placement: Placement, ledger: Ledger) -> list[Pair]:
    """Pairs of vCPUs to try again that nothing joins, not even others: no probe saw anything."""
    first, *others = placement.met()
    found = []
    for other in others:
        between = [ordered(a, b) for a in first for b in other]
        if sum(map(ledger.tries, between)) < _MOST_ASKED:
            found.append(min(between, key=ledger.tries))
    return found


def _given_up(placement: Placement, ledger: Ledger) -> list[Pair]:
    """Pairs of innermost domains that were compared often enough, to no avail."""
    asked: dict[Pair, int] = {}
    for pair in ledger.seen.keys() | ledger.missed.keys():
        if not placement.knows(pair):
            leaves = ordered(*map(placement.leaf_of, pair))
            asked[leaves] = asked.get(leaves, 0) + ledger.tries(pair)
    return [leaves for leaves, times in asked.items() if times >= _MOST_ASKED]
