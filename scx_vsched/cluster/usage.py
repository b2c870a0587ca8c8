"""task_usage: what each attempt used, one sample for each period of five minutes.

Samples of all attempts lie one after the other in one array for each quantity, so that the
simulator finds the current one by an index. A period without a row repeats the one before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scx_vsched.cluster.parts import find_parts, read_parts
from scx_vsched.cluster.schema import PERIOD_US, TASK_USAGE, TRACE_START_US, UNIT
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from scx_vsched.cluster.events import Attempts

__all__ = ["Usage", "read_usage"]

_COLUMNS = (
    *("start", "end", "job", "index", "cpu", "canonical_memory", "assigned_memory", "max_cpu"),
    "accesses_per_instruction",
)
# An instruction accesses memory at most about once; counters that say more are the outliers that
# the trace's documentation warns of.
_MOST_ACCESSES = 1.0
_LATEST_US = 1000 << 32  # 49 days; the trace has 29
_MOST = 100 * UNIT  # 100 of the largest machines: above it a row is a mistake, and int32 holds it


@dataclass(frozen=True, slots=True)
class Usage:
    """Samples of attempts: those of attempt i are [offset[i], offset[i] + count[i]).

    `first` is the period of its first sample, counted from the one in which it was scheduled.
    `cpu`, `max_cpu` and `memory` in 1/UNIT of the largest machine, `accesses` per instruction
    (NaN where unknown). `end_us` is the end of the last period read.
    """

    offset: NDArray[np.int64]
    count: NDArray[np.int32]
    first: NDArray[np.int32]
    cpu: NDArray[np.int32]
    max_cpu: NDArray[np.int32]
    memory: NDArray[np.int32]
    accesses: NDArray[np.float32]
    end_us: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows that belong to an attempt, in the order of the files."""

    attempt: NDArray[np.int32]
    period: NDArray[np.int32]
    cpu: NDArray[np.int32]
    max_cpu: NDArray[np.int32]
    memory: NDArray[np.int32]
    accesses: NDArray[np.float32]


def read_usage(
    folder: Path,
    attempts: Attempts,
    skipped: Counter[str],
    on_part: Callable[[Path], None] = lambda path: None,
) -> Usage:
    """The samples of `attempts`. Raises UserError for broken files, and when there are none.

    Rows of other tasks are left out and counted. Where two rows share a period the later counts.
    """
    owners = _Owners(attempts)
    pieces: list[_Rows] = []
    end_us = 0
    for frame in read_parts(find_parts(folder, TASK_USAGE), TASK_USAGE, _COLUMNS, skipped, on_part):
        timely = frame.filter(pl.col("end") < _LATEST_US, pl.col("start") < _LATEST_US)
        if late := frame.height - timely.height:
            skipped["task_usage: rows of times that no trace has"] += late
        if timely.height:
            end_us = max(end_us, int(timely["end"].max()))  # type: ignore[arg-type]
            pieces.append(_rows(timely, owners, attempts, skipped))
    if not pieces:
        raise UserError(f"{folder / TASK_USAGE.name} holds no usage")
    return _dense(pieces, len(attempts), end_us, skipped)


class _Owners:
    """Which attempt a row of usage belongs to, by job, index and time."""

    def __init__(self, attempts: Attempts) -> None:
        self._jobs, job = np.unique(attempts.job, return_inverse=True)
        key = _key(job, attempts.index)
        new = np.flatnonzero(np.diff(key, prepend=-1))
        self._keys, self._first = key[new], new
        self._single = np.diff(new, append=len(key)) == 1
        task = np.repeat(np.arange(len(new)), np.diff(new, append=len(key)))
        self._schedule_ms = attempts.schedule_us // 1000
        # One number orders attempts by task and time: milliseconds of the trace fit 32 bits.
        self._starts = _key(task, self._schedule_ms)

    def find(
        self, job: NDArray[np.int64], index: NDArray[np.int64], end_us: NDArray[np.int64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which rows are of a task that is known, and of these, the attempt: the last one that was
        scheduled before the row's end, or -1.
        """
        rank = np.minimum(np.searchsorted(self._jobs, job), len(self._jobs) - 1)
        known = (self._jobs[rank] == job) & (index >= 0) & (index < 1 << 31)
        key = _key(rank, np.where(known, index, 0))
        # A search in order finds what it needs in the cache.
        order = np.argsort(key)
        task = np.empty(len(key), np.int64)
        task[order] = np.searchsorted(self._keys, key[order])
        task = np.minimum(task, len(self._keys) - 1)
        known &= self._keys[task] == key
        task, end_ms = task[known], end_us[known] // 1000
        attempt = self._first[task]
        attempt[self._schedule_ms[attempt] >= end_ms] = -1
        several = np.flatnonzero(~self._single[task])
        key = _key(task[several], end_ms[several])
        found = np.searchsorted(self._starts, key) - 1
        attempt[several] = np.where(found >= self._first[task[several]], found, -1)
        return known, attempt


def _key(high: NDArray[np.int64], low: NDArray[np.int64]) -> NDArray[np.int64]:
    return (high << 32) + low


def _rows(frame: pl.DataFrame, owners: _Owners, attempts: Attempts, skipped: Counter[str]) -> _Rows:
    """The rows of `frame` that an attempt made."""
    end_us = frame["end"].cast(pl.Int64).to_numpy()
    mine, attempt = owners.find(frame["job"].to_numpy(), frame["index"].to_numpy(), end_us)
    known = frame if mine.all() else frame.filter(pl.Series(mine))
    if others := frame.height - known.height:
        skipped["task_usage: rows of tasks that are not simulated"] += others
    start_us = known["start"].cast(pl.Int64).to_numpy()
    cpu = known["cpu"].to_numpy()
    good = attempt >= 0
    good &= start_us < attempts.end_us[np.maximum(attempt, 0)]
    if apart := int((~good).sum()):
        skipped["task_usage: rows from when the task did not run"] += apart
    sound = (cpu >= 0) & (cpu * UNIT <= _MOST)  # false for NaN
    if bad := int((good & ~sound).sum()):
        skipped["task_usage: rows without a sound CPU rate"] += bad
    good &= sound
    if not good.all():
        known, attempt = known.filter(pl.Series(good)), attempt[good]
    memory = known.select(
        pl.coalesce("assigned_memory", "canonical_memory").fill_null(0.0)
    ).to_series()
    peak = known.select(pl.coalesce("max_cpu", "cpu")).to_series().to_numpy()
    accesses = known["accesses_per_instruction"].to_numpy()
    outliers = ~((accesses >= 0) & (accesses <= _MOST_ACCESSES))
    if odd := int((outliers & ~np.isnan(accesses)).sum()):
        skipped["task_usage: outliers of accesses per instruction (taken as missing)"] += odd
    # Only the first period is not aligned, and only for tasks that were scheduled within it.
    period = start_us[good] // PERIOD_US - attempts.schedule_us[attempt] // PERIOD_US
    return _Rows(
        attempt.astype(np.int32),
        np.maximum(period, 0).astype(np.int32),
        _units(cpu[good]),
        _units(peak),
        _units(memory.to_numpy()),
        np.where(outliers, np.nan, accesses).astype(np.float32),
    )


def _units(values: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(np.clip(np.nan_to_num(values) * UNIT, 0, _MOST)).astype(np.int32)


def _dense(pieces: list[_Rows], attempts: int, end_us: int, skipped: Counter[str]) -> Usage:
    """Brings the rows of each attempt together, one for each period from its first to its last."""
    attempt = np.concatenate([piece.attempt for piece in pieces])
    period = np.concatenate([piece.period for piece in pieces])
    first = np.full(attempts, np.iinfo(np.int32).max, np.int32)
    last = np.full(attempts, -1, np.int32)
    np.minimum.at(first, attempt, period)
    np.maximum.at(last, attempt, period)
    count = np.where(last >= 0, last - first + 1, 0)
    first[last < 0] = 0
    offset = np.cumsum(count) - count
    place = offset[attempt] + (period - first[attempt])
    row = np.full(int(count.sum()), -1, np.int64)
    np.maximum.at(row, place, np.arange(len(place)))
    if twice := len(place) - int((row >= 0).sum()):
        skipped["task_usage: rows for a period that has another (the later counts)"] += twice
    # The first period of an attempt always has a row, so nothing is carried into the next attempt.
    holes = row < 0
    filled = np.maximum.accumulate(np.where(holes, -1, np.arange(len(row))))
    row = row[filled]

    def gather(name: str) -> NDArray[np.int32]:
        return np.concatenate([getattr(piece, name) for piece in pieces])[row]

    return Usage(
        offset=offset,
        count=count.astype(np.int32),
        first=first,
        cpu=gather("cpu"),
        max_cpu=gather("max_cpu"),
        memory=gather("memory"),
        accesses=gather("accesses").astype(np.float32),
        end_us=max(end_us, TRACE_START_US),
    )
