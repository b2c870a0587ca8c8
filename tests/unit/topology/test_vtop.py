"""The full probe on synthetic machines: exact, within its count of probes and its time."""

from __future__ import annotations

import pytest
from machines import MS, NOISY, Case, away, expected, found, machine, quotas, try_case
from sweep import SHAPES, SIZES, tried

from scx_vsched.topology.domains import Level, members
from scx_vsched.topology.records import Relation
from scx_vsched.topology.spins import Spinner
from scx_vsched.topology.stacks import find_stacks
from scx_vsched.topology.synthetic import (
    Both,
    Change,
    Hierarchy,
    Noise,
    Periodic,
    Random,
    SyntheticMachine,
    SyntheticSpec,
    VCpuSpec,
)
from scx_vsched.topology.vtop import probe_topology

FOUR_SOCKETS = Hierarchy.regular(1, 4, 1, 4, 2)
UNEVEN = Hierarchy.of([[[[2, 2, 1], [2, 2]]], [[[2] * 5, [1, 1, 1, 1]]]])
SMALL = [
    Hierarchy.regular(cores=1),
    Hierarchy.regular(cores=2),
    Hierarchy.regular(threads=2),
    Hierarchy.regular(cores=3),
    Hierarchy.regular(nodes=2, cores=2),
    Hierarchy.regular(cores=4, threads=2),
    Hierarchy.regular(cores=8),
    Hierarchy.regular(nodes=2, cores=4),
    Hierarchy.regular(sockets=2, cores=3, threads=2),
    Hierarchy.regular(2, 1, 2, 2, 2),
    UNEVEN,
    Hierarchy.regular(cores=32),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("truth", SMALL, ids=lambda truth: str(len(truth.places)))
def test_any_numbering_of_a_small_machine_is_seen_through(truth: Hierarchy, seed: int) -> None:
    outcome = try_case(Case("", truth), seed)
    assert outcome.exact
    assert outcome.probes <= 6


@pytest.mark.parametrize("seed", range(5))
def test_32_vcpus_take_half_a_second_at_most(seed: int) -> None:
    for share in (0.0, 0.3):
        outcome = try_case(Case("", FOUR_SOCKETS, away=share), seed)
        assert outcome.exact
        assert outcome.probes <= 6
        assert outcome.simulated_s <= 0.5


def test_256_vcpus_take_three_seconds_at_most() -> None:
    outcome = try_case(Case("", Hierarchy.regular(2, 2, 4, 8, 2), away=0.3), 1)
    assert outcome.exact
    assert outcome.probes <= 6
    assert outcome.simulated_s <= 3


def test_512_vcpus_are_placed() -> None:
    outcome = try_case(Case("", Hierarchy.regular(2, 2, 4, 32, 1)), 1)
    assert outcome.exact
    assert outcome.probes <= 6
    assert outcome.real_s < 20


@pytest.mark.parametrize("claims", ["right", "wrong"])
def test_claims_decide_nothing(claims: str) -> None:
    for seed in range(3):
        outcome = try_case(Case("", FOUR_SOCKETS, claims=claims), seed)
        assert outcome.exact
        assert outcome.probes <= 6


def test_right_claims_tell_sockets_from_nodes() -> None:
    truth = Hierarchy.regular(sockets=2, cores=4, threads=2).permuted(3)
    topology = probe_topology(machine(truth, 3), truth.claimed())
    assert set(topology.class_latency_ns) == {Relation.SMT, Relation.LLC, Relation.NODE}
    assert len(members(topology.domains, Level.NODE)) == 1
    assert len(members(topology.domains, Level.SOCKET)) == 2


def test_the_latency_of_each_class_is_its_median() -> None:
    truth = Hierarchy.regular(2, 2, 2, 4, 2)
    latency = probe_topology(machine(truth, 1)).class_latency_ns
    # the lower quartile of samples with 10 % noise is 7 % below their middle
    assert latency == pytest.approx(
        {
            Relation.SMT: 5.4,
            Relation.LLC: 42,
            Relation.SOCKET: 70,
            Relation.NODE: 112,
            Relation.APART: 187,
        },
        rel=0.1,
    )


@pytest.mark.parametrize("seed", range(4))
def test_stacked_pairs_and_threes_are_found(seed: int) -> None:
    truth = UNEVEN.stacked((0, 7), (3, 12, 20)).permuted(seed)
    for vcpus in ({}, away(truth, 0.3)):
        topology = probe_topology(machine(truth, seed, vcpus=vcpus))
        assert found(topology) == expected(truth)


def test_a_stacked_pair_counts_as_measured_without_latency() -> None:
    truth = FOUR_SOCKETS.stacked((4, 5))
    topology = probe_topology(machine(truth, 2))
    assert topology.pairs[4, 5].relation is Relation.STACKED
    assert topology.pairs[4, 5].measured
    assert topology.pairs[4, 5].latency_ns is None


@pytest.mark.parametrize("period_ms", [4, 10, 20, 40])
def test_quotas_in_opposite_phase_are_no_stacks(period_ms: int) -> None:
    truth = Hierarchy.regular(cores=16)
    for seed in range(3):
        vcpus = quotas(truth, period_ms // 2, period_ms)
        topology = probe_topology(machine(truth, seed, vcpus=vcpus))
        assert len(members(topology.domains, Level.STACK)) == len(topology.domains)
        # one half never meets the other, and that is said
        assert topology.notes


@pytest.mark.parametrize(("cores", "share", "cycle_ms"), [(4, 0.6, 12), (8, 0.75, 30)])
def test_a_contended_machine_has_no_false_stacks(cores: int, share: float, cycle_ms: float) -> None:
    truth = Hierarchy.regular(cores=cores)
    for seed in range(50):
        synthetic = machine(truth, seed, vcpus=away(truth, share, cycle_ms))
        assert find_stacks(Spinner(synthetic), synthetic.vcpus()).sets == ()


@pytest.mark.parametrize(
    "sets",
    [((0, 1),), ((0, 1, 2),), ((0, 4), (1, 5), (2, 6), (3, 7)), ((0, 1, 2), (3, 4, 5))],
    ids=["pair", "three", "all in pairs", "threes in step"],
)
@pytest.mark.parametrize(("share", "cycle_ms"), [(0.0, 10), (0.3, 4), (0.3, 10), (0.5, 4)])
def test_stacks_are_found_on_a_contended_machine(
    sets: tuple[tuple[int, ...], ...], share: float, cycle_ms: float
) -> None:
    truth = Hierarchy.regular(cores=8).stacked(*sets)
    seeds, seen = 5, 0
    for seed in range(seeds):
        vcpus = away(truth, share, cycle_ms) if share else {}
        synthetic = machine(truth, seed, vcpus=vcpus)
        stacks = find_stacks(Spinner(synthetic), synthetic.vcpus())
        assert set(stacks.sets) <= set(sets)
        # what is not found is said
        unclear = {vcpu for pair in stacks.unclear for vcpu in pair}
        assert all(one in stacks.sets or unclear.intersection(one) for one in sets)
        seen += stacks.sets == sets
    assert seen == seeds if share < 0.5 else seen >= seeds - 1


@pytest.mark.parametrize("period_ms", [10, 18, 40])
def test_quotas_apart_in_phase_are_no_stacks_on_a_noisy_host_either(period_ms: int) -> None:
    noise = Random(50 * MS, 1 * MS)
    quota = period_ms * MS // 3
    vcpus = {
        vcpu: VCpuSpec(Both(Periodic(quota, period_ms * MS, vcpu * period_ms * MS // 8), noise))
        for vcpu in range(8)
    }
    for seed in range(5):
        synthetic = machine(Hierarchy.regular(cores=8), seed, vcpus=vcpus)
        assert find_stacks(Spinner(synthetic), synthetic.vcpus()).sets == ()


def test_a_straggler_is_placed_too() -> None:
    truth = FOUR_SOCKETS.permuted(5)
    straggler = VCpuSpec(Periodic(1 * MS, 20 * MS))
    topology = probe_topology(machine(truth, 5, vcpus={3: straggler}))
    assert found(topology)[Level.LLC] == expected(truth)[Level.LLC]


def test_a_vcpu_that_never_runs_is_unknown_with_the_reason() -> None:
    truth = Hierarchy.regular(cores=4)
    never = VCpuSpec(Periodic(1, 10_000 * MS))
    topology = probe_topology(machine(truth, 1, vcpus={2: never}))
    assert sorted(topology.domains) == [0, 1, 3]
    assert "never ran" in topology.unknown[2]


@pytest.mark.parametrize("after_ms", [5, 60, 105, 112])
def test_a_vcpu_that_leaves_in_the_middle_is_unknown_and_the_others_are_placed(
    after_ms: int,
) -> None:
    gone = Change(1000 * MS + after_ms * MS, offline=frozenset({6}))
    spec = SyntheticSpec(Hierarchy.regular(2, 1, 1, 8, 2), noise=NOISY, changes=(gone,))
    topology = probe_topology(SyntheticMachine(spec, 1))
    assert sorted(topology.domains) == [vcpu for vcpu in range(32) if vcpu != 6]
    assert "offline" in topology.unknown[6]
    assert {len(vcpus) for vcpus in members(topology.domains, Level.LLC).values()} == {15, 16}


def test_vcpus_that_are_offline_are_named() -> None:
    spec = SyntheticSpec(Hierarchy.regular(cores=4), offline=frozenset({1}))
    topology = probe_topology(SyntheticMachine(spec, 1))
    assert sorted(topology.domains) == [0, 2, 3]
    assert topology.unknown == {1: "offline"}


def test_the_count_of_probes_is_the_machines_own() -> None:
    synthetic = machine(FOUR_SOCKETS.permuted(1), 1)
    start_ns = synthetic.now_ns()
    effort = probe_topology(synthetic).effort
    assert effort.pair_probes == synthetic.counters.pair_probes
    assert effort.rounds == synthetic.counters.rounds
    assert effort.watches == synthetic.counters.watches
    assert effort.elapsed_ns == synthetic.now_ns() - start_ns


def test_wholly_spoilt_probes_are_outvoted() -> None:
    spoilt = Noise(sample=0.1, preempted=0.3, spoilt=0.02)
    outcomes = [try_case(Case("", FOUR_SOCKETS, noise=spoilt), seed) for seed in range(10)]
    assert sum(outcome.exact for outcome in outcomes) >= 9
    assert max(outcome.probes for outcome in outcomes) <= 6


@pytest.mark.parametrize("shape", SHAPES)
def test_machines_of_any_shape_are_seen_through(shape: str) -> None:
    for case, seed, outcome in tried([SHAPES[shape]], 1):
        assert outcome.exact, (case.name, seed)
        assert outcome.probes <= 6, (case.name, seed)


def test_sweep(long_run: bool) -> None:
    if not long_run:
        pytest.skip("takes minutes: --long")
    for shapes in SIZES.values():
        for case, seed, outcome in tried(shapes, 10):
            assert outcome.exact, (case.name, seed)
            assert outcome.probes <= 6, (case.name, seed)
