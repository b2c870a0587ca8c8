"""When a vCPU will next be taken away, for how long, and how sure that is: from past gaps alone.

A bandwidth quota gives the vCPU back at fixed intervals, and a busy vCPU then runs for its quota.
So gaps' ends repeat exactly, and their spacing gives the period; it is refined over watches that
lie apart for as long as the phase can be followed without doubt. The confidence is what the period
explains of the gaps seen, beyond chance, and fades with time. Without a period the gaps come at
random; then all that can be said is the mean, and the confidence says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.topology.evidence import Observation

__all__ = ["Forecast", "predict"]

# A prediction is right when it is off by no more than this part of the cycle, or this much.
_TOLERANCE = 0.1
_LEAST_TOLERANCE_NS = 600_000
# What one gap's end is off by although the quota is exact: timers and interrupts of both sides.
_END_ERROR_NS = 30_000
# Beyond this part of a period it is not clear which cycle a gap belongs to.
_AMBIGUOUS = 0.2
# Independent errors give 0.7 here, sums of errors more the longer they are.
_WALKS = 1.0
_MOST_ENDS = 256
_FEWEST_ENDS = 4
_REFITS = 4  # fitted anew when there is this part more
# Confidence below this is what chance may reach: no period.
_PERIODIC = 0.3
_FADES_NS = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next time away: from about `at_ns` (CLOCK_MONOTONIC), for about `length_ns`.

    `confidence` (0 to 1) is how likely `at_ns` is right within a tenth of the cycle, or 0.6 ms.
    `period_ns` is None where gaps come at random.
    """

    at_ns: int
    length_ns: float
    confidence: float
    period_ns: float | None


@dataclass(frozen=True, slots=True)
class _Phase:
    """Ends of gaps at `origin_ns` + k · `period_ns`, from `first_ns` on."""

    origin_ns: float
    period_ns: float
    period_error_ns: float
    scatter_ns: float  # of single ends around it
    step_ns: float  # what each cycle adds to the error, where cycles do not keep to a raster
    first_ns: int

    def error_ns(self, at_ns: float) -> float:
        """The standard error of the phase at that time."""
        cycles = abs(at_ns - self.origin_ns) / self.period_ns
        walked = self.step_ns * math.sqrt(cycles)
        return math.hypot(self.scatter_ns, cycles * self.period_error_ns, walked)


def predict(seen: Sequence[Observation], now_ns: int) -> Forecast | None:
    """The forecast from watches in the order of time; None where no gap was seen."""
    gaps = [gap for watch in seen for gap in watch.gaps]
    if not gaps:
        return None
    length = median(gap.length_ns for gap in gaps)
    last = max(watch.end_ns for watch in seen if watch.gaps)
    fading = 0.5 ** (max(now_ns - last, 0) / _FADES_NS)
    if phase := _find_phase(seen):
        forecast = _periodic(seen, phase, length, now_ns)
        if forecast.confidence >= _PERIODIC:
            return Forecast(
                forecast.at_ns, length, forecast.confidence * fading, forecast.period_ns
            )
    return _random(seen, length, now_ns, fading)


def _find_phase(seen: Sequence[Observation]) -> _Phase | None:
    ends = [[gap.start_ns + gap.length_ns for gap in watch.gaps] for watch in seen]
    steps = [b - a for times in ends for a, b in pairwise(times)]
    if not steps:
        return None
    period = float(median(steps))
    fit: _Phase | None = None
    chosen: list[int] = []
    waiting: list[int] = []  # of watches further back, which the next fit takes in
    watches = 0
    for times in reversed(ends):
        if len(chosen) + len(waiting) >= _MOST_ENDS:
            break
        if not times or (fit is None and len(times) < 2):
            continue
        if fit and fit.error_ns(times[-1]) > _AMBIGUOUS * fit.period_ns:
            break
        watches += 1
        waiting = [*times, *waiting]
        # a fit looks at all of them: not one for each of many short watches
        if fit and len(waiting) * _REFITS < len(chosen):
            continue
        refined = _fit([*waiting, *chosen], fit.period_ns if fit else period, alone=watches == 1)
        if refined is None:
            break
        fit, chosen, waiting = refined, [*waiting, *chosen], []
    return fit if len(chosen) >= _FEWEST_ENDS else None


def _fit(ends: Sequence[int], period: float, *, alone: bool) -> _Phase | None:
    """Least squares over the cycles that the ends belong to, counted from one to the next.

    `alone`: the ends are of one watch, too short to tell a raster from near-regular lengths.
    """
    counts = [0]
    for a, b in pairwise(ends):
        counts.append(counts[-1] + max(round((b - a) / period), 1))
    mean_count = sum(counts) / len(counts)
    mean_end = sum(end - ends[0] for end in ends) / len(ends)
    spread = sum((count - mean_count) ** 2 for count in counts)
    if not spread:
        return None
    moved = zip(counts, ends, strict=True)
    slope = sum((k - mean_count) * (end - ends[0] - mean_end) for k, end in moved) / spread
    if slope <= 0:
        return None
    origin = mean_end - slope * mean_count + ends[0]
    rest = [end - origin - k * slope for k, end in zip(counts, ends, strict=True)]
    scatter = max(_deviation(rest), _END_ERROR_NS)
    if scatter > _AMBIGUOUS * slope:
        return None
    # Ends on a raster scatter alike near and far. Where each cycle starts from the end of the one
    # before, neighbours are nearer to each other than chance would have it.
    steps = _deviation([b - a for a, b in pairwise(rest)])
    walks = alone or scatter > _WALKS * max(steps, _END_ERROR_NS)
    return _Phase(
        origin + slope * counts[-1],
        slope,
        scatter / math.sqrt(spread),
        scatter,
        steps if walks else 0.0,
        ends[0],
    )


def _deviation(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values))


def _tolerance(cycle_ns: float) -> float:
    return max(_TOLERANCE * cycle_ns, _LEAST_TOLERANCE_NS)


def _periodic(seen: Sequence[Observation], phase: _Phase, length: float, now_ns: int) -> Forecast:
    """How well the phase explains the gaps since it holds, and when the next one begins."""
    period = phase.period_ns
    watched = [watch for watch in seen if watch.end_ns > phase.first_ns]
    starts = [gap.start_ns for watch in watched for gap in watch.whole]
    if not starts:
        return Forecast(now_ns, length, 0.0, period)
    runs = [(start - phase.origin_ns) % period for start in starts]  # after the vCPU was given back
    # Phases next to 0 and next to the period are near each other.
    pivot = median(runs)
    if min(pivot, period - pivot) < period / 4:
        runs = [run - period if run > period / 2 else run for run in runs]
        pivot = median(runs)
    tolerance = _tolerance(period)
    hits = sum(abs(run - pivot) <= tolerance for run in runs)
    # Whole cycles in the windows: in each of them a gap was due.
    expected = sum(max((watch.elapsed_ns - tolerance) / period - 1, 0.0) for watch in watched)
    chance = min(2 * tolerance / period, 0.9)
    explained = hits / max(len(runs), expected, 1.0)
    confidence = max(0.0, (explained - chance) / (1 - chance))
    # Few gaps prove little.
    confidence *= len(runs) / (len(runs) + 1.0)
    first = phase.origin_ns + pivot
    at = first + math.ceil((now_ns - first) / period) * period
    error = max(phase.error_ns(at), 1.0)
    confidence *= math.erf(tolerance / error / math.sqrt(2))
    return Forecast(round(at), length, min(confidence, 1.0), period)


def _random(seen: Sequence[Observation], length: float, now_ns: int, fading: float) -> Forecast:
    """Without memory: the rest of a gap, if it is in one now, and a mean run."""
    watched = sum(watch.elapsed_ns for watch in seen)
    away = sum(watch.away_ns for watch in seen)
    count = sum(len(watch.gaps) for watch in seen)
    run = max(watched - away, 1) / count
    gap = away / count
    wait = run + gap * away / max(watched, 1)
    near = min(_tolerance(run + gap) / wait, 1.0)
    confidence = math.exp(near - 1) - math.exp(-near - 1)
    return Forecast(now_ns + round(wait), length, confidence * fading, None)
