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
    new = np.ones(len(attempts), bool)
    new[1:] = (attempts.job[1:] != attempts.job[:-1]) | (attempts.index[1:] != attempts.index[:-1])
    task = np.cumsum(new) - 1
    tasks = pl.DataFrame(
        {"job": attempts.job[new], "index": attempts.index[new], "task": task[new]}
    )
    # One number orders attempts by task and time: milliseconds of the trace fit 32 bits.
    starts = _key(task, attempts.schedule_us)
    pieces: list[_Rows] = []
    end_us = 0
    for frame in read_parts(find_parts(folder, TASK_USAGE), TASK_USAGE, _COLUMNS, skipped, on_part):
        if frame.height:
            end_us = max(end_us, int(frame["end"].max()))  # type: ignore[arg-type]
            pieces.append(
                _rows(frame, tasks, task, starts=starts, attempts=attempts, skipped=skipped)
            )
    if not pieces:
        raise UserError(f"{folder / TASK_USAGE.name} holds no usage")
    return _dense(pieces, len(attempts), end_us, skipped)


def _key(task: NDArray[np.int64], time_us: NDArray[np.int64]) -> NDArray[np.int64]:
    return (task << 32) + time_us // 1000


def _rows(
    frame: pl.DataFrame,
    tasks: pl.DataFrame,
    task: NDArray[np.int64],
    *,
    starts: NDArray[np.int64],
    attempts: Attempts,
    skipped: Counter[str],
) -> _Rows:
    """The rows of `frame` that an attempt made: the last one scheduled before the row's end."""
    known = frame.join(tasks, on=["job", "index"], maintain_order="left")
    if others := frame.height - known.height:
        skipped["task_usage: rows of tasks that are not simulated"] += others
    own, start_us = known["task"].to_numpy(), known["start"].cast(pl.Int64).to_numpy()
    end_us = known["end"].cast(pl.Int64).to_numpy()
    attempt = np.searchsorted(starts, _key(own, end_us)) - 1
    cpu = known["cpu"].to_numpy()
    good = (attempt >= 0) & (task[np.maximum(attempt, 0)] == own)
    good &= start_us < attempts.end_us[np.maximum(attempt, 0)]
    if apart := int((~good).sum()):
        skipped["task_usage: rows from when the task did not run"] += apart
    sound = (cpu >= 0) & (cpu * UNIT <= _MOST)  # false for NaN
    if bad := int((good & ~sound).sum()):
        skipped["task_usage: rows without a sound CPU rate"] += bad
    good &= sound
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
