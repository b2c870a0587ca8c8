"""What user space makes of the simulated probers' watches: the same estimates as in a guest.

The engine watches (scx_vsched/sim/engine/probe.c); shares, absences and forecasts come from the
very code that measures real vCPUs. What has no counterpart in a simulation (pair probes) is told
when a real prober would have found it out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scx_vsched.topology.evidence import observe, share_of
from scx_vsched.topology.model import FULL_CAPACITY, Topology
from scx_vsched.topology.records import Availability, Gap
from scx_vsched.topology.tracking import ShareTracker, Verdict
from scx_vsched.topology.vact import ActivityLog

if TYPE_CHECKING:
    from scx_vsched.sim.machine import Machine
    from scx_vsched.topology.prediction import Forecast

__all__ = ["Findings", "Found"]

_SURE = 0.5  # as in scx_vsched.runtime.feeding
# Stacks come from pair probes, which are repeated every 2 to 4 s (docs/topology.md).
_VERIFIED_NS = 3_000_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """What the scheduler is told after a watch."""

    topology: Topology
    at_ns: int
    forecasts: dict[int, Forecast]
    suspect: bool  # the vCPU should be looked at again at once


class Findings:
    """What the probers of one simulated guest know."""

    def __init__(self, machine: Machine) -> None:
        vcpus = range(len(machine.vcpus))
        self._told = machine.topology()
        self._steal = machine.steal_visible
        self._trackers = [ShareTracker() for _ in vcpus]
        self._logs = [ActivityLog() for _ in vcpus]
        self._speeds = [0] * len(vcpus)
        self._seen_on: list[tuple[int, int] | None] = [None for _ in vcpus]
        self._latencies = [0] * len(vcpus)
        self._forecasts: dict[int, Forecast] = {}

    def add(self, watch: Any) -> Found:
        """Takes in a watch (layout.Watch) and says what is known after it."""
        vcpu, now = watch.vcpu, watch.end_ns
        gaps = [Gap(watch.gaps[2 * i], watch.gaps[2 * i + 1]) for i in range(watch.nr_gaps)]
        if watch.open_ns:
            gaps.append(Gap(now - watch.open_ns, watch.open_ns))
        seen = observe(Availability(vcpu, watch.start_ns, now, tuple(gaps), 0, 0, 0))
        verdict = self._trackers[vcpu].add(share_of((seen,)))
        if verdict is Verdict.CHANGED:
            self._logs[vcpu].restart()
        self._logs[vcpu].add((seen,))
        activity = self._logs[vcpu].activity()
        self._latencies[vcpu] = round(activity.mean_ns) if activity else 0
        self._speeds[vcpu] = watch.speed
        before = self._seen_on[vcpu]
        if before is None or before[0] != watch.pcpu:
            self._seen_on[vcpu] = (watch.pcpu, now)
        self._forecasts.pop(vcpu, None)
        forecast = self._logs[vcpu].forecast(now)
        if forecast and forecast.confidence >= _SURE:
            self._forecasts[vcpu] = forecast
        suspect = verdict is Verdict.SUSPECT
        return Found(self._topology(now), now, dict(self._forecasts), suspect)

    def _topology(self, now: int) -> Topology:
        fastest = max(self._speeds)
        lowest: dict[int, int] = {}
        vcpus = []
        for place in self._told.vcpus:
            tracker, speed = self._trackers[place.id], self._speeds[place.id]
            if not tracker.samples:
                vcpus.append(place)
                continue
            pace = speed / fastest
            capacity = round(FULL_CAPACITY * tracker.published * pace)
            stack = place.id
            seen_on = self._seen_on[place.id]
            if seen_on and now - seen_on[1] >= _VERIFIED_NS:
                stack = lowest.setdefault(seen_on[0], place.id)
            vcpus.append(
                replace(
                    place,
                    capacity=capacity,
                    pace=round(FULL_CAPACITY * pace) if self._steal else capacity,
                    latency_ns=self._latencies[place.id],
                    stack=stack,
                    core=self._told.vcpus[stack].core,
                )
            )
        return replace(self._told, vcpus=tuple(vcpus))
