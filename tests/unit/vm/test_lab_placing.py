"""Profiles on hosts: who runs where, and what is scaled or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.accuracy_patterns import (
    away_patterns,
    dedicated_profile,
    share_patterns,
    stack_profiles,
    truly_stacked,
)
from scx_vsched.vm.lab.placing import Plan, host_cpus, place
from scx_vsched.vm.lab.profile import Change, Mechanism, Profile, VcpuShape

HALF = VcpuShape(5_000, 10_000)
PINNED = VcpuShape(pin=True)


def profile(*shapes: VcpuShape, fit: bool = False, changes: tuple[Change, ...] = ()) -> Profile:
    return Profile("some", "", shapes, changes, fit=fit)


def cpus(plan: Plan, stage: int = 0) -> list[tuple[int, ...]]:
    return [shape.cpus for shape in plan.stages[stage].shapes]


def corunner(quota: int, period: int = 10_000, **more: object) -> VcpuShape:
    return VcpuShape(quota, period, Mechanism.CORUNNER, **more)  # type: ignore[arg-type]


def test_vcpus_run_on_every_host_cpu_unless_told_otherwise() -> None:
    assert cpus(place(profile(HALF, HALF, HALF), (2, 5))) == [(2, 5)] * 3


def test_a_pinned_vcpu_has_its_host_cpu_alone() -> None:
    assert cpus(place(profile(HALF, PINNED, HALF), (2, 5))) == [(5,), (2,), (5,)]


def test_stacks_go_where_least_is_to_do_and_stay_together() -> None:
    a, b = VcpuShape(stack="a"), VcpuShape(3_000, 10_000, stack="b")
    busy = VcpuShape(8_000, 10_000, cpus=(0,))
    assert cpus(place(profile(busy, a, a, b, b), (0, 1, 2))) == [(0,), (1,), (1,), (2,), (2,)]


def test_a_stack_asks_for_no_more_than_one_host_cpu() -> None:
    stacked = VcpuShape(stack="a")
    assert place(profile(stacked, stacked, stacked), (0,)).factor == 1.0


def test_too_much_is_refused_with_the_figures() -> None:
    with pytest.raises(UserError, match=r"asks for 3\.00 host CPUs and this host has 2") as caught:
        place(profile(*[VcpuShape()] * 3), (0, 1))
    assert "fit = true" in caught.value.hint


def test_a_profile_that_may_be_scaled_says_so() -> None:
    plan = place(profile(*[HALF] * 6, VcpuShape(), fit=True), (0, 1))
    assert plan.factor == pytest.approx(0.45)
    assert "every share is multiplied by 0.45" in plan.note
    shapes = plan.stages[0].shapes
    assert [shape.share for shape in shapes] == pytest.approx([0.225] * 6 + [0.45])


def test_scaling_lengthens_periods_where_quotas_would_become_too_small() -> None:
    small = VcpuShape(1_000, 20_000)
    plan = place(profile(*[VcpuShape()] * 4, small, fit=True), (0, 1))
    assert plan.stages[0].shapes[4].quota_us == 1_000
    assert plan.stages[0].shapes[4].share == pytest.approx(0.05 * plan.factor, rel=0.01)


def test_scaling_is_by_the_most_that_any_stage_asks() -> None:
    change = Change(5.0, ((0, VcpuShape()), (1, VcpuShape())))
    plan = place(profile(HALF, HALF, fit=True, changes=(change,)), (0,))
    assert plan.factor == pytest.approx(0.45)
    assert [stage.at_s for stage in plan.stages] == [0.0, 5.0]


def test_more_pinned_vcpus_than_host_cpus() -> None:
    shape = VcpuShape(1_000, 10_000, pin=True)
    with pytest.raises(UserError, match="3 vCPUs want a host CPU of their own, and 2 are free"):
        place(profile(shape, shape, shape), (0, 1))


def test_nothing_left_for_a_vcpu_without_a_wish() -> None:
    shape = VcpuShape(1_000, 10_000, pin=True)
    with pytest.raises(UserError, match="none is left for vCPU 1"):
        place(profile(shape, HALF), (0,))


def test_a_host_cpu_that_is_not_there() -> None:
    with pytest.raises(UserError, match="vCPU 0 wants host CPU 7, and the host CPUs here are 0, 1"):
        place(profile(VcpuShape(cpus=(7,))), (0, 1))


def test_corunners_are_one_for_each_host_cpu() -> None:
    assert cpus(place(profile(corunner(5_000), corunner(2_000)), (0, 1))) == [(0,), (1,)]
    same = corunner(5_000, cpus=(1,))
    assert cpus(place(profile(same, same), (0, 1))) == [(1,), (1,)]
    with pytest.raises(UserError, match="host CPU 1 already has another co-runner"):
        place(profile(same, corunner(4_000, cpus=(1,))), (0, 1))
    with pytest.raises(UserError, match="a co-runner and several host CPUs"):
        place(profile(corunner(5_000, cpus=(0, 1))), (0, 1))


def test_a_corunner_leaves_what_the_kernel_keeps_from_real_time() -> None:
    with pytest.raises(UserError, match="would leave 5% of its host CPU"):
        place(profile(corunner(500)), (0,))


def test_the_emulator_keeps_away_from_shaped_vcpus_where_it_can() -> None:
    pinned = VcpuShape(5_000, 10_000, pin=True)
    assert place(profile(pinned, PINNED), (0, 1, 2)).emulator_cpus == (1, 2)
    assert place(profile(pinned, pinned), (0, 1)).emulator_cpus == (0, 1)
    assert place(profile(HALF, HALF), (0, 1)).emulator_cpus == (0, 1)
    later = Change(5.0, ((1, replace(pinned, pin=False, cpus=(1,))),))
    assert place(profile(pinned, HALF, changes=(later,)), (0, 1, 2)).emulator_cpus == (2,)


@pytest.mark.parametrize(
    "given",
    [*share_patterns(), *away_patterns(), *stack_profiles(), dedicated_profile("dedicated")],
    ids=lambda profile: profile.name,
)
def test_what_accuracy_is_measured_with_fits_two_host_cpus(given: Profile) -> None:
    plan = place(given, (0, 1))
    assert plan.factor == 1.0
    assert plan.machine().cpus == str(len(given.shapes))
    stacked = [group for cpu in (0, 1) if len(group := stack_on(plan, cpu)) > 1]
    assert tuple(stacked) == truly_stacked(given)


def stack_on(plan: Plan, cpu: int) -> tuple[int, ...]:
    shapes = enumerate(plan.stages[0].shapes)
    return tuple(vcpu for vcpu, shape in shapes if shape.cpus == (cpu,) and shape.stack)


def test_patterns_cover_the_range_that_is_to_be_reached() -> None:
    shares = {pattern.shapes[0].share for pattern in share_patterns()}
    assert {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8} == {round(share, 3) for share in shares}
    away_ms = {
        (shape.period_us - (shape.quota_us or 0)) / 1000
        for pattern in away_patterns()
        for shape in pattern.shapes[:1]
    }
    assert min(away_ms) == 2
    assert max(away_ms) == 20


def test_host_cpus_are_those_that_this_process_may_use() -> None:
    assert host_cpus()
