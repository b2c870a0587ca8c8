"""Capacity on machines that know the truth: accuracy, speed of reaction, calm, cost."""

from __future__ import annotations

import pytest
from probing import (
    MS,
    SECOND,
    changes_a_minute,
    duty,
    load,
    machine,
    quota,
    rounds,
    settling_s,
    steady_patterns,
)

from scx_vsched.topology.measure import Evidence
from scx_vsched.topology.synthetic import Always, Change, Periodic, Random, Steal, VCpuSpec
from scx_vsched.topology.vcap import Vcap

SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
STEPS = ((1.0, 0.5), (0.5, 1.0), (0.8, 0.3), (0.3, 0.8), (0.6, 0.1), (0.1, 0.6))


@pytest.mark.parametrize("steal", [Steal.NONE, Steal.TRUE])
@pytest.mark.parametrize("busy", [True, False])
def test_shares_are_right_within_the_issues_bounds(busy: bool, steal: Steal) -> None:
    errors = []
    for period in (10, 20, 50, 100):
        vcpus = [VCpuSpec(quota(s, period, s * 0.77), load=load(busy=busy)) for s in SHARES]
        synthetic = machine(*vcpus, steal=steal, seed=period)
        vcap = Vcap(synthetic, seed=period)
        list(rounds(vcap, synthetic, 8 * SECOND))
        found = vcap.estimates()
        errors += [abs(found[i].share - share) for i, share in enumerate(SHARES)]
    assert sum(errors) / len(errors) <= 0.02
    assert max(errors) <= 0.05


def test_random_preemption_averages_to_the_true_share() -> None:
    vcpus = [VCpuSpec(Random(8 * MS, 4 * MS, shape=2.0), load=Always()) for _ in range(8)]
    synthetic = machine(*vcpus)
    vcap = Vcap(synthetic, seed=1)
    start = synthetic.now_ns()
    list(rounds(vcap, synthetic, 15 * SECOND))
    for vcpu, estimate in vcap.estimates().items():
        true = synthetic.share(vcpu, start, synthetic.now_ns())
        assert estimate.share == pytest.approx(true, abs=0.08)


@pytest.mark.parametrize("steal", [Steal.NONE, Steal.TRUE])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("busy", [True, False])
def test_a_step_shows_to_90_percent_within_3_seconds(busy: bool, seed: int, steal: Steal) -> None:
    for number, (before, after) in enumerate(STEPS):
        synthetic = machine(VCpuSpec(quota(before, 18, 0.3), load=load(busy=busy)))
        at = synthetic.now_ns() + 9 * SECOND + seed * 370 * MS + number * 91 * MS
        spec = VCpuSpec(quota(after, 18, 0.7), load=load(busy=busy))
        synthetic = machine(
            VCpuSpec(quota(before, 18, 0.3), load=load(busy=busy)),
            steal=steal,
            changes=(Change(at, vcpus={0: spec}),),
            seed=seed,
        )
        vcap = Vcap(synthetic, seed=seed)
        right_since = None
        for now in rounds(vcap, synthetic, 9 * SECOND + 8 * SECOND):
            off = abs(vcap.estimates()[0].capacity / 1024 - after)
            if off > 0.1 * abs(after - before) + 0.001:
                right_since = None
            elif right_since is None and now > at:
                right_since = now
        assert right_since is not None, (before, after)
        assert right_since - at <= 3 * SECOND, (before, after)


@pytest.mark.parametrize("busy", [True, False])
def test_a_steady_machine_changes_no_placement(busy: bool) -> None:
    patterns = (
        Always(),
        Periodic(6 * MS, 18 * MS),
        Periodic(12 * MS, 18 * MS, 5 * MS),
        Random(20 * MS, 20 * MS, shape=40.0),
    )
    synthetic = machine(*(VCpuSpec(pattern, load=load(busy=busy)) for pattern in patterns))
    vcap = Vcap(synthetic, seed=3)
    list(rounds(vcap, synthetic, 15 * SECOND))
    before = sum(estimate.changes for estimate in vcap.estimates().values())
    minutes = 4
    list(rounds(vcap, synthetic, minutes * 60 * SECOND))
    after = sum(estimate.changes for estimate in vcap.estimates().values())
    assert (after - before) / minutes <= 1


@pytest.mark.parametrize(
    ("busy", "share", "period", "limit"),
    [
        (True, 1.0, 10, 0.005),
        (True, 0.5, 10, 0.005),
        (False, 1.0, 10, 0.02),
        (False, 0.8, 10, 0.02),
        (False, 0.5, 20, 0.02),
        (False, 0.8, 100, 0.02),
    ],
)
def test_cost_stays_below_the_issues_limits(
    busy: bool, share: float, period: float, limit: float
) -> None:
    synthetic = machine(VCpuSpec(quota(share, period), load=load(busy=busy)))
    vcap = Vcap(synthetic, seed=3)
    list(rounds(vcap, synthetic, 10 * SECOND))
    start, cost = synthetic.now_ns(), synthetic.counters.cpu_ns
    list(rounds(vcap, synthetic, 120 * SECOND))
    assert (synthetic.counters.cpu_ns - cost) / (synthetic.now_ns() - start) <= limit


def test_the_source_is_chosen_by_evidence() -> None:
    def judged(steal: Steal, share: float) -> tuple[Evidence, str]:
        synthetic = machine(VCpuSpec(quota(share, 18), load=Always()), steal=steal)
        vcap = Vcap(synthetic, seed=1)
        list(rounds(vcap, synthetic, 6 * SECOND))
        evidence = vcap.evidence()
        assert vcap.estimates()[0].evidence is evidence.kind
        return evidence.kind, evidence.reason

    assert judged(Steal.TRUE, 0.5) == (Evidence.STEAL, "steal moves in step with gaps")
    assert judged(Steal.DEAD, 0.5) == (Evidence.GAPS, "steal does not move while gaps appear")
    kind, reason = judged(Steal.NONE, 0.5)
    assert kind is Evidence.GAPS
    assert "no steal" in reason
    kind, reason = judged(Steal.DEAD, 1.0)
    assert kind is Evidence.GAPS
    assert "too little" in reason


def test_both_sources_are_kept_beside_each_other() -> None:
    synthetic = machine(VCpuSpec(quota(0.5, 18), load=Always()), steal=Steal.TRUE)
    vcap = Vcap(synthetic, seed=1)
    list(rounds(vcap, synthetic, 6 * SECOND))
    estimate = vcap.estimates()[0]
    assert estimate.steal_share == pytest.approx(0.5, abs=0.03)
    assert estimate.gap_share == pytest.approx(0.5, abs=0.03)


def test_capacity_is_share_times_speed() -> None:
    synthetic = machine(
        VCpuSpec(Always(), speed=1.0),
        VCpuSpec(Always(), speed=0.6, load=Always()),
        VCpuSpec(quota(0.5, 10), speed=0.6),
    )
    vcap = Vcap(synthetic, seed=1)
    list(rounds(vcap, synthetic, 6 * SECOND))
    capacities = [estimate.capacity for estimate in vcap.estimates().values()]
    assert capacities == pytest.approx([1024, 614, 307], abs=30)


def test_a_guests_own_work_is_no_loss_of_capacity() -> None:
    """Half idle, half at work, and never taken away."""
    synthetic = machine(VCpuSpec(Always(), load=Periodic(5 * MS, 10 * MS)))
    vcap = Vcap(synthetic, seed=1)
    list(rounds(vcap, synthetic, 6 * SECOND))
    assert vcap.estimates()[0].capacity == 1024


def test_a_vcpu_that_goes_offline_keeps_nobody_from_being_measured() -> None:
    change = Change(4 * SECOND, offline=frozenset({1}))
    back = Change(9 * SECOND, offline=frozenset())
    synthetic = machine(
        *(VCpuSpec(quota(0.5, 10), load=Always()) for _ in range(3)), changes=(change, back)
    )
    vcap = Vcap(synthetic, seed=1)
    list(rounds(vcap, synthetic, 6 * SECOND))
    samples = {vcpu: estimate.samples for vcpu, estimate in vcap.estimates().items()}
    list(rounds(vcap, synthetic, 6 * SECOND))
    for vcpu, estimate in vcap.estimates().items():
        assert estimate.samples > samples[vcpu], "looked at again"


def test_no_vcpu_at_all_is_waited_for() -> None:
    synthetic = machine(VCpuSpec(), offline=frozenset({0}))
    vcap = Vcap(synthetic, seed=1)
    assert vcap.look() == {}
    assert vcap.due_ns() > synthetic.now_ns()
    assert vcap.estimates() == {}


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize(("before", "after"), [(0.5, 0.4), (0.9, 0.8), (0.2, 0.3), (0.3, 0.8)])
def test_small_steps_show_as_soon_while_all_is_probed(
    before: float, after: float, busy: bool
) -> None:
    assert settling_s(before, after, busy=busy, steal=Steal.NONE, seed=1) <= 3


@pytest.mark.parametrize("pattern", ["always there, but for noise", "12 of 18 ms, on a noisy host"])
def test_noise_changes_no_placement(pattern: str) -> None:
    for busy in (True, False):
        found = [
            changes_a_minute(steady_patterns()[pattern], busy=busy, steal=steal, seed=1, minutes=2)
            for steal in (Steal.NONE, Steal.TRUE)
        ]
        assert sum(found) / len(found) <= 1


@pytest.mark.parametrize(("busy", "limit"), [(True, 0.005), (False, 0.02)])
def test_all_probing_together_keeps_to_the_limits(busy: bool, limit: float) -> None:
    for share, vcpus in ((1.0, 4), (0.5, 4), (1.0, 32)):
        assert duty(share, vcpus, busy=busy, seed=1) <= limit
