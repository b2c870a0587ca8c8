"""The loop that keeps the picture of the vCPUs up to date: vcap, vact and vtop on one machine.

One thing at a time: looks and pair probes never overlap, so no two probes are on one vCPU. What is
known at any moment is a `ProbeSnapshot`, a plain value. An interrupt ends the loop wherever it is;
the machine leaves nothing behind.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from scx_vsched.topology.budget import Allowance, Budget
from scx_vsched.topology.hints import Hints, Known
from scx_vsched.topology.looks import LookSettings
from scx_vsched.topology.measure import VCpuMeasure
from scx_vsched.topology.snapshot import ProbeSnapshot, seen_availability, vcpu_measure
from scx_vsched.topology.upkeep import PERIODS, Upkeep
from scx_vsched.topology.vact import ActivityLog
from scx_vsched.topology.vcap import Vcap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scx_vsched.topology.hints import Shift, Ticks
    from scx_vsched.topology.prediction import Forecast
    from scx_vsched.topology.records import Availability, Machine
    from scx_vsched.topology.upkeep import TopologyProbe

__all__ = ["Prober"]

_SECOND_NS = 1_000_000_000
# Together with verification, what is saved up, and the interrupts that probes cause, within 0.5 %
# of a busy vCPU and 2 % of an idle one.
_LOOKS = Allowance(busy=0.0028, idle=0.016)
# Hints do not wait for the budget as long as what was overspent is earned within this time.
_CREDIT_NS = 20 * _SECOND_NS
# Looks at weak vCPUs do not wait for the budget, but for so long, and take this part of it at most:
# who is hidden runs nothing that would show that its time is back.
_WEAK_NS = 3 * _SECOND_NS
_WEAK_PART = 0.5
# A hinted change of so much of the share: the guest may have moved, and all vCPUs changed. They
# are all looked at whatever that costs, so often at most.
_MOVED = 0.15
_MOVED_EVERY_NS = 20 * _SECOND_NS
# A first measurement is done when each vCPU has so many samples in a row without doubt.
_SURE_SAMPLES = 3
# Watches kept for pictures.
_KEEP_WATCHES = 20_000


class Prober:
    """Drives the probes of one machine. Not for use by several threads."""

    def __init__(
        self,
        machine: Machine,
        topology: TopologyProbe | None = None,
        *,
        settings: LookSettings | None = None,
        limits: Sequence[str] = (),
        cpu_ns: Callable[[], int] = time.process_time_ns,
        ticks: Callable[[], Mapping[int, Ticks]] = dict,
        seed: int | None = None,
    ) -> None:
        """`limits` are degradations known beforehand; `cpu_ns` is all CPU time of the probing.

        `ticks` are what a scheduler beside the probers has counted so far.
        """
        self._machine = machine
        self._limits = tuple(limits)
        self._cpu_ns = cpu_ns
        self._settings = settings or LookSettings()
        self._vcap = Vcap(machine, self._settings, seed)
        self._logs: dict[int, ActivityLog] = {}
        self._upkeep = Upkeep(machine, topology, cpu_ns, self._vcap.kinds) if topology else None
        self._budget = Budget(machine.now_ns())
        self._ticks, self._hints = ticks, Hints()
        self._shifts: dict[int, Shift] = {}  # by ticks, and not looked at since
        self._weak_due_ns = self._moved_due_ns = 0
        self._has_moved = False
        self._watches: deque[Availability] = deque(maxlen=_KEEP_WATCHES)
        self._snapshot: ProbeSnapshot | None = None  # of all that was seen so far
        self._concluding_ns = 0  # its CPU time, not yet paid for
        self._began = (machine.now_ns(), cpu_ns())

    # -- measuring -------------------------------------------------------------------------------

    def first(
        self, duration_ns: int, progress: Callable[[str, float], None] = lambda *_: None
    ) -> None:
        """A first, quick measurement of everything.

        Looks without pauses until each vCPU has enough samples, for `duration_ns` at most beside
        the topology's full probe. `progress` hears what is going on, and how much of that is done.
        """
        progress("capacity", 0.0)
        began = self._machine.now_ns()
        while True:
            self._look(self._machine.vcpus(), paid=False)
            spent = self._machine.now_ns() - began
            progress("capacity", min(spent / duration_ns, 1.0))
            if spent >= duration_ns or self._sure():
                break
        if self._upkeep:
            progress("topology", 0.0)
            self._upkeep.probe()
            self._others_probed()
            progress("topology", 1.0)
        self._began = (self._machine.now_ns(), self._cpu_ns())

    def step(self, until_ns: int) -> None:
        """Does what is due next, or sleeps until that or `until_ns`, whichever comes first."""
        self._take_hints()
        now = self._machine.now_ns()
        look_ns = max(self._vcap.due_ns(), self._budget.free_ns())
        if self._upkeep and self._upkeep.due_ns <= now:
            self._upkeep.check()
            self._others_probed()
        elif look_ns <= now:
            self._look(None)
        elif urgent := self._vcap.urgent(hinted=self._has_moved or look_ns - now <= _CREDIT_NS):
            self._look(urgent)
            self._has_moved = False
        elif now >= self._weak_due_ns and (weak := self._vcap.weak()):
            self._look_at_weak(weak)
        else:
            due = min(look_ns, self._upkeep.due_ns) if self._upkeep else look_ns
            self._machine.sleep_ns(max(min(due, until_ns) - now, 0))

    def run(self, every_ns: int, duration_ns: int | None = None) -> Iterator[ProbeSnapshot]:
        """A snapshot every `every_ns`, for `duration_ns` or for ever."""
        end = None if duration_ns is None else self._machine.now_ns() + duration_ns
        until = self._machine.now_ns()
        while end is None or until < end:
            until += every_ns if end is None else min(every_ns, end - until)
            while self._machine.now_ns() < until:
                self.step(until)
            yield self.snapshot()

    def _take_hints(self) -> None:
        """Takes over what ticks prove; what they only hint at is looked at at once."""
        ticks = self._ticks()
        if not ticks:
            return
        now, known = self._machine.now_ns(), self._known()
        for vcpu, shift in self._hints.add(now, ticks, known).items():
            self._vcap.accept(vcpu, shift.share, shift.error)
            self._shifts[vcpu] = shift
            self._snapshot = None
            self._moved(now, shift.share - known[vcpu].share)
        self._vcap.hint(self._hints.pending)

    def _known(self) -> dict[int, Known]:
        found = {}
        for vcpu, share in self._vcap.shares().items():
            activity = self._logs[vcpu].activity() if vcpu in self._logs else None
            shift = self._shifts.get(vcpu)
            absence_ns = shift.absence_ns if shift else activity.mean_ns if activity else 0.0
            found[vcpu] = Known(share, absence_ns)
        return found

    def _moved(self, now_ns: int, change: float) -> None:
        """The share of some vCPU has changed by so much: all others may have, too."""
        if abs(change) >= _MOVED and now_ns >= self._moved_due_ns:
            self._moved_due_ns = now_ns + _MOVED_EVERY_NS
            self._has_moved = True
            self._vcap.hint(self._machine.vcpus())

    def _look(self, only: Sequence[int] | None, *, paid: bool = True) -> None:
        """Looks at the vCPUs that are due, or those of `only`."""
        before_ns = self._cpu_ns() - self._concluding_ns
        shares = self._vcap.shares() if self._hints.pending else {}
        self._snapshot, self._concluding_ns = None, 0
        seen = self._vcap.look(only)
        changed = self._vcap.changed()
        if self._upkeep and len(changed) > 1:
            self._upkeep.suspect(changed)
        for vcpu, look in seen.items():
            log = self._logs.setdefault(vcpu, ActivityLog())
            if vcpu in changed or vcpu in self._shifts:
                log.restart()
            log.add(look)
            self._shifts.pop(vcpu, None)
            self._watches.extend(map(seen_availability, look))
        self._settle_hints(shares)
        if paid:
            rate = _LOOKS.rate(*self._vcap.kinds())
            self._budget.spend(self._machine.now_ns(), self._cpu_ns() - before_ns, rate)

    def _look_at_weak(self, weak: Sequence[int]) -> None:
        before_ns = self._cpu_ns()
        self._look(weak)
        paid_ns = (self._cpu_ns() - before_ns) / _LOOKS.rate(*self._vcap.kinds()) / _WEAK_PART
        self._weak_due_ns = self._machine.now_ns() + max(_WEAK_NS, round(paid_ns))

    def _settle_hints(self, before: Mapping[int, float]) -> None:
        """What became of hints; `before` are the shares before the look."""
        if not self._hints.pending:
            return
        now, shares = self._machine.now_ns(), self._vcap.shares()
        for vcpu in sorted(self._hints.pending):
            if self._vcap.hinted(vcpu) or self._vcap.suspects(vcpu):
                continue
            if self._hints.settle(vcpu, now, shares[vcpu]):
                self._moved(now, shares[vcpu] - before[vcpu])

    def _others_probed(self) -> None:
        self._snapshot = None
        self._hints.restart(self._machine.now_ns(), self._ticks())
        self._vcap.others_probed()

    def _sure(self) -> bool:
        estimates = self._vcap.estimates()
        return all(
            vcpu in estimates and self._vcap.sure(vcpu, _SURE_SAMPLES)
            for vcpu in self._machine.vcpus()
        )

    # -- concluding ------------------------------------------------------------------------------

    def watches(self, since_ns: int = 0) -> tuple[Availability, ...]:
        """The latest watches, those that ended after `since_ns`, with starts of gaps corrected."""
        return tuple(watch for watch in self._watches if watch.end_ns > since_ns)

    def snapshot(self) -> ProbeSnapshot:
        """What is known; the same object while nothing more was seen."""
        if self._snapshot is None:
            before_ns = self._cpu_ns()
            self._snapshot = self._conclude()
            self._concluding_ns += self._cpu_ns() - before_ns
        return self._snapshot

    def _conclude(self) -> ProbeSnapshot:
        now = self._machine.now_ns()
        estimates = self._vcap.estimates()
        unavailable = self._machine.unavailable()
        forecasts: dict[int, Forecast] = {}
        measures: dict[int, VCpuMeasure] = {}
        for vcpu in sorted({*estimates, *unavailable, *self._machine.vcpus()}):
            if vcpu in unavailable:
                measures[vcpu] = VCpuMeasure(unavailable=unavailable[vcpu])
                continue
            log = self._logs.get(vcpu)
            # a shift has made what was seen before void
            shift = self._shifts.get(vcpu)
            forecast = log.forecast(now) if log and not shift else None
            if forecast:
                forecasts[vcpu] = forecast
            if vcpu in estimates:
                activity = log.activity() if log else None
                if activity and shift:
                    activity = replace(activity, mean_ns=shift.absence_ns)
                measures[vcpu] = vcpu_measure(estimates[vcpu], activity, forecast)
            else:
                measures[vcpu] = VCpuMeasure()
        return ProbeSnapshot(
            at_ns=now,
            measures=measures,
            estimates=estimates,
            forecasts=forecasts,
            evidence=self._vcap.evidence(),
            topology=self._upkeep.topology if self._upkeep else None,
            topology_changes=self._upkeep.changes if self._upkeep else 0,
            overhead=self._overhead(now),
            degradations=self._degradations(unavailable, measures),
            settings={
                **asdict(self._settings),
                **PERIODS,
            },
        )

    def _overhead(self, now_ns: int) -> float | None:
        began_ns, cpu_ns = self._began
        if now_ns - began_ns < _SECOND_NS:
            return None
        vcpus = max(len(self._machine.vcpus()), 1)
        return (self._cpu_ns() - cpu_ns) / (now_ns - began_ns) / vcpus

    def _degradations(
        self, unavailable: Mapping[int, str], measures: Mapping[int, VCpuMeasure]
    ) -> tuple[str, ...]:
        found = list(self._limits)
        found += [f"vCPU {vcpu} is not measured: {why}." for vcpu, why in unavailable.items()]
        found += [
            f"vCPU {vcpu} has no capacity yet: no probe got to run there."
            for vcpu, measure in measures.items()
            if measure.capacity is None and vcpu not in unavailable
        ]
        if self._machine.steal_ns() is None:
            found.append("The kernel counts no steal: capacities come from gaps alone.")
        if self._upkeep and self._upkeep.topology:
            found += self._upkeep.topology.notes
        return tuple(found)
