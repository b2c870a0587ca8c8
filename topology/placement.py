"""From latencies of some pairs to nested domains: what follows, what contradicts, what to ask next.

Distances in a hierarchy are ultrametric: of the three distances among three vCPUs the two larger
are equal. So pairs near each other join transitively into one domain, level by level, and one pair
further apart holds two whole domains apart (vSched §3). All is known when each two innermost
domains have been joined or held apart at some level.

Pure: nothing here measures.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.topology.classes import find_classes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scx_vsched.topology.classes import LatencyClasses

__all__ = ["Conflict", "Ledger", "Pair", "Placement", "ordered"]

type Pair = tuple[int, int]
"""Two vCPUs, the lower one first."""

# Latencies of one pair, measured again, that differ by no more than this factor agree.
_AGREE = 1.15


def ordered(a: int, b: int) -> Pair:
    """The pair of two vCPUs."""
    return (a, b) if a < b else (b, a)


@dataclass(slots=True)
class Ledger:
    """The latencies in ns that were measured of each pair, and how often there was none."""

    seen: dict[Pair, list[float]] = field(default_factory=dict)
    missed: dict[Pair, int] = field(default_factory=dict)
    distrusted: set[Pair] = field(default_factory=set)

    def add(self, pair: Pair, latency_ns: float | None) -> None:
        """One probe's result."""
        if latency_ns is None:
            self.missed[pair] = self.missed.get(pair, 0) + 1
        else:
            self.seen.setdefault(pair, []).append(latency_ns)

    def tries(self, pair: Pair) -> int:
        """How often the pair was probed."""
        return len(self.seen.get(pair, ())) + self.missed.get(pair, 0)

    def latency_ns(self, pair: Pair) -> float | None:
        """The pair's latency: the shorter of two, the median of more; being away only lengthens."""
        seen = sorted(self.seen.get(pair, ()))
        return seen[(len(seen) - 1) // 2] if seen else None

    def classes(self) -> LatencyClasses:
        """The classes of all latencies so far."""
        single, firm = [], []
        for pair in self.seen:
            if pair in self.distrusted:
                continue
            middle = self.latency_ns(pair) or 0.0
            agree = [x for x in self.seen[pair] if 1 / _AGREE < x / middle < _AGREE]
            if len(agree) > 1:
                firm.extend(agree)
            else:
                single.append(middle)
        return find_classes(single, firm)

    def classified(self, classes: LatencyClasses) -> dict[Pair, int | None]:
        """The class of each pair with a latency, None where it fits none."""
        return {
            pair: classes.of(latency)
            for pair in self.seen
            if pair not in self.distrusted and (latency := self.latency_ns(pair)) is not None
        }


@dataclass(frozen=True, slots=True)
class Conflict:
    """A pair that is further apart than the domain that others say it shares.

    `path` are the pairs that join the two at `level`.
    """

    pair: Pair
    level: int
    path: tuple[Pair, ...]


class Placement:
    """What the classes of some pairs say of all units (one vCPU of each hardware thread or core).

    Level k joins what is connected by pairs of class k or less. The last of `number` classes joins
    everything and is no level, unless it is within cores. Levels below `leaf` are: there nothing
    needs to be held apart.
    """

    def __init__(
        self,
        units: Sequence[int],
        classified: Mapping[Pair, int | None],
        number: int,
        leaf: int,
    ) -> None:
        self.units = units
        self.leaf = leaf
        self.levels = range(max(leaf, number - 1))
        self._near: dict[int, list[tuple[int, int]]] = {unit: [] for unit in units}
        self._pairs = {pair: found for pair, found in classified.items() if found is not None}
        for (a, b), found in self._pairs.items():
            self._near[a].append((b, found))
            self._near[b].append((a, found))
        self._domains = [self._joined(level) for level in self.levels]

    def _joined(self, level: int) -> dict[int, int]:
        """The lowest unit of each unit's domain."""
        root: dict[int, int] = {}
        for unit in self.units:
            if unit in root:
                continue
            root[unit] = unit
            todo = [unit]
            while todo:
                for other, found in self._near[todo.pop()]:
                    if found <= level and other not in root:
                        root[other] = unit
                        todo.append(other)
        return root

    def domain(self, unit: int, level: int) -> int:
        """The name of a unit's domain at a level: one of its units."""
        if level < 0:
            return unit
        return self._domains[level][unit] if level in self.levels else -1

    def leaf_of(self, unit: int) -> int:
        """The name of the innermost domain around a unit's core."""
        return self.domain(unit, self.leaf)

    def knows(self, pair: Pair) -> bool:
        """Whether the pair's own latency has a class."""
        return pair in self._pairs

    def members(self, level: int) -> dict[int, list[int]]:
        """The units of each domain at a level."""
        found: dict[int, list[int]] = {}
        for unit in self.units:
            found.setdefault(self.domain(unit, level), []).append(unit)
        return found

    def met(self) -> list[list[int]]:
        """The units as groups between which no pair has a latency."""
        groups: dict[int, list[int]] = {}
        for unit, root in self._joined(max(self._pairs.values(), default=0)).items():
            groups.setdefault(root, []).append(unit)
        return [sorted(group) for group in groups.values()]

    def conflicts(self) -> list[Conflict]:
        """Each contradictory pair once, at the outermost level where it is one."""
        found = []
        for (a, b), own in self._pairs.items():
            for level in reversed(self.levels[:own]):
                if self.domain(a, level) == self.domain(b, level):
                    found.append(Conflict((a, b), level, self._path(a, b, level)))
                    break
        return found

    def held_apart(self) -> dict[tuple[int, Pair], list[Pair]]:
        """For each two domains known to be two within the next larger one, the pairs that say so.

        The key is the level, at which the two are, and their names.
        """
        found: dict[tuple[int, Pair], list[Pair]] = {}
        for pair, own in self._pairs.items():
            level = own - 1
            if level >= self.leaf:
                one, other = (self.domain(unit, level) for unit in pair)
                if one != other:
                    found.setdefault((level, ordered(one, other)), []).append(pair)
        return found

    def _path(self, start: int, end: int, level: int) -> tuple[Pair, ...]:
        came: dict[int, int] = {start: start}
        todo = deque([start])
        while todo and end not in came:
            unit = todo.popleft()
            for other, found in self._near[unit]:
                if found <= level and other not in came:
                    came[other] = unit
                    todo.append(other)
        path = []
        while end != start:
            path.append(ordered(end, came[end]))
            end = came[end]
        return tuple(path)

    def open_questions(self) -> dict[int, list[int]]:
        """For each innermost domain those others that it may yet be one with."""
        if self.leaf not in self.levels:
            return {}
        leaves = self.members(self.leaf)
        bit = {leaf: 1 << at for at, leaf in enumerate(leaves)}
        names = list(leaves)
        apart = dict.fromkeys(leaves, 0)
        for level in self.levels[self.leaf :]:
            within: dict[int, int] = {}
            for leaf in leaves:
                home = self.domain(leaf, level)
                within[home] = within.get(home, 0) | bit[leaf]
            beyond = dict.fromkeys(within, 0)
            for (a, b), found in self._pairs.items():
                if found > level:
                    one, other = self.domain(a, level), self.domain(b, level)
                    beyond[one] |= within[other]
                    beyond[other] |= within[one]
            for leaf in leaves:
                apart[leaf] |= beyond[self.domain(leaf, level)]
        every = (1 << len(names)) - 1
        return {
            leaf: list(_bits(every & ~apart[leaf] & ~bit[leaf], names))
            for leaf in leaves
            if every & ~apart[leaf] & ~bit[leaf]
        }


def _bits(mask: int, names: Sequence[int]) -> Iterable[int]:
    while mask:
        low = mask & -mask
        yield names[low.bit_length() - 1]
        mask ^= low
