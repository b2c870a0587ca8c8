"""When to look at which vCPU next, for how long, and how: as often as the budgets permit.

A busy vCPU is watched by a sleeper: it costs a few microseconds a millisecond, whatever the
window. An idle vCPU has to be kept busy to see what the host would give it: each look is paid for
with a pause, so that the duty stays below its limit. A look that surprises is repeated at once,
and its cost is paid for afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from scx_vsched.topology.records import Demand

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from scx_vsched.topology.evidence import Observation

__all__ = ["LookSettings", "Looks", "next_window_ns"]

_MS = 1_000_000
# Pauses vary by this part, so that looks never march in step with a quota.
_JITTER = 0.15
# A sleeper wakes up in fixed steps of about a millisecond, which fall at the same place in each
# cycle of a quota. For short cycles that place matters, so a look is cut in several watches.
_SHORT_CYCLE_NS = 16 * _MS
_PIECES = 5
# Waking up may be dear (in an emulated guest it is, tenfold), and its cost unclear where CPU time
# includes absences. A sleeper looks for at least so long, and for longer at a vCPU that is taken
# away: pieces of a few milliseconds hold no whole cycles, and what they show is chance.
_LEAST_SLEEP_NS, _LEAST_SLEEP_AWAY_NS = 60 * _MS, 160 * _MS
# Who is due within this part of the period is looked at with those who are due now.
_JOINS = 0.15
# In a window of so many cycles there is at least one whole one. A sleeper can afford more.
_CYCLES = 2.2
_SLEEPER_CYCLES = 5.0
# Windows are rounded up to these, so that vCPUs which are due together are watched together.
_WINDOWS_NS = tuple(ms * _MS for ms in (16, 20, 28, 36, 48, 64, 96, 128, 192, 256, 320))
_LONG_LOOK_NS = 128 * _MS
_FIRST_EXTENSION_NS = 80 * _MS
# Seen for so long, what takes less than this part of the time needs no whole cycles to be exact.
_LITTLE = 0.03


@dataclass(frozen=True, slots=True)
class LookSettings:
    """How often, how long and at which cost a vCPU is looked at.

    With the defaults a change is seen within two looks of at most `period_ns` and their windows,
    hence well within 3 s.
    """

    fast_period_ns: int = 800 * _MS
    period_ns: int = 1400 * _MS  # once it has been steady
    steady_looks: int = 6
    sleep_window_ns: int = 200 * _MS
    longest_window_ns: int = 320 * _MS
    busy_cpu: float = 0.003  # of a busy vCPU, for sleepers
    idle_duty: float = 0.0145  # of an idle vCPU, for spinners
    long_look_every_ns: int = 60_000 * _MS  # on an idle vCPU that seems to be always there


class Looks:
    """The looks at one vCPU."""

    def __init__(self, settings: LookSettings, rng: Random) -> None:
        self._settings = settings
        self._rng = rng
        self.due_ns = 0
        self.demand = Demand.IDLE
        self.cycle_ns: int | None = None  # as last seen
        self.away = False  # whether any gap was seen in the last look
        self._debt_ns = 0
        self._wake_cost = 0.005  # CPU time per time watched, of a sleeper
        self._long_look_ns = 0

    def windows_ns(self, now_ns: int) -> tuple[int, ...]:
        """How long to look now, in one watch or several."""
        window = self._window_ns(now_ns)
        if self.demand is Demand.SLEEP and self.away and (self.cycle_ns or 0) <= _SHORT_CYCLE_NS:
            return (window // _PIECES,) * _PIECES
        return (window,)

    def _window_ns(self, now_ns: int) -> int:
        settings = self._settings
        cycle = self.cycle_ns or 0
        wanted = round(_CYCLES * cycle)
        if self.demand is Demand.SLEEP:
            wanted = round(_SLEEPER_CYCLES * cycle)
            affordable = settings.busy_cpu * settings.fast_period_ns / self._wake_cost
            least = _LEAST_SLEEP_AWAY_NS if self.away else _LEAST_SLEEP_NS
            window = min(max(wanted, settings.sleep_window_ns), max(affordable, least))
            return min(round(window), settings.longest_window_ns)
        if not wanted and now_ns >= self._long_look_ns:
            self._long_look_ns = now_ns + settings.long_look_every_ns
            # Not in step with the other vCPUs: they would all be kept from sleeping together.
            self._long_look_ns -= round(self._rng.random() * settings.long_look_every_ns / 4)
            wanted = _LONG_LOOK_NS
            self._debt_ns -= wanted  # its cost is what idle_duty leaves of the limit
        return min(
            next((w for w in _WINDOWS_NS if w >= wanted), _WINDOWS_NS[-1]),
            settings.longest_window_ns,
        )

    def paid(self, elapsed_ns: int, cpu_ns: int) -> None:
        """Take in what a watch of `elapsed_ns` has cost."""
        if self.demand is Demand.SLEEP:
            self._wake_cost = max(cpu_ns / max(elapsed_ns, 1), 0.0005)
        else:
            self._debt_ns += cpu_ns

    def seen(self, look: Sequence[Observation]) -> None:
        """Learn how long the vCPU's cycle is."""
        self.away = any(observed.away_ns for observed in look)
        cycles = [observed.cycle_ns for observed in look if observed.cycle_ns]
        if cycles:
            self.cycle_ns = round(median(cycles))
        elif not self.away:
            self.cycle_ns = None

    def rest(self, now_ns: int, *, steady_looks: int, jitter: float) -> None:
        """Nothing is in doubt: the next look is due after a pause that pays for the last ones.

        `jitter` is from -1 to 1, the same for all vCPUs of a round: those that share something are
        to be seen together.
        """
        settings = self._settings
        steady = steady_looks >= settings.steady_looks
        period = settings.period_ns if steady else settings.fast_period_ns
        pause = period * (1 + _JITTER * jitter)
        self.due_ns = now_ns + round(max(pause, self._debt_ns / settings.idle_duty))
        self._debt_ns = 0

    def due(self, now_ns: int) -> bool:
        """Whether it is time for a look, or so nearly that it had better join those who are due."""
        return self.due_ns <= now_ns + round(_JOINS * self._settings.fast_period_ns)

    def again(self, at_ns: int) -> None:
        """The last look has to be confirmed."""
        self.due_ns = at_ns


def next_window_ns(observed: Observation, settings: LookSettings) -> int | None:
    """How long to go on at once, to see whole cycles of an idle vCPU; None if enough was seen."""
    longest = settings.longest_window_ns
    if not observed.away_ns or observed.cycles or observed.elapsed_ns >= longest:
        return None
    if observed.elapsed_ns < _FIRST_EXTENSION_NS:
        return _FIRST_EXTENSION_NS
    return longest if observed.away_ns > _LITTLE * observed.elapsed_ns else None
