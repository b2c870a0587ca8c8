"""Ratios of paired measurements with their 95 % intervals.

Each round measures both sides one after the other, so what disturbs the host for longer than a
round disturbs both; the logarithm of a round's ratio is what is averaged. Standard library only:
it runs in the guest.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Ratio", "ratio"]

# Student's t, 97.5 % quantile, by degrees of freedom 1 … 30; beyond that the normal's is close.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_T_LARGE = 2.0


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio (1.0 is no difference), the ends of its 95 % interval, and the rounds behind it."""

    value: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        if self.rounds == 1:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """The ratio of paired positive measurements: the median's, with the mean's t interval.

    With a single round the interval is everything; ValueError where the lengths differ or are 0.
    """
    logs = [
        math.log(a / b) for a, b in zip(numerators, denominators, strict=True) if a > 0 and b > 0
    ]
    if not logs:
        raise ValueError("no rounds to compare")
    value = math.exp(statistics.median(logs))
    if len(logs) == 1:
        return Ratio(value, 0.0, math.inf, 1)
    quantile = _T[len(logs) - 2] if len(logs) - 2 < len(_T) else _T_LARGE
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    mean = statistics.fmean(logs)
    return Ratio(value, math.exp(mean - half), math.exp(mean + half), len(logs))
