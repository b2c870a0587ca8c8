"""Stacks of a guest whose own tasks want every vCPU all the time: nobody there is ever silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from machines import MS, NOISY, away, busy_guest

from scx_vsched.topology.domains import Level, members
from scx_vsched.topology.records import Demand
from scx_vsched.topology.spins import Spinner, Spins
from scx_vsched.topology.stacks import Stacks, find_stacks, find_stacks_twice
from scx_vsched.topology.synthetic import (
    Always,
    Both,
    Hierarchy,
    Pattern,
    Periodic,
    Random,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    from collections.abc import Collection


def busy(
    truth: Hierarchy, runs: dict[int, Pattern], seed: int, jitter: float = 0.1
) -> SyntheticMachine:
    """A guest with an endless task on each vCPU; `jitter` is of the host's slices in stacks."""
    return SyntheticMachine(busy_guest(truth, runs, slice_jitter=jitter), seed)


def stacks_of(machine: SyntheticMachine) -> Stacks:
    return find_stacks(Spinner(machine), machine.vcpus())


@pytest.mark.parametrize(
    "sets",
    [((0, 1),), ((0, 1, 2),), ((0, 4), (1, 5), (2, 6), (3, 7)), ((0, 1, 2), (3, 4, 5))],
    ids=["pair", "three", "all in pairs", "two threes"],
)
@pytest.mark.parametrize(("share", "cycle_ms"), [(0.0, 10), (0.3, 4), (0.3, 10), (0.5, 4)])
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_stacks_are_found_though_nobody_is_silent(
    sets: tuple[tuple[int, ...], ...], share: float, cycle_ms: float, jitter: float
) -> None:
    truth = Hierarchy.regular(cores=8).stacked(*sets)
    runs = {v: spec.runs for v, spec in away(truth, share, cycle_ms).items()} if share else {}
    for seed in range(4):
        assert stacks_of(busy(truth, runs, seed, jitter)).sets == sets


@pytest.mark.parametrize(("share", "cycle_ms"), [(0.3, 10), (0.6, 12), (0.75, 30)])
def test_a_contended_busy_guest_has_no_false_stacks(share: float, cycle_ms: float) -> None:
    truth = Hierarchy.regular(cores=5)
    runs = {vcpu: spec.runs for vcpu, spec in away(truth, share, cycle_ms).items()}
    for seed in range(50):
        assert stacks_of(busy(truth, runs, seed)).sets == ()


@pytest.mark.parametrize("between_us", [0, 10, 300])
@pytest.mark.parametrize("noise", [Always(), Random(50 * MS, 1 * MS), Random(10 * MS, 1 * MS)])
@pytest.mark.parametrize("period_ms", [4, 10, 20])
def test_quotas_that_fit_into_each_other_are_no_stacks(
    period_ms: int, noise: Pattern, between_us: int
) -> None:
    half = period_ms * MS // 2
    runs: dict[int, Pattern] = {
        vcpu: Both(Periodic(half - between_us * 1000, 2 * half, vcpu % 2 * half), noise)
        for vcpu in range(8)
    }
    for seed in range(3):
        found = stacks_of(busy(Hierarchy.regular(cores=8), runs, seed))
        assert found.sets == ()


@pytest.mark.parametrize(
    ("period_ms", "noise"),
    [(4, Random(10 * MS, 1 * MS)), (10, Random(6 * MS, 2 * MS)), (20, Random(6 * MS, 2 * MS))],
)
def test_gains_by_chance_are_no_stacks_of_an_idle_guest(period_ms: int, noise: Pattern) -> None:
    half = period_ms * MS // 2
    vcpus = {
        vcpu: VCpuSpec(Both(Periodic(half, 2 * half, vcpu % 2 * half), noise)) for vcpu in range(8)
    }
    for seed in range(10):
        spec = SyntheticSpec(Hierarchy.regular(cores=8), vcpus, noise=NOISY)
        assert stacks_of(SyntheticMachine(spec, seed)).sets == ()


def test_an_overlap_shorter_than_a_gap_that_is_seen_proves_nothing() -> None:
    cells = {0: 0b1111111111, 1: 0b0000111111 << 4, 2: 0b1111111 << 3}
    spins = Spins(cells, 16, {})
    assert spins.together(0, 1) == 6
    assert not spins.met(0, 1)
    assert spins.met(0, 2)


class Asked(Spinner):
    """Keeps whom it made spin."""

    def __init__(self, machine: SyntheticMachine) -> None:
        super().__init__(machine)
        self.groups: list[set[int]] = []

    def spin(self, vcpus: Collection[int], duration_ns: int) -> Spins:
        self.groups.append(set(vcpus))
        return super().spin(vcpus, duration_ns)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_open_is_asked_again_and_what_is_clear_is_not(seed: int) -> None:
    """Two that are rarely there stay open, and take no stack with them."""
    truth = Hierarchy.regular(cores=5).stacked((0, 2, 4))
    runs: dict[int, Pattern] = {
        vcpu: Periodic(1 * MS, 20 * MS, phase * MS) for vcpu, phase in ((1, 0), (3, 10))
    }
    spinner = Asked(busy(truth, runs, seed))
    found = find_stacks_twice(spinner, range(5))
    assert found.sets == ((0, 2, 4),)
    assert found.unclear == ((1, 3),)
    everyone = [number for number, group in enumerate(spinner.groups) if len(group) == 5]
    again = spinner.groups[spinner.groups.index({1, 3}, everyone[-1]) :]
    assert len(again) > 1
    assert set[int]().union(*again) == {1, 3}


@pytest.mark.parametrize("seed", range(5))
def test_one_that_is_rarely_there_joins_no_stack(seed: int) -> None:
    truth = Hierarchy.regular(cores=4).stacked((0, 2))
    machine = busy(truth, {3: Periodic(1 * MS, 60 * MS)}, seed)
    assert find_stacks_twice(Spinner(machine), range(4)).sets == ((0, 2),)


@pytest.mark.parametrize("period_ms", [6, 10, 18])
def test_quotas_in_step_are_no_stacks(period_ms: int) -> None:
    runs: dict[int, Pattern] = {
        vcpu: Periodic(period_ms * MS // 3, period_ms * MS) for vcpu in range(6)
    }
    assert stacks_of(busy(Hierarchy.regular(cores=6), runs, 1)).sets == ()


def test_a_whole_probe_of_a_busy_guest_places_its_stack() -> None:
    truth = Hierarchy.regular(sockets=2, cores=4).stacked((1, 6))
    topology = probe_topology(busy(truth, {}, 3))
    stacks = members(topology.domains, Level.STACK).values()
    assert [tuple(stack) for stack in stacks if len(stack) > 1] == [(1, 6)]


def test_an_ordinary_spinner_misses_what_the_host_takes_from_the_guests_own_tasks() -> None:
    machine = busy(Hierarchy.regular(cores=2).stacked((0, 1)), {}, 1)
    ordinary = machine.watch([0, 1], 100 * MS, Demand.NORMAL)[0]
    urgent = machine.watch([0, 1], 100 * MS, Demand.URGENT)[0]
    away_ns = [sum(gap.length_ns for gap in seen.gaps) for seen in (ordinary, urgent)]
    assert away_ns[0] < 35 * MS < 45 * MS < away_ns[1]
    assert ordinary.lost_ns > 40 * MS
    assert urgent.lost_ns == 0
