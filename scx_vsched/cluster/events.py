"""task_events and machine_events: which attempts to run a task there were, and which machines.

An attempt is one SCHEDULE with the SUBMIT before it and the end after it; a task that was evicted
and scheduled again is two. Rows may come in any order; those out of order are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scx_vsched.cluster.parts import find_parts, read_parts
from scx_vsched.cluster.schema import (
    MACHINE_EVENTS,
    TASK_EVENTS,
    TRACE_START_US,
    Event,
    MachineEvent,
)
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["NEVER_US", "Attempts", "read_attempts", "read_machines"]

NEVER_US = 2**63 - 1  # an end that lies outside the files; also the trace's "after the trace"
_MOST_INDEX = (1 << 31) - 1
_COLUMNS = ("time", "job", "index", "machine", "event", "priority", "cpu_request")


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts to run tasks, sorted by job, index and the time of the SCHEDULE; equal lengths.

    Times in µs of the trace, those before it as its start; `end_us` is NEVER_US where none is
    known. `cpu_request` is normalised to the largest machine, 0 where missing.
    """

    job: NDArray[np.int64]
    index: NDArray[np.int64]
    machine: NDArray[np.int64]
    priority: NDArray[np.int64]
    cpu_request: NDArray[np.float64]
    submit_us: NDArray[np.int64]
    schedule_us: NDArray[np.int64]
    end_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.job)

    def take(self, chosen: NDArray[np.bool_]) -> Attempts:
        """Those where `chosen` holds."""
        return Attempts(*(getattr(self, name)[chosen] for name in self.__slots__))


def read_attempts(
    folder: Path, skipped: Counter[str], on_part: Callable[[Path], None] = lambda path: None
) -> Attempts:
    """The attempts of a trace. Raises UserError for broken files, and when there are none."""
    frames = list(
        read_parts(find_parts(folder, TASK_EVENTS), TASK_EVENTS, _COLUMNS, skipped, on_part)
    )
    if not frames or not sum(frame.height for frame in frames):
        raise UserError(f"{folder / TASK_EVENTS.name} holds no events")
    events = pl.concat(frames)
    late = events.filter(pl.col("time") >= NEVER_US).height
    if late:
        skipped["task_events: after the trace"] += late
        events = events.filter(pl.col("time") < NEVER_US)
    events = events.with_columns(pl.col("time").cast(pl.Int64))
    sound = events.filter(pl.col("index").is_between(0, _MOST_INDEX))
    if odd := events.height - sound.height:
        skipped["task_events: rows whose task index no trace has"] += odd
        events = sound
    if backward := int((np.diff(events["time"].to_numpy()) < 0).sum()):
        skipped["task_events: rows out of order (sorted, not left out)"] += backward
    events = events.sort("job", "index", "time", maintain_order=True)
    attempts = _attempts(events, skipped)
    if not len(attempts):
        raise UserError(f"{folder / TASK_EVENTS.name}: no task was ever scheduled")
    return attempts


def _attempts(events: pl.DataFrame, skipped: Counter[str]) -> Attempts:
    """From events sorted by job, index and time."""
    rows = events.height
    at = np.arange(rows)
    job, index = events["job"].to_numpy(), events["index"].to_numpy()
    time = np.maximum(events["time"].to_numpy(), TRACE_START_US)
    event = events["event"].to_numpy()
    if unknown := int(((event < 0) | (event > max(Event))).sum()):
        skipped["task_events: unknown event types"] += unknown
    first = np.ones(rows, bool)
    first[1:] = (job[1:] != job[:-1]) | (index[1:] != index[:-1])
    group = np.cumsum(first)
    # The next event of any kind but an update ends an attempt: where its own end is not recorded,
    # the task's next SUBMIT or SCHEDULE says that it was over by then.
    stops = (event >= Event.SUBMIT) & (event <= Event.LOST)
    after = np.minimum.accumulate(np.where(stops, at, rows)[::-1])[::-1]
    # The SUBMIT or SCHEDULE before it: an attempt has the SUBMIT only if it comes after the last.
    opens = (event == Event.SUBMIT) | (event == Event.SCHEDULE)
    before = np.maximum.accumulate(np.where(opens, at, -1))

    schedule = np.flatnonzero(event == Event.SCHEDULE)
    previous = np.where(schedule > 0, before[schedule - 1], -1)
    submitted = (previous >= 0) & (group[previous] == group[schedule])
    submitted &= event[previous] == Event.SUBMIT
    following = np.append(after, rows)[schedule + 1]
    ended = following < rows
    ended &= group[np.minimum(following, rows - 1)] == group[schedule]
    if never := int((event == Event.SUBMIT).sum() - submitted.sum()):
        skipped["task_events: submitted, never scheduled"] += never
    requests = events["cpu_request"]
    request = requests.fill_null(0).to_numpy()
    if missing := int(requests.is_null().to_numpy()[schedule].sum()):
        skipped["task_events: no CPU request (taken as 0)"] += missing
    return Attempts(
        job=job[schedule],
        index=index[schedule],
        machine=events["machine"].fill_null(-1).to_numpy()[schedule],
        priority=events["priority"].to_numpy()[schedule],
        cpu_request=np.maximum(request[schedule], 0),
        submit_us=np.where(submitted, time[previous], time[schedule]),
        schedule_us=time[schedule],
        end_us=np.where(ended, time[np.minimum(following, rows - 1)], NEVER_US),
    )


def read_machines(folder: Path, skipped: Counter[str]) -> dict[int, float] | None:
    """CPU capacity of each machine of machine_events when it was first added; None without them.

    Normalised to the largest machine; 0 where the trace leaves it out.
    """
    parts = find_parts(folder, MACHINE_EVENTS, needed=False)
    if not parts:
        return None
    frame = pl.concat(
        read_parts(parts, MACHINE_EVENTS, ("time", "machine", "event", "cpu"), skipped)
    )
    added = (
        frame.filter(pl.col("event") == MachineEvent.ADD)
        .sort("time", maintain_order=True)
        .unique("machine", keep="first", maintain_order=True)
    )
    capacities = added["cpu"].fill_null(0.0)
    return dict(zip(added["machine"].to_list(), capacities.to_list(), strict=True))
