"""Processes that share memory form groups that move together.

Mappings join for as long as both have them. Pipes and sockets join processes that were busy at the
same time: a shell that waits at a pipe's end exchanges nothing. What very many hold (a log's
socket, a screen's buffer) joins nobody, nor does a process with very many partners by channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from scx_vsched.numa.shares import Key, Shares

__all__ = ["MOST_PARTNERS", "MOST_SHARERS", "Channels", "UnionFind", "form_groups"]

MOST_SHARERS = 16
"""Processes that may hold a mapping or a channel for it to join them."""

MOST_PARTNERS = 4
"""Other processes with which one may share channels for these to join it."""

type Who = tuple[int, int]
"""A process: its number and its start."""


class UnionFind:
    """Sets that grow together; members appear when they are first named."""

    def __init__(self, members: Iterable[Who] = ()) -> None:
        self._parent: dict[Who, Who] = {member: member for member in members}

    def find(self, member: Who) -> Who:
        """The one that stands for the set of `member`."""
        parent = self._parent.setdefault(member, member)
        while parent != self._parent[parent]:
            self._parent[member] = parent = self._parent[parent]
            member = parent
        return parent

    def join(self, one: Who, other: Who) -> None:
        """Make one set of both; the lower of those that stand for them stands for it."""
        low, high = sorted((self.find(one), self.find(other)))
        self._parent[high] = low

    def sets(self) -> list[tuple[Who, ...]]:
        """All sets, each in order, by their first members."""
        found: dict[Who, list[Who]] = {}
        for member in self._parent:
            found.setdefault(self.find(member), []).append(member)
        return sorted(tuple(sorted(members)) for members in found.values())


@dataclass(slots=True)
class Channels:
    """Pairs of processes that were busy at the ends of a pipe or socket at the same time."""

    pairs: dict[tuple[Who, Who], Key]

    def follow(self, shares: Mapping[Who, Shares], busy: Collection[Who]) -> None:
        """Take in what `busy` processes have in common now, and forget what has been closed."""
        self.pairs = {
            (one, other): key
            for (one, other), key in self.pairs.items()
            if one in shares and other in shares and _talk(shares[one], shares[other], key)
        }
        held = {who: shares[who].reads | shares[who].writes for who in busy}
        for key, holders in _holders(held).items():
            for one, other in combinations(sorted(holders), 2):
                if _talk(shares[one], shares[other], key):
                    self.pairs.setdefault((one, other), key)

    def joining(self) -> list[tuple[Who, Who]]:
        """The pairs that join: none of a process with very many partners."""
        partners: dict[Who, set[Who]] = {}
        for one, other in self.pairs:
            partners.setdefault(one, set()).add(other)
            partners.setdefault(other, set()).add(one)
        return [
            pair for pair in self.pairs if all(len(partners[who]) <= MOST_PARTNERS for who in pair)
        ]


def form_groups(shares: Mapping[Who, Shares], channels: Channels) -> list[tuple[Who, ...]]:
    """Every process of `shares` in one group, alone or with those that it shares with."""
    union = UnionFind(shares)
    written = {
        mapped.key for each in shares.values() for mapped in each.mapped.values() if mapped.writable
    }
    mapped = {who: {m.key for m in each.mapped.values()} & written for who, each in shares.items()}
    for holders in _holders(mapped).values():
        first, *others = sorted(holders)
        for other in others:
            union.join(first, other)
    for one, other in channels.joining():
        union.join(one, other)
    return union.sets()


def _talk(one: Shares, other: Shares, key: Key) -> bool:
    """Whether one can write what the other reads: two that write to the same log do not."""
    return (key in one.writes and key in other.reads) or (key in one.reads and key in other.writes)


def _holders(held: Mapping[Who, Iterable[Key]]) -> dict[Key, set[Who]]:
    """Who holds what several hold, but not very many."""
    found: dict[Key, set[Who]] = {}
    for who, keys in held.items():
        for key in keys:
            found.setdefault(key, set()).add(who)
    return {key: who for key, who in found.items() if 1 < len(who) <= MOST_SHARERS}
