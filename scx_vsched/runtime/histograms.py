"""A policy's histograms among its counters: taken apart to be added up, put together to be shown.

Each bucket is a counter of its own, called `waits[7]`, so that intervals, totals and restarts treat
them like any other. Bucket 0 counts zeros, bucket n values from 2**(n-1) to 2**n - 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PERCENTILES", "Histogram", "flatten", "gather", "summaries", "without_buckets"]

PERCENTILES = (50, 90, 99)
_BUCKET = re.compile(r"(\w+)\[(\d+)\]\Z")


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many values fell into each bucket."""

    buckets: tuple[int, ...]

    @property
    def count(self) -> int:
        """All values."""
        return sum(self.buckets)

    def percentile(self, percent: int) -> int:
        """What `percent` of the values do not exceed: the upper end of a bucket; 0 without any."""
        wanted, seen = self.count * percent, 0
        for bucket, number in enumerate(self.buckets):
            seen += number
            if number and seen * 100 >= wanted:
                return (1 << bucket) - 1
        return 0

    def plain(self) -> dict[str, object]:
        """As JSON has it; `buckets` by their upper ends."""
        filled = {str((1 << n) - 1): count for n, count in enumerate(self.buckets) if count}
        percentiles = {f"p{percent}": self.percentile(percent) for percent in PERCENTILES}
        return {"count": self.count, **percentiles, "buckets": filled}

    def shown(self, name: str, unit: str = "") -> str:
        """In words, for a line of text."""
        parts = [f"p{percent}<={self.percentile(percent):,}{unit}" for percent in PERCENTILES]
        return f"{name}: {self.count:,} {' '.join(parts)}"


def flatten(histograms: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The buckets as counters."""
    return {
        f"{name}[{bucket}]": number
        for name, buckets in histograms.items()
        for bucket, number in enumerate(buckets)
    }


def gather(counters: Mapping[str, int]) -> dict[str, Histogram]:
    """The histograms among `counters`, by name."""
    found: dict[str, list[int]] = {}
    for name, number in counters.items():
        if match := _BUCKET.match(name):
            found.setdefault(match[1], []).append(number)
    return {name: Histogram(tuple(buckets)) for name, buckets in found.items()}


def summaries(histograms: Mapping[str, Histogram]) -> dict[str, int]:
    """`waits_count`, `waits_p50` and so on: each histogram as a few numbers."""
    found = {}
    for name, histogram in histograms.items():
        found[f"{name}_count"] = histogram.count
        for percent in PERCENTILES:
            found[f"{name}_p{percent}"] = histogram.percentile(percent)
    return found


def without_buckets(counters: Mapping[str, int]) -> dict[str, int]:
    """The counters that are no buckets."""
    return {name: number for name, number in counters.items() if not _BUCKET.match(name)}
