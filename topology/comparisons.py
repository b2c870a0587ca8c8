"""Which pairs tell that a known topology still holds.

Within every domain its parts are compared, each part spoken for by one vCPU. That a domain has not
come apart show neighbours: a chain through all of its parts holds only while none has left. That
no two parts have become one shows nothing less than all pairs of them. These come in rounds of
disjoint pairs, of which every verification takes its share: all of them come up within two while a
domain has no more than 33 parts. Of larger ones those pairs come first that would share a domain by
the usual numberings: half of the parts apart, or a power of two.
"""

from __future__ import annotations

from itertools import chain, pairwise
from typing import TYPE_CHECKING

from scx_vsched.topology.domains import Level, members
from scx_vsched.topology.placement import ordered
from scx_vsched.topology.questions import every_pair

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.placement import Pair

__all__ = ["chains", "crossings"]

# Rounds of all pairs of a domain's parts in one verification. Each takes about a millisecond.
_ROUNDS = 16


def _parts(domains: Mapping[int, Domains], turn: int) -> Iterator[list[int]]:
    """For each domain one vCPU of each of its parts, from cores outwards, at last of the machine.

    Who speaks for a part changes with `turn`.
    """
    speakers = [vcpus[0] for vcpus in members(domains, Level.STACK).values()]
    for level in tuple(Level)[Level.CORE :]:
        inside = {vcpu: domains[vcpu] for vcpu in sorted(speakers)}
        found = [list(vcpus) for vcpus in members(inside, level).values()]
        yield from found
        speakers = [vcpus[turn % len(vcpus)] for vcpus in found]
    yield sorted(speakers)


def chains(domains: Mapping[int, Domains], turn: int) -> list[Pair]:
    """Neighbours: that they are as near as ever says that no domain has come apart."""
    return [ordered(a, b) for parts in _parts(domains, turn) for a, b in pairwise(parts)]


def crossings(domains: Mapping[int, Domains], turn: int) -> list[Pair]:
    """Others: that they are as far apart as ever says that no two domains have become one."""
    pairs = []
    for parts in _parts(domains, turn):
        near = {ordered(a, b) for a, b in pairwise(parts)}
        wanted = dict.fromkeys(chain.from_iterable(_rounds(parts, turn)))
        pairs += [pair for pair in wanted if pair not in near]
    return pairs


def _rounds(parts: Sequence[int], turn: int) -> Iterator[list[Pair]]:
    """Disjoint pairs of parts."""
    number = len(parts)
    if number < 3:
        return
    every = list(every_pair(parts))
    turns = max(2, -(-len(every) // _ROUNDS))
    if turns > 2:
        for step in sorted({1 << bit for bit in range(1, number.bit_length())} | {number // 2}):
            apart = [ordered(parts[at], parts[at + step]) for at in range(number - step)]
            yield from (
                [pair for at, pair in enumerate(apart) if at // step % 2 == half] for half in (0, 1)
            )
    yield from every[turn % turns :: turns]
