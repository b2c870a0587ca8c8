"""Phases that stay: what tells quotas from the turns of a stack where hand-overs are blurred."""

from __future__ import annotations

from dataclasses import replace
from random import Random as Dice
from typing import TYPE_CHECKING

import pytest
from machines import MS, busy_guest

from scx_vsched.topology.phases import missed_meetings
from scx_vsched.topology.spins import CELL_NS, Spinner, Spins
from scx_vsched.topology.stacks import find_stacks_twice
from scx_vsched.topology.synthetic import (
    Always,
    Both,
    Hierarchy,
    Pattern,
    Periodic,
    Random,
    SyntheticMachine,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from scx_vsched.topology.records import Availability, Demand


class Emulated(SyntheticMachine):
    """Its vCPUs notice up to 0.4 ms later that they are back."""

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        """As of the machine, but each gap ends later."""
        dice = Dice(self.now_ns())
        return {
            vcpu: replace(
                seen,
                gaps=tuple(
                    replace(gap, length_ns=gap.length_ns + dice.randrange(400_000))
                    for gap in seen.gaps
                ),
            )
            for vcpu, seen in super().watch(vcpus, duration_ns, demand).items()
        }


def busy(truth: Hierarchy, runs: dict[int, Pattern], seed: int) -> Emulated:
    """A busy guest of a host that takes turns of 4 ms on its ticks."""
    return Emulated(busy_guest(truth, runs, slice_ns=4 * MS), seed)


@pytest.mark.parametrize("sets", [((0, 2),), ((0, 2, 4),)], ids=["pair", "three"])
@pytest.mark.parametrize(("here_ms", "away_ms"), [(8, 2), (14, 4), (6, 4)])
def test_stacks_are_found_by_turns_that_slip(
    sets: tuple[tuple[int, ...], ...], here_ms: int, away_ms: int
) -> None:
    truth = Hierarchy.regular(cores=5).stacked(*sets)
    for seed in range(10):
        runs = dict.fromkeys(range(5), Random(here_ms * MS, away_ms * MS))
        machine = busy(truth, runs, seed)
        assert find_stacks_twice(Spinner(machine), range(5)).sets == sets


@pytest.mark.parametrize("noise", [Always(), Random(50 * MS, 1 * MS), Random(10 * MS, 1 * MS)])
@pytest.mark.parametrize("period_ms", [4, 8, 20, 50])
def test_opposite_quotas_are_none_however_often_they_are_interrupted(
    period_ms: int, noise: Pattern
) -> None:
    half = period_ms * MS // 2
    for seed in range(10):
        runs: dict[int, Pattern] = {
            vcpu: Both(Periodic(half, 2 * half, vcpu % 2 * half), noise) for vcpu in range(4)
        }
        machine = busy(Hierarchy.regular(cores=4), runs, seed)
        assert find_stacks_twice(Spinner(machine), range(4)).sets == ()


def cells(*runs: tuple[float, float]) -> int:
    """The cells of runs, in ms from and to."""
    each = MS // CELL_NS
    return sum((1 << int(end * each)) - (1 << int(start * each)) for start, end in runs)


def test_a_slip_of_both_means_meetings_that_were_missed() -> None:
    one = [(at, at + 4) for at in range(0, 48, 8)] + [(at + 4, at + 8) for at in range(48, 96, 8)]
    other = [(at + 4, at + 8) for at in range(0, 40, 8)] + [(at, at + 4) for at in range(56, 96, 8)]
    stays = [(at, at + 4) for at in range(0, 96, 8)]
    opposite = [(at + 4, at + 8) for at in range(0, 96, 8)]
    spins = Spins(
        {0: cells(*one), 1: cells(*other), 2: cells(*stays), 3: cells(*opposite)}, 1920, {}
    )
    assert not spins.met(0, 1)
    assert missed_meetings(spins, 0, 1) > 2
    assert not spins.met(2, 3)
    assert missed_meetings(spins, 2, 3) == 0


def test_a_watch_of_few_turns_says_nothing() -> None:
    spins = Spins({0: cells((0, 4), (12, 16), (20, 24)), 1: cells((4, 12), (16, 20))}, 480, {})
    assert missed_meetings(spins, 0, 1) == 0
