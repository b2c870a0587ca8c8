"""vact: how often a vCPU is taken away, for how long, since when it runs, and when it goes next.

Figures come from the gaps that vcap's looks see (vSched §3.2, facts §2): no probe of its own. The
log is bounded in time and in gaps, and starts anew when the capacity changed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from scx_vsched.topology.absences import mean_gap_ns
from scx_vsched.topology.evidence import share_of
from scx_vsched.topology.measure import Activity
from scx_vsched.topology.prediction import Forecast, predict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scx_vsched.topology.evidence import Observation

__all__ = ["ActivityLog"]

_KEEP_NS = 20_000_000_000
_KEEP_GAPS = 4096
_P95 = 0.95
# A forecast is as good for so long; what it says is moved on by whole periods.
_FRESH_NS = 2_000_000_000


class ActivityLog:
    """The recent watches of one vCPU, and what follows from them."""

    def __init__(self) -> None:
        self._seen: deque[Observation] = deque()
        self._gaps = 0
        # What was concluded of it: each takes milliseconds, on a slow machine tenths of a second.
        self._activity: Activity | None = None
        self._forecast: tuple[int, Forecast | None] | None = None

    def restart(self) -> None:
        """Forget what was before a change."""
        self._seen.clear()
        self._gaps = 0
        self._activity = self._forecast = None

    def add(self, look: Iterable[Observation]) -> None:
        """Take in watches, each after those before."""
        self._activity = self._forecast = None
        for observed in look:
            self._seen.append(observed)
            self._gaps += len(observed.gaps)
        newest = self._seen[-1].end_ns if self._seen else 0
        while len(self._seen) > 1 and (
            newest - self._seen[0].start_ns > _KEEP_NS or self._gaps > _KEEP_GAPS
        ):
            self._gaps -= len(self._seen.popleft().gaps)

    def recent(self) -> tuple[Observation, ...]:
        """The watches kept, in the order of time."""
        return tuple(self._seen)

    def activity(self) -> Activity | None:
        """The figures over the watches kept; None before the first."""
        if self._seen and self._activity is None:
            self._activity = self._figures()
        return self._activity

    def _figures(self) -> Activity:
        lengths = sorted(gap.length_ns for seen in self._seen for gap in seen.whole)
        mean = mean_gap_ns(self._seen)
        if not lengths or mean is None:
            # Never away, or for longer than any watch.
            longest = float(max((seen.away_ns for seen in self._seen), default=0))
            rate = sum(seen.away_ns > 0 for seen in self._seen) / self._watched_s()
            return Activity(rate, longest, longest, longest, self._active_since_ns())
        return Activity(
            gaps_per_s=self._away() * 1e9 / mean,
            mean_ns=mean,
            p95_ns=float(lengths[min(int(_P95 * len(lengths)), len(lengths) - 1)]),
            max_ns=float(lengths[-1]),
            active_since_ns=self._active_since_ns(),
        )

    def _watched_s(self) -> float:
        return max(sum(seen.elapsed_ns for seen in self._seen), 1) / 1e9

    def _away(self) -> float:
        """The share of time away, over whole cycles where there are any."""
        return 1.0 - share_of(tuple(self._seen)).share

    def _active_since_ns(self) -> int | None:
        """The last gap's end, or the last watch's start; None if that ended in a gap."""
        newest = self._seen[-1]
        if newest.open_gap_ns:
            return None
        if not newest.gaps:
            return newest.start_ns
        return newest.gaps[-1].start_ns + newest.gaps[-1].length_ns

    def forecast(self, now_ns: int) -> Forecast | None:
        """When the vCPU will next be taken away."""
        if self._forecast is None or now_ns - self._forecast[0] >= _FRESH_NS:
            self._forecast = now_ns, predict(self._seen, now_ns)
        forecast = self._forecast[1]
        if forecast is None or forecast.at_ns >= now_ns:
            return forecast
        period = forecast.period_ns
        periods = math.ceil((now_ns - forecast.at_ns) / period) if period else 0
        at_ns = forecast.at_ns + round(periods * period) if period else now_ns
        return replace(forecast, at_ns=at_ns)
