"""The topology as the scheduler gets it: typed, validated, immutable."""

from __future__ import annotations

from dataclasses import dataclass

from scx_vsched.errors import UserError

__all__ = [
    "FULL_CAPACITY",
    "MAX_LLCS",
    "MAX_NEAR",
    "MAX_NODES",
    "MAX_VCPUS",
    "OTHER_NODE",
    "SAME_NODE",
    "Llc",
    "Topology",
    "VCpuPlace",
]

# Sizes of the tables in templates/guest/maps.h.j2.
MAX_VCPUS = 4096
MAX_LLCS = 1024
MAX_NODES = 1024
MAX_NEAR = 64

FULL_CAPACITY = 1024

_ALONE = -1
_AS_CAPACITY = -1

# Distances between caches, as the hook `steals` documents them; 1 is the same cache.
SAME_NODE = 2
OTHER_NODE = 3


@dataclass(frozen=True, slots=True)
class VCpuPlace:
    """One possible vCPU; `llc`, `node` and `core` are indices that count from 0 without gaps.

    `stack` is the lowest vCPU on the same hardware thread: the vCPU's own number unless it is
    stacked on another. `pace` is what a nanosecond that the kernel counts as run is worth: the
    capacity, unless the kernel leaves stolen time out of that; then the core's speed alone.
    `latency_ns` is the mean time for which it is taken away, 0 when it never is
    or nobody measured it.
    """

    id: int
    llc: int
    node: int
    core: int
    capacity: int = FULL_CAPACITY  # 0 to 1024
    pace: int = _AS_CAPACITY  # 0 to 1024
    stack: int = _ALONE
    latency_ns: int = 0

    def __post_init__(self) -> None:
        if self.stack == _ALONE:
            object.__setattr__(self, "stack", self.id)
        if self.pace == _AS_CAPACITY:
            object.__setattr__(self, "pace", self.capacity)


@dataclass(frozen=True, slots=True)
class Llc:
    """A last-level cache; `near` lists the others as (index, distance), nearest first.

    The distance is SAME_NODE or OTHER_NODE.
    """

    index: int
    node: int
    near: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Topology:
    """All possible vCPUs by number, and the caches by index.

    `smt` says that the kernel knows of a core with more than one vCPU. Only then does its mask of
    wholly idle cores say anything (scx_bpf_get_idle_smtmask(), kernel/sched/ext_idle.c): it is by
    the kernel's own topology, whatever was measured.
    """

    vcpus: tuple[VCpuPlace, ...]
    llcs: tuple[Llc, ...]
    nr_nodes: int
    smt: bool

    def __post_init__(self) -> None:
        """Raises UserError, with the reason, for a topology that the scheduler cannot use."""
        if not self.vcpus:
            raise UserError("the topology has no vCPU")
        if [vcpu.id for vcpu in self.vcpus] != list(range(len(self.vcpus))):
            raise UserError("the topology's vCPUs are not numbered from 0 without gaps")
        if [llc.index for llc in self.llcs] != list(range(len(self.llcs))):
            raise UserError("the topology's caches are not numbered from 0 without gaps")
        for what, number, limit in (
            ("vCPUs", len(self.vcpus), MAX_VCPUS),
            ("last-level caches", len(self.llcs), MAX_LLCS),
            ("NUMA nodes", self.nr_nodes, MAX_NODES),
        ):
            if number > limit:
                raise UserError(f"the topology has {number} {what}, more than {limit}")
        for vcpu in self.vcpus:
            if not 0 <= vcpu.llc < len(self.llcs):
                raise UserError(f"vCPU {vcpu.id} has the unknown cache {vcpu.llc}")
            if vcpu.node != self.llcs[vcpu.llc].node or not 0 <= vcpu.node < self.nr_nodes:
                raise UserError(f"vCPU {vcpu.id} and its cache are on different NUMA nodes")
            if not 0 <= vcpu.capacity <= FULL_CAPACITY:
                raise UserError(f"vCPU {vcpu.id} has the capacity {vcpu.capacity}, not 0 to 1024")
            if not 0 <= vcpu.pace <= FULL_CAPACITY:
                raise UserError(f"vCPU {vcpu.id} has the pace {vcpu.pace}, not 0 to 1024")
            if vcpu.latency_ns < 0:
                raise UserError(f"vCPU {vcpu.id} has the negative latency {vcpu.latency_ns} ns")
            self._check_stack(vcpu)

    def _check_stack(self, vcpu: VCpuPlace) -> None:
        if not 0 <= vcpu.stack <= vcpu.id:
            raise UserError(f"vCPU {vcpu.id} is stacked on {vcpu.stack}, which is not a lower vCPU")
        lowest = self.vcpus[vcpu.stack]
        if lowest.stack != lowest.id:
            raise UserError(f"vCPU {vcpu.id} is stacked on {lowest.id}, itself stacked on another")
        if lowest.core != vcpu.core:
            raise UserError(f"vCPU {vcpu.id} is stacked on {lowest.id} of another core")
