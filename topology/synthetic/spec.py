"""What a synthetic machine is like, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from scx_vsched.topology.records import Relation
from scx_vsched.topology.synthetic.patterns import Always, Never

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.synthetic.hierarchy import Hierarchy
    from scx_vsched.topology.synthetic.patterns import Pattern

__all__ = ["Change", "Costs", "Latencies", "Noise", "Steal", "SyntheticSpec", "VCpuSpec"]


@dataclass(frozen=True, slots=True)
class VCpuSpec:
    """One vCPU: when the host lets it run, how fast its core is, what the guest runs on it."""

    runs: Pattern = field(default_factory=Always)
    speed: float = 1.0
    load: Pattern = field(default_factory=Never)


@dataclass(frozen=True, slots=True)
class Latencies:
    """One-way transfer times in ns (vSched §3: measured 5.6-5.9, 45-50 and 102-140)."""

    smt: float = 5.8
    llc: float = 45.0
    socket: float = 75.0
    node: float = 120.0
    apart: float = 200.0

    def of(self, relation: Relation) -> float:
        """The time for a pair; stacked pairs have none."""
        by_relation = {
            Relation.SMT: self.smt,
            Relation.LLC: self.llc,
            Relation.SOCKET: self.socket,
            Relation.NODE: self.node,
            Relation.APART: self.apart,
        }
        return by_relation[relation]


@dataclass(frozen=True, slots=True)
class Noise:
    """How measurements stray from the truth; all are shares of the true value or of samples."""

    pair: float = 0.03  # how pairs of one class differ for good
    sample: float = 0.10  # standard deviation of single transfers
    outliers: float = 0.02  # transfers 2 to 50 times too long
    preempted: float = 0.0  # transfers in which one side was away for 2 to 200 us
    spoilt: float = 0.0  # whole pair probes that are 1.3 to 10 times too long
    speed: float = 0.02  # of a spinner's speed from one watch to the next


@dataclass(frozen=True, slots=True)
class Costs:
    """What a probe takes beside what it waits for: measured of the native probes, rounded up.

    On a virtual EPYC at rest a set of one pair takes 0.1 to 0.2 ms in all and a watch 0.5 ms more
    than its window, the creation of a thread 10 to 20 us of the caller's time, a sample of 16
    transfers 0.4 us more than these. tests/unit/topology/test_synthetic.py holds it to that.
    """

    round_ns: int = 500_000  # starting and stopping a set of parallel probes
    pair_ns: int = 60_000  # two threads, started and pinned
    watch_ns: int = 40_000  # one thread, started and pinned, and its share of the start's delay
    transfers: int = 16  # of which each latency is the mean
    sample_ns: int = 430  # that many transfers beside their latency
    wake_ns: int = 5_000  # CPU time of one wake-up of a sleeping watcher


class Steal(Enum):
    """What the hypervisor reports."""

    TRUE = "true"  # the time taken, exactly
    DEAD = "dead"  # a counter that never moves
    NONE = "none"  # no counter


@dataclass(frozen=True, slots=True)
class Change:
    """From `at_ns` on, what is not None replaces what was."""

    at_ns: int
    hierarchy: Hierarchy | None = None
    vcpus: Mapping[int, VCpuSpec] = field(default_factory=dict)
    offline: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class SyntheticSpec:
    """A whole machine. vCPUs that `vcpus` leaves out are dedicated, of full speed and idle."""

    hierarchy: Hierarchy
    vcpus: Mapping[int, VCpuSpec] = field(default_factory=dict)
    latencies: Latencies = Latencies()
    noise: Noise = Noise()
    costs: Costs = Costs()
    steal: Steal = Steal.NONE
    smt_speed: float = 0.6  # of a thread whose sibling is busy
    slice_ns: int = 3_000_000  # how long each of a stack runs in turn
    loops_per_us: float = 50.0
    sleep_ns: int = 1_000_000  # of a sleeping watcher
    changes: tuple[Change, ...] = ()
    offline: frozenset[int] = frozenset()
