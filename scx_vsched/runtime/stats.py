"""A scheduler's counters as the user sees them: per interval, in total, as text and as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.runtime.histograms import gather, without_buckets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scx_vsched.bpf.model import StatMeta

__all__ = ["Meter", "Sample", "help_text", "json_line", "text_line"]


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment: what was added in the last `interval_s`, and the totals."""

    elapsed_s: float
    interval_s: float
    deltas: Mapping[str, int]
    totals: Mapping[str, int]


class Meter:
    """Turns readings of ever-growing counters into samples, from `start` on.

    Counters start from 0 again when the scheduler is loaded anew; `carry_over` keeps the totals.
    """

    def __init__(self) -> None:
        self._base: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._started: float | None = None
        self._last_at = 0.0

    @property
    def running(self) -> bool:
        """Whether `start` was called."""
        return self._started is not None

    @property
    def elapsed_s(self) -> float:
        """Seconds since `start`, 0 before."""
        return 0.0 if self._started is None else time.monotonic() - self._started

    def start(self) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._last_at = 0.0

    def total(self, reading: Mapping[str, int]) -> dict[str, int]:
        """`reading` plus what was counted before the last restart."""
        return {name: value + self._base.get(name, 0) for name, value in reading.items()}

    def sample(self, reading: Mapping[str, int]) -> Sample:
        """The sample for this reading; the interval began with the one before."""
        now, totals = self.elapsed_s, self.total(reading)
        deltas = {name: value - self._last.get(name, 0) for name, value in totals.items()}
        interval, self._last, self._last_at = now - self._last_at, totals, now
        return Sample(now, interval, deltas, totals)

    def carry_over(self, reading: Mapping[str, int]) -> None:
        """The scheduler that gave `reading` is gone; the next one counts from 0."""
        self._base = self.total(reading)


def text_line(sample: Sample) -> str:
    """One line of what was counted in the interval; counters that never moved are left out."""
    totals = without_buckets(sample.totals)
    parts = [f"{name}={sample.deltas[name]}" for name, total in totals.items() if total]
    parts += [f"[{found.shown(name)}]" for name, found in gather(sample.deltas).items()]
    return f"[{sample.elapsed_s:8.1f}s] " + (" ".join(parts) or "nothing counted yet")


def json_line(kind: str, sample: Sample, extra: Mapping[str, Any] | None = None) -> str:
    """One line of JSON; `kind` is `interval`, or `summary` for the last one."""
    return json.dumps(
        {
            "type": kind,
            "elapsed_s": round(sample.elapsed_s, 3),
            "interval_s": round(sample.interval_s, 3),
            "stats": without_buckets(sample.deltas),
            "totals": without_buckets(sample.totals),
            **_histograms(sample),
            **(extra or {}),
        }
    )


def _histograms(sample: Sample) -> dict[str, Any]:
    """Those of the interval and in total, where the policy has any."""
    found = {name: histogram.plain() for name, histogram in gather(sample.deltas).items()}
    totals = {name: histogram.plain() for name, histogram in gather(sample.totals).items()}
    return {"histograms": found, "histogram_totals": totals} if totals else {}


def help_text(stats: Sequence[StatMeta] | Iterable[Any]) -> str:
    """What each counter counts, one per line."""
    rows = [(stat.name, stat.doc) for stat in stats]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {doc}" for name, doc in rows)
