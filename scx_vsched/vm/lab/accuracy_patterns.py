"""What the host does to the vCPUs while the probers are tested: profiles made for that.

Two VMs. In the first, of two vCPUs with a host CPU each, a co-runner takes one of them away in
exact windows: shares from .1 to .8, and absences from 2 to 20 ms; or nothing is taken away at all.
In the second, of five vCPUs under quotas, two and three share a host CPU, and then none.
"""

from __future__ import annotations

from scx_vsched.vm.lab.profile import Mechanism, Profile, VcpuShape

__all__ = [
    "away_patterns",
    "dedicated_profile",
    "probed_for_stacks",
    "share_patterns",
    "stack_profiles",
    "truly_stacked",
]

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_SHARES_PERIOD_MS = 20
# Away for so long, then there for as long.
_AWAY_MS = (2, 3, 4, 6, 8, 10, 15, 20)
# Quotas of the second VM, where all want more than they get. Those of a stack ask for more than
# their host CPU has: to share one that is enough for all costs nothing, and shows nowhere.
_ALONE_US, _STACKED_US, _QUOTA_PERIOD_US = 3_000, 7_000, 10_000


def _shaped(name: str, quota_ms: float, period_ms: float) -> Profile:
    """A vCPU beside a co-runner, and one that is the guest's alone, with a host CPU each.

    The emulator's own threads run beside the second: their work would be taken from the first.
    """
    shape = VcpuShape(round(quota_ms * 1000), round(period_ms * 1000), Mechanism.CORUNNER, pin=True)
    return Profile(name, "", (shape, VcpuShape(pin=True)), smp="2")


def share_patterns() -> tuple[Profile, ...]:
    """The ladder of shares."""
    period = _SHARES_PERIOD_MS
    return tuple(_shaped(f"share-{share:g}", share * period, period) for share in _SHARES)


def away_patterns() -> tuple[Profile, ...]:
    """Absences of different lengths."""
    return tuple(_shaped(f"away-{away}", away, 2 * away) for away in _AWAY_MS)


def dedicated_profile(name: str) -> Profile:
    """Two vCPUs with a host CPU each, from which nothing is taken."""
    return Profile(name, "", (VcpuShape(pin=True),) * 2, smp="2")


def stack_profiles() -> tuple[Profile, ...]:
    """Five contended vCPUs: a stacked pair, a stacked triple, and none stacked."""

    def profile(name: str, members: tuple[int, ...]) -> Profile:
        alone = VcpuShape(_ALONE_US, _QUOTA_PERIOD_US)
        stacked = VcpuShape(_STACKED_US, _QUOTA_PERIOD_US, stack=name)
        shapes = tuple(stacked if vcpu in members else alone for vcpu in range(5))
        return Profile(name, "", shapes, smp="5")

    return profile("pair", (0, 3)), profile("triple", (0, 2, 4)), profile("none", ())


def probed_for_stacks(profile: Profile, host_cpus: int) -> tuple[int, ...]:
    """The vCPUs among which to look for the stacks of `profile`.

    All where there is none. Else no more others than the host has CPUs beside the stack's: on that
    of the stack there is no time left, and those others that share one take turns like a stack.
    """
    stacked = {vcpu for stack in truly_stacked(profile) for vcpu in stack}
    alone = [vcpu for vcpu in range(len(profile.shapes)) if vcpu not in stacked]
    return tuple(sorted([*stacked, *(alone[: host_cpus - 1] if stacked else alone)]))


def truly_stacked(profile: Profile) -> tuple[tuple[int, ...], ...]:
    """The vCPUs that a profile puts on one host CPU, each set in increasing order."""
    groups: dict[str, list[int]] = {}
    for vcpu, shape in enumerate(profile.shapes):
        if shape.stack:
            groups.setdefault(shape.stack, []).append(vcpu)
    return tuple(tuple(each) for each in groups.values())
