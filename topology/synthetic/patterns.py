"""When a vCPU gets its hardware thread, or when a guest's task wants the vCPU: patterns over time.

A pattern is a plain description. `source(seed)` makes of it something that answers which times
within a window it covers, the same times whatever was asked before.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from scx_vsched.topology.synthetic.intervals import Interval, intersect

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Always", "Both", "Never", "Pattern", "Periodic", "Random", "Source"]


class Source(Protocol):
    """A pattern in the making."""

    def within(self, start_ns: int, end_ns: int) -> list[Interval]:
        """The times covered from `start_ns` to `end_ns`."""


class Pattern(Protocol):
    """A description of times."""

    def source(self, seed: Sequence[int]) -> Source:
        """The times themselves; random ones follow from `seed`."""


@dataclass(frozen=True, slots=True)
class Always:
    """A dedicated hardware thread, or a task that never sleeps."""

    def source(self, seed: Sequence[int]) -> Source:
        """Itself."""
        return self

    def within(self, start_ns: int, end_ns: int) -> list[Interval]:
        """The whole window."""
        return [(start_ns, end_ns)]


@dataclass(frozen=True, slots=True)
class Never:
    """A vCPU that never runs, or a task that never wakes up."""

    def source(self, seed: Sequence[int]) -> Source:
        """Itself."""
        return self

    def within(self, start_ns: int, end_ns: int) -> list[Interval]:
        """Nothing."""
        return []


@dataclass(frozen=True, slots=True)
class Periodic:
    """`run_ns` out of every `period_ns`, first at `phase_ns`: a bandwidth quota."""

    run_ns: int
    period_ns: int
    phase_ns: int = 0

    def source(self, seed: Sequence[int]) -> Source:
        """Itself."""
        return self

    def within(self, start_ns: int, end_ns: int) -> list[Interval]:
        """The runs, cut to the window."""
        first = (start_ns - self.phase_ns - self.run_ns) // self.period_ns
        last = (end_ns - self.phase_ns) // self.period_ns
        starts = (self.phase_ns + k * self.period_ns for k in range(first, last + 1))
        runs = ((max(at, start_ns), min(at + self.run_ns, end_ns)) for at in starts)
        return [run for run in runs if run[0] < run[1]]


@dataclass(frozen=True, slots=True)
class Random:
    """Runs and gaps of random lengths around these means: a host with other work.

    `shape` 1 makes the lengths exponential, larger numbers make them more regular.
    """

    run_ns: int
    gap_ns: int
    shape: float = 1.0

    def source(self, seed: Sequence[int]) -> Source:
        """Runs that follow from `seed`."""
        return _RandomRuns(self, seed)


class _RandomRuns:
    """Runs drawn as far as somebody asked."""

    def __init__(self, pattern: Random, seed: Sequence[int]) -> None:
        self._pattern = pattern
        self._rng = np.random.default_rng(list(seed))
        share = pattern.run_ns / (pattern.run_ns + pattern.gap_ns)
        self._runs: list[Interval] = []
        self._ends: list[int] = []
        self._drawn_ns = 0 if self._rng.random() < share else int(self._lengths()[1, 0])

    def _lengths(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Lengths of 64 runs and 64 gaps, in ns, none empty."""
        shape = self._pattern.shape
        means = np.array([[self._pattern.run_ns], [self._pattern.gap_ns]]) / shape
        return np.asarray(np.maximum(self._rng.gamma(shape, means, (2, 64)), 1.0))

    def within(self, start_ns: int, end_ns: int) -> list[Interval]:
        """The runs, cut to the window."""
        while self._drawn_ns < end_ns:
            for run, gap in self._lengths().T:
                stop = self._drawn_ns + int(run)
                self._runs.append((self._drawn_ns, stop))
                self._ends.append(stop)
                self._drawn_ns = stop + int(gap)
        found = []
        for at in range(bisect_left(self._ends, start_ns), len(self._runs)):
            start, stop = self._runs[at]
            if start >= end_ns:
                break
            if max(start, start_ns) < min(stop, end_ns):
                found.append((max(start, start_ns), min(stop, end_ns)))
        return found


@dataclass(frozen=True, slots=True)
class Both:
    """The times that two patterns have in common, such as a quota on a busy host."""

    first: Pattern
    second: Pattern

    def source(self, seed: Sequence[int]) -> Source:
        """Their sources, drawn apart."""
        return _Common(self.first.source([*seed, 1]), self.second.source([*seed, 2]))


@dataclass(frozen=True, slots=True)
class _Common:
    first: Source
    second: Source

    def within(self, start_ns: int, end_ns: int) -> list[Interval]:
        return intersect(self.first.within(start_ns, end_ns), self.second.within(start_ns, end_ns))
