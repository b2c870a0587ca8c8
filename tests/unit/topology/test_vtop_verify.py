"""Verification of a measured topology: quick, no false alarm, no change missed."""

from __future__ import annotations

import pytest
from machines import MS, NOISY, away, machine, quotas
from sweep import CHANGED, noticed_after

from scx_vsched.topology.comparisons import chains, crossings
from scx_vsched.topology.synthetic import (
    Change,
    Hierarchy,
    Noise,
    Periodic,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.verify import Verdict, Verifier
from scx_vsched.topology.vtop import probe_topology

TRUTH = Hierarchy.regular(1, 4, 1, 4, 2).permuted(1)
PERIOD_NS = 2000 * MS
CHANGES_NS = 6000 * MS


def verdicts(synthetic: SyntheticMachine, number: int) -> list[tuple[int, Verdict]]:
    """When each of some verifications, a period apart, began, and what it said."""
    verifier = Verifier(synthetic, probe_topology(synthetic))
    found = []
    for _ in range(number):
        start_ns = synthetic.now_ns()
        found.append((start_ns, verifier.verify()))
        synthetic.sleep_ns(PERIOD_NS)
    return found


def changing(before: Hierarchy, change: Change) -> list[tuple[int, Verdict]]:
    spec = SyntheticSpec(before, noise=NOISY, changes=(change,))
    return verdicts(SyntheticMachine(spec, 1), 6)


def test_it_takes_a_fifth_of_a_second_at_most() -> None:
    for truth in (TRUTH, Hierarchy.regular(cores=32)):
        for vcpus in ({}, away(truth, 0.3)):
            for _, verdict in verdicts(machine(truth, 1, vcpus=vcpus), 4):
                assert verdict.effort.elapsed_ns <= 200 * MS
                assert verdict.checked >= 29


@pytest.mark.parametrize(
    "noise",
    [NOISY, Noise(pair=0.05, sample=0.15, outliers=0.05, preempted=0.3, spoilt=0.03)],
    ids=["noisy", "noisier"],
)
def test_noise_raises_no_alarm(noise: Noise, long_run: bool) -> None:
    found = verdicts(machine(TRUTH, 2, noise=noise), 500 if long_run else 60)
    assert [verdict.reason for _, verdict in found if verdict.changed] == []


def test_preemption_and_stacks_raise_no_alarm() -> None:
    truth = TRUTH.stacked((0, 1), (4, 9, 20))
    found = verdicts(machine(truth, 3, vcpus=away(truth, 0.3)), 15)
    assert [verdict.reason for _, verdict in found if verdict.changed] == []


def test_capacity_is_no_matter() -> None:
    slow = {vcpu: VCpuSpec(Periodic(4 * MS, 10 * MS), speed=0.5) for vcpu in range(0, 32, 2)}
    found = changing(TRUTH, Change(CHANGES_NS, vcpus=slow))
    assert not any(verdict.changed for _, verdict in found)


@pytest.mark.parametrize("change", CHANGED)
def test_a_migration_is_noticed_within_two_periods(change: str) -> None:
    for seed in range(2):
        assert 1 <= noticed_after(*CHANGED[change], seed) <= 2


def test_all_pairs_of_a_large_domain_are_compared_in_turn() -> None:
    domains = Hierarchy.regular(cores=100).domains()
    first, second = ({*crossings(domains, turn)} for turn in (0, 1))
    # half the machine apart: the usual numbering of siblings
    assert {(vcpu, vcpu + 50) for vcpu in range(50)} <= first & second
    everyone = {pair for turn in range(7) for pair in crossings(domains, turn)}
    assert len(everyone | {*chains(domains, 0)}) == 100 * 99 / 2


def test_what_never_meets_is_examined_once() -> None:
    truth = Hierarchy.regular(cores=8)
    found = verdicts(machine(truth, 1, vcpus=quotas(truth, 5, 10)), 3)
    assert not any(verdict.changed for _, verdict in found)
    assert found[0][1].effort.watches > 1
    assert found[1][1].effort.watches == found[2][1].effort.watches == 0


def test_a_vcpu_that_leaves_is_no_change_of_the_others() -> None:
    found = changing(TRUTH, Change(CHANGES_NS, offline=frozenset({3, 4})))
    assert not any(verdict.changed for _, verdict in found)
    assert found[-1][1].left == (3, 4)


def test_a_vcpu_that_comes_is_a_change() -> None:
    spec = SyntheticSpec(
        TRUTH,
        offline=frozenset({7}),
        changes=(Change(CHANGES_NS, offline=frozenset()),),
    )
    found = verdicts(SyntheticMachine(spec, 1), 6)
    assert [verdict.reason for _, verdict in found][-1] == "vCPU 7 came online"
    assert found[0][1].reason is None


def test_one_vcpu_alone_is_fine() -> None:
    assert not verdicts(machine(Hierarchy.regular(), 1), 1)[0][1].changed
