"""Fits a profile to a host: which host CPUs each vCPU may use, and how much is really asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.profile import Mechanism, load_profile
from scx_vsched.vm.machine import Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.vm.lab.profile import Profile, VcpuShape

__all__ = ["Plan", "Stage", "demand", "host_cpus", "place", "plan_for"]

# What a profile that is scaled down leaves to the host itself, the emulator's main loop included.
_USED_AT_MOST = 0.9
_FITTED_PERIOD_US = 10_000  # of a vCPU that was unlimited before it was scaled down
_MIN_QUOTA_US = 1_000  # what bandwidth control accepts
_MAX_PERIOD_US = 1_000_000
# Real-time threads get at most 95 % of a CPU (sysctl kernel.sched_rt_runtime_us).
_MAX_CORUNNER = 0.94


@dataclass(frozen=True, slots=True)
class Stage:
    """Shapes by vCPU from `at_s` seconds on; each shape's `cpus` holds real host CPUs."""

    at_s: float
    shapes: tuple[VcpuShape, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A profile on this host; every share was multiplied by `factor` (1.0: as the profile says)."""

    profile: Profile
    stages: tuple[Stage, ...]
    factor: float
    cpus: tuple[int, ...]

    @property
    def emulator_cpus(self) -> tuple[int, ...]:
        """Where the emulator's own threads run: beside no vCPU that is shaped, if that is possible.

        Its timers interrupt a vCPU on the same host CPU hundreds of times a second, for less than
        a guest can see. Clouds keep them apart too (libvirt's emulatorpin).
        """
        shaped = {
            shape.cpus[0]
            for stage in self.stages
            for shape in stage.shapes
            if shape.share < 1 and len(shape.cpus) == 1
        }
        return tuple(cpu for cpu in self.cpus if cpu not in shaped) or self.cpus

    @property
    def note(self) -> str:
        """What the scaling did, for every report; empty without any."""
        if self.factor == 1.0:
            return ""
        asked = max(demand(shapes) for _, shapes in self.profile.stages())
        return (
            f"profile {self.profile.name} asks for {asked:.2f} host CPUs and this host has "
            f"{len(self.cpus)}: every share is multiplied by {self.factor:.2f}"
        )

    def machine(self, memory: str | None = None) -> Shape:
        """The VM to boot for it; `memory` takes the place of the profile's."""
        profile = self.profile
        return Shape(
            cpus=profile.smp,
            memory=memory or profile.memory,
            numa=profile.numa,
            distances=profile.distances,
        )


def plan_for(name: str) -> Plan:
    """The profile `name` (built-in, or a file) on this host.

    Raises:
        UserError: what `load_profile` and `place` raise.
    """
    return place(load_profile(name), host_cpus())


def host_cpus() -> tuple[int, ...]:
    """The host CPUs that this process may use."""
    return tuple(sorted(os.sched_getaffinity(0)))


def place(profile: Profile, cpus: Sequence[int]) -> Plan:
    """`profile` on a host whose CPUs `cpus` may be used.

    Raises:
        UserError: it asks for more than there is.
    """
    asked = max(demand(shapes) for _, shapes in profile.stages())
    factor = 1.0
    if asked > len(cpus):
        if not profile.fit:
            raise UserError(
                f"profile {profile.name} asks for {asked:.2f} host CPUs and this host has "
                f"{len(cpus)}",
                "lower the quotas, or write fit = true into the profile to have them scaled",
            )
        factor = _USED_AT_MOST * len(cpus) / asked
    stages = tuple(
        Stage(at_s, _place_stage(profile, [_scaled(s, factor) for s in shapes], cpus))
        for at_s, shapes in profile.stages()
    )
    return Plan(profile, stages, factor, tuple(cpus))


def demand(shapes: Sequence[VcpuShape]) -> float:
    """Host CPUs that are asked for: a stack never uses more than its one."""
    stacks: dict[str, float] = {}
    alone = 0.0
    for shape in shapes:
        if shape.stack:
            stacks[shape.stack] = stacks.get(shape.stack, 0.0) + shape.share
        else:
            alone += shape.share
    return alone + sum(min(1.0, share) for share in stacks.values())


def _scaled(shape: VcpuShape, factor: float) -> VcpuShape:
    if factor == 1.0:
        return shape
    if shape.quota_us is None:
        return replace(
            shape, quota_us=round(_FITTED_PERIOD_US * factor), period_us=_FITTED_PERIOD_US
        )
    quota = shape.quota_us * factor
    # Where the quota would be too small for bandwidth control the period grows instead.
    stretch = max(1.0, _MIN_QUOTA_US / quota)
    period = min(_MAX_PERIOD_US, round(shape.period_us * stretch))
    return replace(shape, quota_us=round(quota * stretch), period_us=period)


def _place_stage(
    profile: Profile, shapes: Sequence[VcpuShape], cpus: Sequence[int]
) -> tuple[VcpuShape, ...]:
    """`shapes` with host CPUs for each."""
    for vcpu, shape in enumerate(shapes):
        missing = [cpu for cpu in shape.cpus if cpu not in cpus]
        if missing:
            have = ", ".join(str(cpu) for cpu in cpus)
            raise UserError(
                f"profile {profile.name}: vCPU {vcpu} wants host CPU {missing[0]}, "
                f"and the host CPUs here are {have}"
            )
    load = dict.fromkeys(cpus, 0.0)
    for shape in shapes:
        if len(shape.cpus) == 1:
            load[shape.cpus[0]] += shape.share
    owned = _owned(profile, shapes, load)
    stack_cpu = {shape.stack: shape.cpus[0] for shape in shapes if shape.stack and shape.cpus}
    free = [cpu for cpu in cpus if cpu not in owned.values()]
    found = []
    for vcpu, shape in enumerate(shapes):
        if shape.cpus:
            found.append(shape)
        elif vcpu in owned:
            found.append(replace(shape, cpus=(owned[vcpu],)))
        elif not free:
            raise UserError(
                f"profile {profile.name}: every host CPU belongs to one vCPU, and none is left "
                f"for vCPU {vcpu}"
            )
        elif shape.stack:
            if shape.stack not in stack_cpu:
                stack_cpu[shape.stack] = min(free, key=lambda cpu: load[cpu])
            load[stack_cpu[shape.stack]] += shape.share
            found.append(replace(shape, cpus=(stack_cpu[shape.stack],)))
        else:
            found.append(replace(shape, cpus=tuple(free)))
    _check_corunners(profile, found)
    return tuple(found)


def _owned(profile: Profile, shapes: Sequence[VcpuShape], load: dict[int, float]) -> dict[int, int]:
    """The host CPU of each vCPU that wants one of its own."""
    free = [cpu for cpu, share in load.items() if not share]
    wanting = [
        vcpu
        for vcpu, shape in enumerate(shapes)
        if not shape.cpus and (shape.pin or (shape.by is Mechanism.CORUNNER and not shape.stack))
    ]
    if len(wanting) > len(free):
        raise UserError(
            f"profile {profile.name}: {len(wanting)} vCPUs want a host CPU of their own, and "
            f"{len(free)} are free"
        )
    return dict(zip(wanting, free, strict=False))


def _check_corunners(profile: Profile, shapes: Sequence[VcpuShape]) -> None:
    """A co-runner takes its host CPU from everybody: one pattern for each."""
    patterns: dict[int, tuple[int | None, int, int]] = {}
    for vcpu, shape in enumerate(shapes):
        if shape.by is not Mechanism.CORUNNER or shape.quota_us is None:
            continue
        where = f"profile {profile.name}: vCPU {vcpu}"
        if len(shape.cpus) != 1:
            raise UserError(f"{where} has a co-runner and several host CPUs", "pin it to one")
        if shape.share < 1 - _MAX_CORUNNER:
            raise UserError(
                f"{where} would leave {shape.share:.0%} of its host CPU beside its co-runner, and "
                f"the kernel keeps real-time threads below 95 %",
                f"give it at least {1 - _MAX_CORUNNER:.0%}, or shape it by quota or freezer",
            )
        pattern = (shape.quota_us, shape.period_us, shape.phase_us or 0)
        if patterns.setdefault(shape.cpus[0], pattern) != pattern:
            raise UserError(f"{where}: host CPU {shape.cpus[0]} already has another co-runner")
