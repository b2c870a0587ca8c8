"""Hands the topology to a scheduler: constants before it is loaded, tables then and while it runs.

The layouts are those of `struct vcpu`, `struct llc_info` and `struct activity` in
templates/guest/maps.h.j2, which says how its two copies of the topology change places. Of `struct
usage` in templates/guest/usage.h.j2 the first two members are written, the third is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.node_table import NODES_MAP, write_nodes
from scx_vsched.topology.hints import Ticks
from scx_vsched.topology.model import MAX_LLCS, MAX_NEAR, Topology
from scx_vsched.topology.nodes import cut_at_nodes
from scx_vsched.topology.sysfs import read_kernel_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scx_vsched.bpf.loader import SchedulerObject
    from scx_vsched.topology.measure import PairMeasure
    from scx_vsched.topology.nodes import KernelNodes
    from scx_vsched.topology.prediction import Forecast

__all__ = ["Feed", "feed_constants", "grace_period"]

_VCPU = struct.Struct("=8H I H 14x H 90x")  # two spots, latency_us, capacity, pace; rest: BPF's
_SPOT = 4  # u16 each: llc, node, next, stack
_LATENCY_AT, _CAPACITY_AT, _PACE_AT = 16, 20, 36
_LLC = struct.Struct(f"=III{2 * MAX_NEAR}I")  # first, siblings_known, nr_near, (llc, distance)…
_ACTIVITY = struct.Struct("=7Q 2B 6x")
_GAPS_AT, _PROBED_AT = 24, 40  # gaps, then gaps_ns; probed_ns, then next_gap_ns

_TICKED_WORD = 2  # of `struct usage`

_LATENCY_STEPS = 4  # a latency is new that differs by more than this part

_CLOCK_MONOTONIC_COARSE = 6  # its resolution is the tick (kernel/time/posix-timers.c)
_TRIES = 20  # for a vCPU that comes or goes at the same time
_RETRY_S = 0.01
_SYS_MEMBARRIER, _MEMBARRIER_CMD_GLOBAL = 324, 1  # x86-64


def feed_constants(obj: SchedulerObject, nr_vcpus: int) -> None:
    """Sets what the verifier takes as constant. To be called before `obj.load()`."""
    obj.set_constant("nr_vcpu_ids", nr_vcpus)
    obj.set_constant("tick_ns", _tick_ns())


def grace_period() -> None:
    """Wait until every operation of a scheduler that was under way has ended.

    Operations run with interrupts disabled, which RCU waits for as it does for its readers.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SYS_MEMBARRIER, _MEMBARRIER_CMD_GLOBAL, 0, 0) == 0:
        return
    # With nohz_full the kernel has no such barrier. Whoever has been on each vCPU has seen each
    # with interrupts enabled.
    allowed = os.sched_getaffinity(0)
    try:
        for vcpu in allowed:
            os.sched_setaffinity(0, {vcpu})
    finally:
        os.sched_setaffinity(0, allowed)


class Feed:
    """Keeps the tables of one loaded scheduler. Not for use by several threads.

    `topology` is what the scheduler works with now, `epoch` counts the placements that were put in
    force after the first one. `fixed` says that this kernel cannot move waiting tasks from queue to
    queue: there only capacities and latencies follow, the placement stays as it was at the start.
    A scheduler that keeps processes on nodes gets the kernel's nodes, whatever the topology says.
    """

    def __init__(
        self,
        obj: SchedulerObject,
        topology: Topology,
        claimed: Topology,
        wait: Callable[[], None] | None = None,
        nodes: KernelNodes | None = None,
    ) -> None:
        """Write the tables. To be called between `obj.load()` and `obj.attach()`.

        `claimed` is what the kernel believes: its own look for idle cores goes by that. `wait`
        returns when every operation that was under way has ended: grace_period() by default.
        `nodes` are the kernel's, by default those of this machine; only schedulers with homes
        need them. Raises UserError for more nodes than those know.
        """
        self._obj = obj
        self._nodes = None
        if obj.has_map(NODES_MAP):
            self._nodes = nodes or read_kernel_nodes()
            write_nodes(obj, self._nodes)
            topology = cut_at_nodes(topology, self._nodes)
        self._wait = wait or grace_period
        self._claimed_cores = _cores(claimed) if claimed.smt else None
        self._tick_ns = _tick_ns()
        self.topology = topology
        self.epoch = 0
        self.fixed = False
        following = _following(topology)
        vcpus = obj.map("vcpus")
        for vcpu in topology.vcpus:
            spot = (vcpu.llc, vcpu.node, following[vcpu.id], vcpu.stack)
            measures = (_latency_us(vcpu.latency_ns), vcpu.capacity, vcpu.pace)
            vcpus.write(vcpu.id, _VCPU.pack(*spot, *spot, *measures))
        self._write_llcs(topology, 0)
        size = _VCPU.size * len(topology.vcpus)
        # Elements that BPF writes too are written member by member, in shared memory.
        self._places = vcpus.shared(size).cast("H")
        self._latencies = vcpus.shared(size).cast("I")
        activities = obj.map("activities")
        if activities.value_size != _ACTIVITY.size:
            raise ValueError(f"an activity has {activities.value_size} bytes")
        self._activities = activities.shared(_ACTIVITY.size * len(topology.vcpus)).cast("Q")
        # Only policies that ask for it keep account of how vCPUs are used.
        self._usages, self._usage_words = memoryview(b""), 0
        with contextlib.suppress(BpfError, KeyError):
            usages = obj.map("usages")
            self._usage_words = usages.value_size // 8
            self._usages = usages.shared(usages.value_size * len(topology.vcpus)).cast("Q")

    def update(self, topology: Topology) -> bool:
        """Put `topology` in force while the scheduler runs; whether the placement changed.

        While vCPUs come and go all the time the placement stays; the next call tries again.
        Raises BpfError where the kernel refuses, ValueError for another number of vCPUs.
        """
        before = self.topology
        if len(topology.vcpus) != len(before.vcpus):
            raise ValueError(f"a topology of {len(topology.vcpus)} vCPUs")
        if self._nodes:
            topology = cut_at_nodes(topology, self._nodes)
        topology = _steady(topology, before)
        new_measures = self._write_measures(topology)
        self.topology = _with_measures(before, topology)
        if not self.fixed and _placement(topology) != _placement(before) and self._move(topology):
            return True
        if new_measures:
            self._program("vsched_weigh")
        return False

    def _move(self, topology: Topology) -> bool:
        """Put another placement in force; False where that cannot be, for now or on this kernel."""
        copy = (self.epoch + 1) & 1
        self._write_spots(topology, copy)
        self._write_llcs(topology, copy)
        if not self._switch():
            return False
        self.epoch += 1
        self.topology = topology
        # From here on no operation begins with the former copy, after this none is under way.
        self._wait()
        self._program("vsched_settle")
        self._write_spots(topology, copy ^ 1)
        return True

    def activity(self, vcpu: int) -> tuple[int, ...]:
        """heartbeat_ns, active_since_ns, gap_ns, gaps, gaps_ns, probed_ns and next_gap_ns."""
        raw = self._obj.map("activities").read(vcpu)
        return tuple(_ACTIVITY.unpack(raw)[:7])

    def ticks(self) -> dict[int, Ticks]:
        """What was counted of each vCPU's ticks; nothing by policies that keep no such account."""
        if not self._usages:
            return {}
        stride, at = _ACTIVITY.size // 8, _GAPS_AT // 8
        found = {}
        for vcpu in range(len(self.topology.vcpus)):
            late, late_ns = (self._activities[vcpu * stride + at + i] for i in range(2))
            covered = self._usages[vcpu * self._usage_words + _TICKED_WORD]
            found[vcpu] = Ticks(covered, late, late_ns, self._tick_ns)
        return found

    def note_pairs(self, pairs: Mapping[tuple[int, int], PairMeasure]) -> None:
        """Take over how far NUMA nodes are from each other by the latencies between vCPUs."""
        if self._nodes is None:
            return
        nodes = self._nodes.with_measured(pairs)
        if nodes != self._nodes:
            self._nodes = nodes
            write_nodes(self._obj, nodes)

    def note_probed(self, at_ns: int, forecasts: Mapping[int, Forecast]) -> None:
        """Write when the prober saw the vCPUs, and when it expects each to be away.

        Absences that repeat also say when the host has given the vCPU back.
        """
        stride, at = _ACTIVITY.size // 8, _PROBED_AT // 8
        for vcpu in range(len(self.topology.vcpus)):
            forecast = forecasts.get(vcpu)
            self._activities[vcpu * stride + at] = at_ns
            self._activities[vcpu * stride + at + 1] = forecast.at_ns if forecast else 0
            if self._usages:
                self._write_return(vcpu, forecast)

    def _write_return(self, vcpu: int, forecast: Forecast | None) -> None:
        words = self._usages[vcpu * self._usage_words :]
        period = round(forecast.period_ns or 0) if forecast else 0
        if forecast and period:
            # two before the one to come is past, wherever in its cycle the vCPU is now
            words[0] = max(forecast.at_ns + round(forecast.length_ns) - 2 * period, 0)
        words[1] = period

    def _write_measures(self, topology: Topology) -> bool:
        """Capacities and latencies, in force at once; whether any is new."""
        new = False
        for vcpu, before in zip(topology.vcpus, self.topology.vcpus, strict=True):
            at = vcpu.id * _VCPU.size
            if (vcpu.capacity, vcpu.pace) != (before.capacity, before.pace):
                self._places[(at + _CAPACITY_AT) // 2] = vcpu.capacity
                self._places[(at + _PACE_AT) // 2] = vcpu.pace
                new = True
            if vcpu.latency_ns != before.latency_ns:
                self._latencies[(at + _LATENCY_AT) // 4] = _latency_us(vcpu.latency_ns)
                new = True
        return new

    def _write_spots(self, topology: Topology, copy: int) -> None:
        following = _following(topology)
        for vcpu in topology.vcpus:
            at = vcpu.id * _VCPU.size // 2 + copy * _SPOT
            spot = (vcpu.llc, vcpu.node, following[vcpu.id], vcpu.stack)
            for number, value in enumerate(spot):
                self._places[at + number] = value

    def _write_llcs(self, topology: Topology, copy: int) -> None:
        llcs = self._obj.map("llcs")
        siblings_known = self._claimed_cores == _cores(topology)
        first: dict[int, int] = {}
        for vcpu in topology.vcpus:
            first.setdefault(vcpu.llc, vcpu.id)
        for llc in topology.llcs:
            near = llc.near[:MAX_NEAR]
            flat = [number for pair in near for number in pair]
            flat += [0] * (2 * MAX_NEAR - len(flat))
            raw = _LLC.pack(first[llc.index], siblings_known, len(near), *flat)
            llcs.write(copy * MAX_LLCS + llc.index, raw)

    def _switch(self) -> bool:
        for _ in range(_TRIES):
            result = self._program("vsched_switch_topology")
            if result != errno.EAGAIN:
                break
            time.sleep(_RETRY_S)
        self.fixed = result == errno.EOPNOTSUPP
        if result not in {0, errno.EAGAIN, errno.EOPNOTSUPP}:
            raise BpfError("cannot change the topology", result)
        return result == 0

    def _program(self, name: str) -> int:
        """Run a program of the object; the errno that it returns, 0 or less without one."""
        return -ctypes.c_int32(self._obj.program(name).test_run().retval).value


def _tick_ns() -> int:
    return round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)


def _placement(topology: Topology) -> tuple[object, ...]:
    """What two topologies have in common that differ in measures at most."""
    places = tuple((v.llc, v.node, v.stack) for v in topology.vcpus)
    return places, topology.llcs, _cores(topology)


def _cores(topology: Topology) -> frozenset[frozenset[int]]:
    """The vCPUs of each core."""
    members: dict[int, set[int]] = {}
    for vcpu in topology.vcpus:
        members.setdefault(vcpu.core, set()).add(vcpu.id)
    return frozenset(map(frozenset, members.values()))


def _steady(topology: Topology, before: Topology) -> Topology:
    """With the latencies of before where they are nearly the same: a mean always moves a little."""
    vcpus = tuple(
        replace(vcpu, latency_ns=old.latency_ns)
        if abs(vcpu.latency_ns - old.latency_ns) * _LATENCY_STEPS <= old.latency_ns
        else vcpu
        for vcpu, old in zip(topology.vcpus, before.vcpus, strict=True)
    )
    return replace(topology, vcpus=vcpus)


def _with_measures(places: Topology, measures: Topology) -> Topology:
    """The placement of one topology with the measures of the other."""
    vcpus = tuple(
        replace(
            place,
            capacity=measure.capacity,
            pace=measure.pace,
            latency_ns=measure.latency_ns,
        )
        for place, measure in zip(places.vcpus, measures.vcpus, strict=True)
    )
    return replace(places, vcpus=vcpus)


def _following(topology: Topology) -> dict[int, int]:
    """The next vCPU of the same cache, for each."""
    members: dict[int, list[int]] = {}
    for vcpu in topology.vcpus:
        members.setdefault(vcpu.llc, []).append(vcpu.id)
    return {
        member: after
        for ring in members.values()
        for member, after in zip(ring, ring[1:] + ring[:1], strict=True)
    }


def _latency_us(latency_ns: int) -> int:
    return min(latency_ns // 1000, 0xFFFFFFFF)
