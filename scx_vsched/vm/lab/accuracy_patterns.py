"""What the host does to the vCPUs while the probers are tested: profiles made for that.

Two VMs. In the first, of two vCPUs with a host CPU each, co-runners take the vCPUs away in exact
windows: shares from .1 to .8, and absences from 2 to 20 ms; or nothing is taken away at all. In the
second, of five vCPUs under quotas, two and three share a host CPU, and then none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.vm.lab.profile import Mechanism, Profile, VcpuShape

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "away_patterns",
    "dedicated_profile",
    "share_patterns",
    "stack_profiles",
    "truly_stacked",
]

_LADDER_PERIOD_US = 20_000
# Both vCPUs of a pair together never leave the host without any CPU for the emulator itself.
_LADDER = ((0.1, 0.8), (0.2, 0.7), (0.3, 0.6), (0.4, 0.5), (0.8, 0.1), (0.6, 0.3))
# (away, period) of both vCPUs, in ms.
_AWAY = (((2, 4), (20, 40)), ((3, 8), (15, 30)), ((5, 10), (10, 20)), ((8, 16), (4, 8)))
_QUOTA_US, _QUOTA_PERIOD_US = 3_000, 10_000


def _pair(name: str, windows: Iterable[tuple[int, int]]) -> Profile:
    """Two vCPUs that get (quota, period) microseconds beside a co-runner each."""
    shapes = tuple(
        VcpuShape(quota, period, Mechanism.CORUNNER, pin=True) for quota, period in windows
    )
    return Profile(name, "", shapes, smp=str(len(shapes)))


def share_patterns() -> tuple[Profile, ...]:
    """The ladder of shares."""
    period = _LADDER_PERIOD_US
    return tuple(
        _pair(f"share-{a:g}-{b:g}", [(round(a * period), period), (round(b * period), period)])
        for a, b in _LADDER
    )


def away_patterns() -> tuple[Profile, ...]:
    """Absences of different lengths."""
    return tuple(
        _pair(
            f"away-{first[0]}-{second[0]}",
            [((period - away) * 1000, period * 1000) for away, period in (first, second)],
        )
        for first, second in _AWAY
    )


def dedicated_profile(name: str) -> Profile:
    """Two vCPUs with a host CPU each, from which nothing is taken."""
    return Profile(name, "", (VcpuShape(pin=True),) * 2, smp="2")


def stack_profiles() -> tuple[Profile, ...]:
    """Five contended vCPUs: a stacked pair, a stacked triple, and none stacked."""

    def profile(name: str, members: tuple[int, ...]) -> Profile:
        shapes = tuple(
            VcpuShape(_QUOTA_US, _QUOTA_PERIOD_US, stack=name if vcpu in members else "")
            for vcpu in range(5)
        )
        return Profile(name, "", shapes, smp="5")

    return profile("pair", (0, 3)), profile("triple", (0, 2, 4)), profile("none", ())


def truly_stacked(profile: Profile) -> tuple[tuple[int, ...], ...]:
    """The vCPUs that a profile puts on one host CPU, each set in increasing order."""
    groups: dict[str, list[int]] = {}
    for vcpu, shape in enumerate(profile.shapes):
        if shape.stack:
            groups.setdefault(shape.stack, []).append(vcpu)
    return tuple(tuple(each) for each in groups.values())
