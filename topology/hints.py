"""What the ticks of a scheduler at work tell of vCPUs, against what is known of them.

A tick that comes late says that the vCPU was away. The scheduler sees that for nothing, all the
time that a task runs, while looks are on a budget. It is coarse: an absence began at any time since
the tick before, and one that fits in between does not show. So ticks give the least and the most
of a share. A vCPU that had less than is known has lost some, that much is sure. One that seems to
have more has more if its absences were so long that ticks show them all; else it is worth a look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Hints", "Known", "Shift", "Ticks"]

_MS = 1_000_000
# Ticks over so much time make a share.
_LEAST_NS = 160 * _MS
# Of a vCPU that was wanted for less of the time absences may be hidden, by bursts that end in time
# and tasks that leave in time; or they are all that is seen, where tasks leave at once otherwise.
_BUSY = 0.6
_SOME = 0.3
# So far beyond the least or the most counts; what follows each other is added up.
_BEYOND = 0.06
_ENOUGH = 0.2
_LEAST_ERROR = 0.02
# A tick that is less late is none (GAP_NS in templates/guest/maps.h.j2).
_LATE_NS = 1 * _MS
# After a look in vain ticks are not believed for so long, and twice as long after each one more.
_AGAIN_NS = 2_000 * _MS
_AGAIN_MOST_NS = 60_000 * _MS


@dataclass(frozen=True, slots=True)
class Ticks:
    """What a scheduler has counted at one vCPU up to now.

    `covered_ns` is the time between ticks while its tasks ran; `late` of them came late, by
    `late_ns` together.
    """

    covered_ns: int
    late: int
    late_ns: int
    tick_ns: int


@dataclass(frozen=True, slots=True)
class Known:
    """What looks have found of a vCPU: its share, and how long it goes away in the mean."""

    share: float
    absence_ns: float


@dataclass(frozen=True, slots=True)
class Shift:
    """A share that is another than what is known, with its error, and its mean absence."""

    share: float
    error: float
    absence_ns: float


@dataclass(slots=True)
class _VCpu:
    since: Ticks
    since_ns: int
    beyond: float = 0.0  # the sum of what was seen beyond the bounds, on one side
    known: float = 0.0  # when a look was asked for
    pause_ns: int = _AGAIN_NS
    not_before_ns: int = 0


@dataclass(slots=True)
class Hints:
    """Compares what ticks tell with what is known, vCPU by vCPU.

    `pending` are vCPUs that are to be looked at, until `settle` is told what came of it.
    """

    pending: set[int] = field(default_factory=set)
    _vcpus: dict[int, _VCpu] = field(default_factory=dict)

    def add(
        self, now_ns: int, ticks: Mapping[int, Ticks], known: Mapping[int, Known]
    ) -> dict[int, Shift]:
        """Take in what has been counted by now; what ticks prove to be otherwise.

        Whoever seems to differ is `pending` from then on.
        """
        found = {}
        for vcpu, newest in ticks.items():
            state = self._vcpus.get(vcpu)
            # a scheduler that has just begun counts from 0
            if state is None or newest.covered_ns < state.since.covered_ns:
                self._vcpus[vcpu] = _VCpu(newest, now_ns)
                continue
            covered = newest.covered_ns - state.since.covered_ns
            if covered < _LEAST_NS:
                continue
            part = covered / max(now_ns - state.since_ns, 1)
            late = newest.late - state.since.late
            most = 1.0 - (newest.late_ns - state.since.late_ns) / covered
            least = max(most - late * newest.tick_ns / covered, 0.0)
            state.since, state.since_ns = newest, now_ns
            if part < _SOME or vcpu not in known or now_ns < state.not_before_ns:
                continue
            before = known[vcpu]
            at_least = least if part >= _BUSY else 0.0
            if not _contradicts(state, at_least, most, before.share):
                continue
            if vcpu not in self.pending:
                state.known = before.share
                self.pending.add(vcpu)
            if most < before.share or before.absence_ns >= newest.tick_ns + _LATE_NS:
                share, away = (most + least) / 2, covered * (2.0 - most - least) / 2
                error = max((most - least) / 4, _LEAST_ERROR)
                found[vcpu] = Shift(share, error, away / late if late else 0.0)
                state.beyond = 0.0
        return found

    def restart(self, now_ns: int, ticks: Mapping[int, Ticks]) -> None:
        """Probes have been in the tasks' way: ticks up to now say nothing."""
        for vcpu, newest in ticks.items():
            if vcpu in self._vcpus:
                self._vcpus[vcpu].since = newest
                self._vcpus[vcpu].since_ns = now_ns

    def settle(self, vcpu: int, now_ns: int, share: float) -> bool:
        """One of `pending` has been looked at, and has this share; whether that is new."""
        self.pending.discard(vcpu)
        state = self._vcpus[vcpu]
        state.beyond = 0.0
        if abs(share - state.known) >= _BEYOND:
            state.pause_ns = _AGAIN_NS
            return True
        state.not_before_ns = now_ns + state.pause_ns
        state.pause_ns = min(2 * state.pause_ns, _AGAIN_MOST_NS)
        return False


def _contradicts(state: _VCpu, least: float, most: float, known: float) -> bool:
    beyond = min(most - known, 0.0) + max(least - known, 0.0)
    if abs(beyond) < _BEYOND:
        state.beyond = 0.0
        return False
    state.beyond = beyond if state.beyond * beyond < 0 else state.beyond + beyond
    return abs(state.beyond) >= _ENOUGH
