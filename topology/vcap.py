"""vcap: the capacity of each vCPU, 0 to 1024 (vSched §3.1, facts §1).

capacity = share of time really available, times speed of the core. 1024 is the fastest core of this
guest running all the time. The share comes from steal or from gaps in the clock, whichever the
evidence supports (steal.py); both are always taken, so that they can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol

from scx_vsched.topology.capacity import VCpuCapacity
from scx_vsched.topology.evidence import observe, share_of
from scx_vsched.topology.looks import Looks, LookSettings, next_window_ns
from scx_vsched.topology.measure import Evidence
from scx_vsched.topology.records import Demand
from scx_vsched.topology.speed import SpeedTracker
from scx_vsched.topology.steal import STEAL_TICK_NS, Clocks, StealSource, stolen_between
from scx_vsched.topology.tracking import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scx_vsched.topology.capacity import CapacityEstimate
    from scx_vsched.topology.evidence import Observation, ShareSample
    from scx_vsched.topology.records import Machine
    from scx_vsched.topology.steal import SourceEvidence
    from scx_vsched.topology.tracking import ShareTracker

__all__ = ["CapacitySource", "GapSource", "Look", "Round", "Vcap"]

type Look = tuple[Observation, ...]
"""What was watched of one vCPU in one round, in the order of time; never empty."""

_MS = 1_000_000
# Wanted for at least this part of the time, a vCPU is busy: a sleeper then sees all its gaps.
_BUSY = 0.95
_CLASSIFY_NS = 100 * _MS
# Speeds: all vCPUs spin for so long, so often; oftener until each was seen running.
_HEAVY_NS = 10 * _MS
_HEAVY_EVERY_NS = 30_000 * _MS
_HEAVY_AGAIN_NS = 2_000 * _MS
# Below this part of the mean share a vCPU is weak; the scheduler may hide such ones.
_WEAK = 0.5
# Steal counts ticks: doubt is settled by a span, with the look, that has some.
_STEAL_AGAIN_NS = 200 * _MS


@dataclass(frozen=True, slots=True)
class Round:
    """What one round brought: readings at its start and end, and what was watched in between."""

    since: Clocks  # the end of the round before
    after: Clocks
    seen: Mapping[int, Look]


class CapacitySource(Protocol):
    """One way to tell which share of time a vCPU really had."""

    evidence: Evidence

    def samples(self, done: Round) -> dict[int, ShareSample]:
        """The shares of the vCPUs of which this source can say anything."""


class GapSource:
    """Shares from gaps in the clock."""

    evidence = Evidence.GAPS

    def samples(self, done: Round) -> dict[int, ShareSample]:
        """The shares of the vCPUs that were watched."""
        return {vcpu: share_of(look) for vcpu, look in done.seen.items()}


class Vcap:
    """Looks at the vCPUs of a machine, round by round, and keeps an estimate of each."""

    def __init__(
        self, machine: Machine, settings: LookSettings | None = None, seed: int | None = None
    ) -> None:
        self._machine = machine
        self._settings = settings or LookSettings()
        # Chance only spreads the looks over time.
        self._rng = Random(seed)  # noqa: S311
        self._steal = StealSource()
        self._gaps = GapSource()
        self._speed = SpeedTracker()
        self._vcpus: dict[int, VCpuCapacity] = {}
        # Asking the machine costs a system call or more: once a round is enough.
        self._here: tuple[int, ...] = ()
        self._empty_until_ns = 0
        self._clocks: Clocks | None = None
        self._heavy_due_ns = 0
        self._changed: set[int] = set()
        self._hinted: set[int] = set()
        self.cpu_ns = 0  # CPU time of all watches so far

    def due_ns(self) -> int:
        """When the next look is due (CLOCK_MONOTONIC)."""
        if not self._here:
            return self._empty_until_ns
        return min(self._vcpu(vcpu).looks.due_ns for vcpu in self._here)

    def urgent(self, *, hinted: bool) -> tuple[int, ...]:
        """The due vCPUs whose last look has to be confirmed; `hinted` ones, too, if wanted."""
        now = self._machine.now_ns()
        return tuple(
            vcpu
            for vcpu in self._here
            if self._vcpu(vcpu).looks.due_ns <= now
            and (self.suspects(vcpu) or (hinted and vcpu in self._hinted))
        )

    def hint(self, vcpus: Iterable[int]) -> None:
        """Something else than looks says that these may have changed."""
        now = self._machine.now_ns()
        for vcpu in set(vcpus) - self._hinted:
            self._hinted.add(vcpu)
            self._vcpu(vcpu).looks.again(now)

    def accept(self, vcpu: int, share: float, error: float) -> None:
        """A share that something else than looks has shown; a look is due."""
        state = self._vcpu(vcpu)
        for source in Evidence:
            if state.tracker(source).samples:
                state.tracker(source).accept(share, error)
        state.publish(self._used(state), self._speed.speed(vcpu))
        self.hint({vcpu})

    def suspects(self, vcpu: int) -> bool:
        """Whether the last look at it has to be confirmed."""
        return self._tracker(vcpu).suspect

    def hinted(self, vcpu: int) -> bool:
        """Whether it has not been looked at since a hint."""
        return vcpu in self._hinted

    def weak(self) -> tuple[int, ...]:
        """Due vCPUs that are hardly ever there: a look at them takes little of anything."""
        now = self._machine.now_ns()
        shares = self.shares()
        least = _WEAK * sum(shares.values()) / max(len(shares), 1)
        return tuple(
            vcpu
            for vcpu, share in shares.items()
            if share < least and self._vcpu(vcpu).looks.due_ns <= now
        )

    def shares(self) -> dict[int, float]:
        """The share of each vCPU that has one."""
        trackers = {vcpu: self._tracker(vcpu) for vcpu in self._here}
        return {vcpu: tracker.mean for vcpu, tracker in trackers.items() if tracker.samples}

    def kinds(self) -> tuple[int, int]:
        """How many vCPUs are busy, and how many idle."""
        busy = sum(self._vcpu(vcpu).looks.demand is Demand.SLEEP for vcpu in self._here)
        return busy, len(self._here) - busy

    def changed(self) -> frozenset[int]:
        """The vCPUs of which the last look found that their gaps had changed."""
        return frozenset(self._changed)

    def sure(self, vcpu: int, samples: int) -> bool:
        """Whether so many samples in a row agreed."""
        tracker = self._tracker(vcpu)
        return tracker.samples >= samples and not tracker.suspect

    def others_probed(self) -> None:
        """Other probes kept vCPUs busy since the last look: that time says nothing of the guest."""
        if self._clocks is not None:
            self._clocks = Clocks.read(self._machine)

    def evidence(self) -> SourceEvidence:
        """Which source counts, and why."""
        return self._steal.judge()

    def estimates(self) -> dict[int, CapacityEstimate]:
        """What is known of each vCPU that was seen at least once."""
        return {
            vcpu: state.estimate(
                self._used(state),
                self._speed.speed(vcpu),
                busy=state.looks.demand is Demand.SLEEP,
            )
            for vcpu, state in sorted(self._vcpus.items())
            if state.capacity is not None
        }

    def look(self, only: Iterable[int] | None = None) -> dict[int, Look]:
        """One round: watch the vCPUs that are due, or those of `only`, and take in what shows.

        Blocks for the windows' lengths, together less than a second.
        """
        self._here = self._machine.vcpus()
        since, before = self._classify()
        self._spin_all(before.at_ns)
        now = self._machine.now_ns()
        self._empty_until_ns = now + self._settings.period_ns
        if only is None:
            due = [vcpu for vcpu in self._here if self._vcpu(vcpu).looks.due(now)]
        else:
            due = list(only)
        seen = self._watch(due)
        after = Clocks.read(self._machine)
        self._take_in(Round(since, after, seen), due)
        self._clocks = after
        return seen

    # -- looking ---------------------------------------------------------------------------------

    def _vcpu(self, vcpu: int) -> VCpuCapacity:
        if vcpu not in self._vcpus:
            self._vcpus[vcpu] = VCpuCapacity(Looks(self._settings, self._rng))
        return self._vcpus[vcpu]

    def _tracker(self, vcpu: int) -> ShareTracker:
        state = self._vcpu(vcpu)
        return state.tracker(self._used(state))

    def _classify(self) -> tuple[Clocks, Clocks]:
        """Who is busy, by the time since the last round, in which no probe ran."""
        since = self._clocks
        now = Clocks.read(self._machine)
        if since is None or now.at_ns - since.at_ns < _CLASSIFY_NS:
            first = since is None
            since = since or now
            if first:
                self._machine.sleep_ns(_CLASSIFY_NS)
                now = Clocks.read(self._machine)
        span = now.at_ns - since.at_ns
        if span >= _CLASSIFY_NS:
            # Both ends of the span are rounded to ticks.
            least = _BUSY - min(STEAL_TICK_NS / span, 0.15)
            for vcpu in self._here:
                share = now.busy_share(since, vcpu)
                busy = share is not None and share >= least
                self._vcpu(vcpu).looks.demand = Demand.SLEEP if busy else Demand.IDLE
        return since, now

    def _watch(self, due: list[int]) -> dict[int, Look]:
        """Watches of the same kind together, one kind after the other."""
        now = self._machine.now_ns()
        groups: dict[tuple[Demand, tuple[int, ...]], list[int]] = {}
        for vcpu in due:
            looks = self._vcpu(vcpu).looks
            groups.setdefault((looks.demand, looks.windows_ns(now)), []).append(vcpu)
        seen: dict[int, Look] = {}
        for (demand, windows_ns), vcpus in sorted(groups.items()):
            parts: dict[int, list[Observation]] = {}
            before = self._machine.steal_ns()
            for i, window_ns in enumerate(windows_ns):
                if i:
                    self._machine.sleep_ns(round(self._rng.random() * _MS))
                for vcpu, observed in self._watch_once(vcpus, window_ns, demand).items():
                    parts.setdefault(vcpu, []).append(observed)
            stolen = stolen_between(before, self._machine.steal_ns())
            self._steal.compare(self._machine.now_ns(), stolen, parts)
            if demand is not Demand.SLEEP:
                self._extend(parts, demand)
            for vcpu, look in parts.items():
                self._vcpu(vcpu).looks.seen(look)
                seen[vcpu] = tuple(look)
        return seen

    def _watch_once(
        self, vcpus: list[int], window_ns: int, demand: Demand
    ) -> dict[int, Observation]:
        found: dict[int, Observation] = {}
        for vcpu, seen in self._machine.watch(vcpus, window_ns, demand).items():
            observed = observe(seen)
            self.cpu_ns += seen.cpu_ns
            self._vcpu(vcpu).looks.paid(observed.elapsed_ns, seen.cpu_ns)
            if demand is Demand.SLEEP or _ran(seen.cpu_ns, observed):
                found[vcpu] = observed
        return found

    def _extend(self, parts: dict[int, list[Observation]], demand: Demand) -> None:
        """Go on with idle vCPUs of which a gap was seen, but no whole cycles."""
        while True:
            longer: dict[int, list[int]] = {}
            for vcpu, look in parts.items():
                if extension := next_window_ns(look[-1], self._settings):
                    longer.setdefault(extension, []).append(vcpu)
            if not longer:
                return
            for extension, group in sorted(longer.items()):
                for vcpu, observed in self._watch_once(group, extension, demand).items():
                    # the first, short look began with an unused quota
                    parts[vcpu] = [observed]
                for vcpu in group:
                    if parts[vcpu][-1].elapsed_ns < extension * 9 // 10:
                        return  # it left, or the guest needs it now

    def _spin_all(self, now_ns: int) -> None:
        """The heavy phase: all vCPUs at the same moment."""
        if now_ns < self._heavy_due_ns or not self._here:
            return
        for vcpu, seen in self._machine.watch(self._here, _HEAVY_NS, Demand.NORMAL).items():
            self.cpu_ns += seen.cpu_ns
            self._speed.add(seen, observe(seen))
            self._vcpu(vcpu)
        self._speed.settle()
        complete = all(self._speed.known(vcpu) for vcpu in self._here)
        self._heavy_due_ns = now_ns + (_HEAVY_EVERY_NS if complete else _HEAVY_AGAIN_NS)

    # -- concluding ------------------------------------------------------------------------------

    def _take_in(self, done: Round, due: list[int]) -> None:
        sources: tuple[CapacitySource, ...] = (self._gaps, self._steal)
        now = done.after.at_ns
        touched = set(due)
        self._changed.clear()
        for source in sources:
            for vcpu, sample in source.samples(done).items():
                state = self._vcpu(vcpu)
                verdict = state.add(source.evidence, sample, now, expected=vcpu in self._hinted)
                if source.evidence is Evidence.GAPS and verdict is Verdict.CHANGED:
                    self._changed.add(vcpu)
                if source.evidence is self._used(state):
                    state.samples += 1
                    touched.add(vcpu)
        for vcpu in self._changed:
            self._vcpu(vcpu).confirm()
        self._hinted.difference_update(due)
        jitter = 2 * self._rng.random() - 1
        for vcpu in sorted(touched):
            state = self._vcpu(vcpu)
            used = self._used(state)
            tracker = state.tracker(used)
            if tracker.suspect:
                state.looks.again(now + (_STEAL_AGAIN_NS if used is Evidence.STEAL else 0))
            elif vcpu in due:
                state.looks.rest(now, steady_looks=tracker.steady, jitter=jitter)
            state.publish(used, self._speed.speed(vcpu))

    def _used(self, state: VCpuCapacity) -> Evidence:
        """The source that counts for one vCPU."""
        believed = self._steal.judge().kind is Evidence.STEAL
        return state.used(self._machine.now_ns(), steal_believed=believed)


def _ran(cpu_ns: int, observed: Observation) -> bool:
    """Whether a spinner got the time that the host gave; else the guest's own tasks had it."""
    return cpu_ns >= (observed.elapsed_ns - observed.away_ns) / 2
