"""What probers measure, as plain records, and the machine that they measure it on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = [
    "Availability",
    "Demand",
    "Gap",
    "Machine",
    "PairSample",
    "Relation",
]


class Relation(IntEnum):
    """The smallest domain that holds both vCPUs of a pair, nearest first."""

    STACKED = 0  # one hardware thread: they never run at the same time
    SMT = 1  # one core
    LLC = 2  # one last-level cache
    SOCKET = 3  # one socket, different last-level caches
    NODE = 4  # one NUMA node, different sockets
    APART = 5  # different NUMA nodes


class Demand(IntEnum):
    """How a probe asks for the vCPU."""

    SLEEP = 0  # wakes up now and then: sees gaps of a vCPU that others keep busy, costs little
    IDLE = 1  # spins at SCHED_IDLE: uses only time that nobody else wants
    NORMAL = 2  # spins as an ordinary task
    URGENT = 3  # spins before the guest's own tasks, which wait: sees all gaps of a busy vCPU too


@dataclass(frozen=True, slots=True)
class PairSample:
    """One pair probe: two pinned threads pass a cache line to and fro.

    `latencies_ns` are one-way transfer times as seen, in the order of time, few or none when the
    two never ran together. `active_ns` is how long each of the two really ran, `both_ns` an
    estimate of how long they ran at the same time; all within `elapsed_ns`.
    """

    a: int
    b: int
    latencies_ns: tuple[float, ...]
    active_ns: tuple[int, int]
    both_ns: int
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the vCPU did not run although it was asked to."""

    start_ns: int  # CLOCK_MONOTONIC
    length_ns: int


@dataclass(frozen=True, slots=True)
class Availability:
    """What a probe saw of one vCPU from `start_ns` to `end_ns` (CLOCK_MONOTONIC).

    `resolution_ns` is how far a gap's start may be off: 0 for a spinning probe, the sleep for a
    sleeping one. `loops` counts the spinner's rounds in the time that it ran (0 when sleeping),
    `cpu_ns` is the CPU time the probe itself used. `lost_ns` is the part of the window in which the
    guest ran others although the probe wanted to run: neither gap nor spinning. A spinner ran for
    the window less gaps and `lost_ns`. `blip_ns` is the mean, by time, of what it saw of the
    guest's own interrupts: steps of the clock too short for gaps.
    """

    vcpu: int
    start_ns: int
    end_ns: int
    gaps: tuple[Gap, ...]
    resolution_ns: int
    loops: int
    cpu_ns: int
    lost_ns: int = 0
    blip_ns: int = 0


class Machine(Protocol):
    """What a prober needs of the machine: the real one, or a synthetic one that knows the truth.

    Every method blocks for no longer than the duration given plus a small constant, and leaves
    nothing running behind. vCPUs that cannot be probed are absent from the results; `unavailable`
    says why.
    """

    def vcpus(self) -> tuple[int, ...]:
        """The vCPUs that may be probed now, in increasing order."""

    def unavailable(self) -> dict[int, str]:
        """The possible vCPUs that may not be probed, each with the reason."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC; simulated time on a synthetic machine."""

    def sleep_ns(self, duration_ns: int) -> None:
        """Lets time pass."""

    def pair_probes(
        self, pairs: Sequence[tuple[int, int]], budget_ns: int, samples: int
    ) -> dict[tuple[int, int], PairSample]:
        """Probes disjoint `pairs` at the same time.

        Each ends when it has `samples` latencies, or after `budget_ns`. Raises ValueError when two
        pairs share a vCPU.
        """

    def watch(
        self, vcpus: Collection[int], duration_ns: int, demand: Demand
    ) -> dict[int, Availability]:
        """Watches all of `vcpus` at the same time for `duration_ns`."""

    def steal_ns(self) -> dict[int, int] | None:
        """Time taken from each vCPU since boot as the hypervisor reports it; None without steal."""

    def busy_ns(self) -> dict[int, int]:
        """Time that each vCPU has not been idle since boot, as the guest's kernel counts it."""
