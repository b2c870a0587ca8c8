"""What is measured where: single profiles with the workloads that are asked for, or a suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.lab.schedulers import SCHEDULERS

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUITES", "Entry", "entries"]

_EVERY = tuple(SCHEDULERS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One VM: a profile, its workloads and schedulers; whether a timeline is drawn."""

    profile: str
    workloads: tuple[str, ...]
    schedulers: tuple[str, ...]
    picture: bool = False


# What issues of latency, of harvesting, of hiding and of all together are best seen with.
SUITES = {
    "bounds": (
        Entry("asym-few", ("requests", "requests-mixed"), ("core", "bvs", "all"), picture=True),
        Entry("half-few", ("compute",), ("core", "ivh", "all"), picture=True),
        Entry("straggler", ("barrier",), ("core", "rwc", "all")),
        Entry("rcvm", ("half", "barrier", "hackbench", "sysbench"), ("core", "all"), picture=True),
        Entry("hpvm", ("requests", "requests-mixed"), ("core", "all")),
        Entry("dedicated", ("hackbench", "sysbench", "compile", "requests"), ("core", "all")),
        Entry("moved-few", (), ("core", "all")),
    ),
    "programs": (
        Entry(
            "rcvm",
            ("hackbench", "sysbench", "pbzip2", "compile", "memcached", "nginx"),
            ("core", "all"),
        ),
    ),
}

_PROFILES = ("rcvm",)
_WORKLOADS = ("requests", "requests-mixed", "half", "barrier", "hackbench", "sysbench", "pbzip2")


def entries(
    suite: str | None,
    profiles: Sequence[str],
    workloads: Sequence[str],
    schedulers: Sequence[str],
    picture: bool,
) -> tuple[Entry, ...]:
    """What to measure; empty lists are the defaults.

    Raises:
        UserError: an unknown suite, or one beside profiles or workloads of their own.
    """
    if suite is None:
        return tuple(
            Entry(name, tuple(workloads) or _WORKLOADS, tuple(schedulers) or _EVERY, picture)
            for name in dict.fromkeys(profiles or _PROFILES)
        )
    if suite not in SUITES:
        raise UserError(f"unknown suite {suite}", f"there are: {', '.join(SUITES)}")
    if profiles or workloads:
        raise UserError("a suite has its own profiles and workloads", "leave one of the two out")
    return tuple(
        Entry(e.profile, e.workloads, tuple(schedulers) or e.schedulers, e.picture and picture)
        for e in SUITES[suite]
    )
