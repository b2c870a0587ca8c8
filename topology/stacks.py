"""Stacked vCPUs: those that share one hardware thread, found without N² probes.

The vCPUs of a stack never run at the same time. More is asked of two that seem not to:

1. By chance they should have met often: on a crowded host two that are rarely there may miss each
   other for a while.
2. Each gets more time when those that it never meets are silent (`gains`): what a stack has is
   shared out, but not the time of two quotas in opposite phase. Or, since a busy guest's own tasks
   are never silent, one begins whenever the other stops (`handovers`), and no phases that stay
   explain why they never meet (`phases`): either is enough.
3. Alone with each other they do not meet either. The vCPUs of two stacks may change over in step
   and so miss each other as long as all of them spin.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.topology.gains import stacked_by_gain
from scx_vsched.topology.handovers import Handovers
from scx_vsched.topology.joined import components, is_whole
from scx_vsched.topology.phases import Phases
from scx_vsched.topology.spins import CELL_NS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scx_vsched.topology.placement import Pair
    from scx_vsched.topology.spins import Spinner, Spins

__all__ = ["Stacks", "find_stacks", "find_stacks_twice"]

_MS = 1_000_000

# The first watch of all vCPUs: some turns of a host that gives each of a stack 3-4 ms.
_FIRST_NS = 24 * _MS
# Later ones last for some of the alternations seen, but no longer than this.
_LONGEST_NS = 80 * _MS
_ALTERNATIONS = 2.5
# Two that are independent miss each other all the time with a probability of e to the power of
# minus the meetings expected; there are up to N² / 2 pairs of them.
_MEETINGS = 10.0
# After so long those that were not expected to meet so often are rarely there: nothing is clear.
_PATIENCE_NS = 500 * _MS
# Watches by which phases are refuted: of so many times the length, for some turns that slip.
_PHASE_WATCHES, _PHASES_LONGER, _PHASES_LONGEST_NS = 8, 6, 160 * _MS
# Two alone with each other: a turn or two of each.
_DUEL_NS = 12 * _MS


@dataclass(frozen=True, slots=True)
class Stacks:
    """The sets of stacked vCPUs, and pairs that may be stacked or not: nothing could show it."""

    sets: tuple[tuple[int, ...], ...]
    unclear: tuple[tuple[int, int], ...]
    spins: Spins  # of all vCPUs at the same time


def find_stacks(spinner: Spinner, vcpus: Collection[int]) -> Stacks:
    """The stacks among `vcpus`.

    One watch of all where no two vCPUs take turns; where some do, about ten more of those.
    """
    return _concluded(spinner, _look(spinner, vcpus, Handovers()))


def find_stacks_twice(spinner: Spinner, vcpus: Collection[int]) -> Stacks:
    """The stacks among `vcpus`; what chance left open is asked again, of those vCPUs alone.

    What was clear stays so, but for what the second look refutes.
    """
    handovers = Handovers()
    first = _look(spinner, vcpus, handovers)
    left = {*first.unclear, *first.rare}
    if not left:
        return _concluded(spinner, first)
    again = _look(spinner, {vcpu for pair in left for vcpu in pair}, handovers)
    asked = again.spins.active.keys()
    unrefuted = {*again.stacked, *again.unclear, *again.rare}
    stacked = [pair for pair in first.stacked if pair in unrefuted or not asked >= set(pair)]
    stacked += [pair for pair in again.stacked if pair not in stacked]
    left.difference_update(stacked)
    unclear = [pair for pair in again.unclear if pair in left]
    rare = [pair for pair in again.rare if pair in left]
    return _concluded(spinner, _Seen(stacked, unclear, rare, first.spins))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Pairs that are stacked, and that may be; what one of three does to the others is open yet.

    Those that are `rare` ran so little that chance may have kept them apart.
    """

    stacked: list[Pair]
    unclear: list[Pair]
    rare: list[Pair]
    spins: Spins


def _look(spinner: Spinner, vcpus: Collection[int], handovers: Handovers) -> _Seen:
    """Adds what it sees to `handovers`, of which what earlier looks saw counts, too."""
    spins = spinner.spin(vcpus, _FIRST_NS)
    partly = [vcpu for vcpu in sorted(spins.active) if spins.seen[vcpu].gaps]
    pairs = _strangers(spins, combinations(partly, 2))
    if not pairs:
        return _Seen([], [], [], spins)
    duration_ns = _watch_ns(spins, pairs)
    pairs, rare = _that_should_have_met(spinner, pairs, duration_ns)
    handovers.add(spins)
    stacked, unclear = stacked_by_gain(spinner, pairs, duration_ns, handovers)
    without, unclear = _without_phases(spinner, unclear, duration_ns)
    return _Seen([*stacked, *without], unclear, rare, spins)


def _concluded(spinner: Spinner, seen: _Seen) -> Stacks:
    stacked, unclear = _closed(seen.stacked, seen.unclear)
    if any(not is_whole(members, stacked) for members in components(stacked)):
        stacked = _after_duels(spinner, stacked)
    whole = [members for members in components(stacked) if is_whole(members, stacked)]
    placed = {vcpu for members in whole for vcpu in members}
    odd = [pair for pair in stacked if placed.isdisjoint(pair)]
    return Stacks(tuple(sorted(whole)), tuple(sorted([*seen.rare, *unclear, *odd])), seen.spins)


def _strangers(spins: Spins, pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs that never ran at the same time."""
    here = spins.active.keys()
    return [(a, b) for a, b in pairs if a in here and b in here and not spins.met(a, b)]


def _watch_ns(spins: Spins, pairs: Iterable[Pair]) -> int:
    """Long enough for some alternations."""
    lasted = spins.cells * CELL_NS
    members = {vcpu for pair in pairs for vcpu in pair}
    alternation = median(lasted / max(1, len(spins.seen[vcpu].gaps)) for vcpu in members)
    return int(min(_LONGEST_NS, max(_FIRST_NS, _ALTERNATIONS * alternation)))


def _that_should_have_met(
    spinner: Spinner, pairs: list[Pair], duration_ns: int
) -> tuple[list[Pair], list[Pair]]:
    """Those pairs that go on missing each other: often enough to be no chance, and the others."""
    expected = dict.fromkeys(pairs, 0.0)
    spent_ns = 0
    while expected and min(expected.values()) < _MEETINGS and spent_ns < _PATIENCE_NS:
        spins = spinner.spin({vcpu for pair in expected for vcpu in pair}, duration_ns)
        spent_ns += duration_ns
        expected = {
            (a, b): expected[a, b] + spins.meetings(a, b) for a, b in _strangers(spins, expected)
        }
    often = [pair for pair, meetings in expected.items() if meetings >= _MEETINGS]
    return often, [pair for pair in expected if pair not in often]


def _without_phases(
    spinner: Spinner, pairs: list[Pair], duration_ns: int
) -> tuple[list[Pair], list[Pair]]:
    """Those pairs that no phases keep apart, and those that are open; who meets is neither."""
    phases = Phases()
    stacked: list[Pair] = []
    unclear: list[Pair] = []
    for _ in range(_PHASE_WATCHES):
        if not pairs:
            break
        spins = spinner.spin(
            {vcpu for pair in pairs for vcpu in pair},
            min(_PHASES_LONGER * duration_ns, _PHASES_LONGEST_NS),
        )
        left: list[Pair] = []
        for pair in _strangers(spins, pairs):
            phases.add(spins, pair)
            if phases.refuted(pair):
                stacked.append(pair)
            elif phases.seem_to_stay(pair):
                unclear.append(pair)
            else:
                left.append(pair)
        pairs = left
    return stacked, sorted([*unclear, *pairs])


def _after_duels(spinner: Spinner, pairs: list[Pair]) -> list[Pair]:
    """The pairs that do not meet when nobody else spins whom either of them never meets."""
    left: list[Pair] = []
    due = list(pairs)
    while due:
        duels: list[Pair] = []
        for pair in due:
            against = {vcpu for one in pairs if not set(one).isdisjoint(pair) for vcpu in one}
            if all(against.isdisjoint(one) for one in duels):
                duels.append(pair)
        spins = spinner.spin({vcpu for pair in duels for vcpu in pair}, _DUEL_NS)
        left += _strangers(spins, duels)
        due = [pair for pair in due if pair not in duels]
    return left


def _closed(stacked: list[Pair], unclear: list[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Who is stacked with the same vCPU is stacked with each other, where nothing speaks against.

    Of three in turn some two hand over rarely. One that never runs while any of a stack does, and
    is in no other, is in it.
    """
    if not unclear:
        return stacked, unclear
    placed = {vcpu for pair in stacked for vcpu in pair}
    joins: list[Pair] = []
    for members in components(stacked):
        for vcpu in {vcpu for pair in unclear for vcpu in pair} - placed:
            between = [(min(vcpu, one), max(vcpu, one)) for one in members]
            if set(unclear).issuperset(between):
                joins += between
    stacked = [*stacked, *joins]
    unclear = [pair for pair in unclear if pair not in joins]
    sets = [set(members) for members in components(stacked)]
    follows = [pair for pair in unclear if any(one.issuperset(pair) for one in sets)]
    return [*stacked, *follows], [pair for pair in unclear if pair not in follows]
