"""Domains that hold vCPUs: stack ⊂ core ⊂ last-level cache ⊂ socket ⊂ NUMA node.

Plain records; nothing here needs networkx, so `run` can use it in a slow guest.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

__all__ = [
    "LEVEL_NAMES",
    "Domains",
    "Level",
    "Partition",
    "check_nesting",
    "combine",
    "members",
    "numbered",
    "partition",
    "relation",
]

type Partition = frozenset[frozenset[int]]
"""The sets of vCPUs that share a domain; every vCPU is in exactly one."""


class Level(IntEnum):
    """Kinds of domains, smallest first; the values are those of `Relation`."""

    STACK = Relation.STACKED  # one hardware thread
    CORE = Relation.SMT
    LLC = Relation.LLC
    SOCKET = Relation.SOCKET
    NODE = Relation.NODE


LEVEL_NAMES = {
    Level.STACK: "hardware thread",
    Level.CORE: "core",
    Level.LLC: "last-level cache",
    Level.SOCKET: "socket",
    Level.NODE: "NUMA node",
}


@dataclass(frozen=True, slots=True)
class Domains:
    """The domains of one vCPU.

    Each is an index that is unique in the machine, not only within the next larger domain. Indices
    count from 0 without gaps, in the order of each domain's lowest vCPU (see `numbered`).
    """

    stack: int
    core: int
    llc: int
    socket: int
    node: int

    def at(self, level: Level) -> int:
        """The index of the domain of that level."""
        return (self.stack, self.core, self.llc, self.socket, self.node)[level]


def relation(a: Domains, b: Domains) -> Relation:
    """The smallest domain that both are in."""
    for level in Level:
        if a.at(level) == b.at(level):
            return Relation(level)
    return Relation.APART


def numbered(keys: Mapping[int, Sequence[Hashable]]) -> dict[int, Domains]:
    """Domains from any keys: five for each vCPU, from the stack's to the node's.

    Equal keys at a level mean the same domain if all larger domains are the same too, so keys need
    not be unique in the machine (core 0 of socket 1 is not core 0 of socket 0).
    """
    indices: list[dict[tuple[Hashable, ...], int]] = [{} for _ in Level]
    found = {}
    for vcpu in sorted(keys):
        own = tuple(keys[vcpu])
        place = [indices[level].setdefault(own[level:], len(indices[level])) for level in Level]
        found[vcpu] = Domains(*place)
    return found


def members(domains: Mapping[int, Domains], level: Level) -> dict[int, tuple[int, ...]]:
    """The vCPUs of each domain of a level, both in increasing order."""
    sets: dict[int, list[int]] = {}
    for vcpu in sorted(domains):
        sets.setdefault(domains[vcpu].at(level), []).append(vcpu)
    return {index: tuple(sets[index]) for index in sorted(sets)}


def partition(domains: Mapping[int, Domains], level: Level) -> Partition:
    """The vCPUs as sets that share a domain of that level: what remains without the numbering."""
    return frozenset(frozenset(vcpus) for vcpus in members(domains, level).values())


def check_nesting(domains: Mapping[int, Domains]) -> None:
    """Raises UserError, naming two vCPUs, where a domain lies in two larger ones."""
    for level in tuple(Level)[:-1]:
        outer = Level(level + 1)
        first: dict[int, int] = {}
        for vcpu in sorted(domains):
            index = domains[vcpu].at(level)
            other = first.setdefault(index, vcpu)
            if domains[vcpu].at(outer) != domains[other].at(outer):
                raise UserError(
                    f"{LEVEL_NAMES[level]} {index} has two parents: {LEVEL_NAMES[outer]} "
                    f"{domains[other].at(outer)} by vCPU {other} and {domains[vcpu].at(outer)} "
                    f"by vCPU {vcpu}"
                )


def combine(measured: Mapping[int, Domains], claimed: Mapping[int, Domains]) -> dict[int, Domains]:
    """What was measured, and for vCPUs that were not the place that they claim.

    Measured domains are taken as they are. A vCPU without measurement (offline, hidden) joins the
    measured domain that holds most of the vCPUs with which it claims to share one, at the smallest
    level where it claims to share any; below that it is alone with those unmeasured vCPUs that
    claim the same. Nothing is ever taken to be stacked by a claim. What is claimed of vCPUs that
    were measured does not matter.
    """
    keys: dict[int, tuple[Hashable, ...]] = {
        vcpu: tuple(("measured", own.at(level)) for level in Level)
        for vcpu, own in measured.items()
    }
    for vcpu in sorted(claimed.keys() - measured.keys()):
        own = claimed[vcpu]
        place: list[Hashable] = [("claimed", own.at(level)) for level in Level]
        for level in tuple(Level)[Level.CORE :]:
            peers = [
                peer
                for peer in sorted(measured)
                if peer in claimed and claimed[peer].at(level) == own.at(level)
            ]
            if peers:
                counts = Counter(measured[peer].at(level) for peer in peers)
                home = next(
                    p for p in peers if measured[p].at(level) == counts.most_common(1)[0][0]
                )
                place[level:] = keys[home][level:]
                break
        place[Level.STACK] = ("alone", vcpu)
        keys[vcpu] = tuple(place)
    return numbered(keys)
