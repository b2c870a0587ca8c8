"""Writes a trace in the schema of ClusterData-2011-2: any size, the same bytes for the same seed.

Time passes in periods of five minutes, as usage is sampled; only the tasks that run are held in
memory. Parts cover as much time as the real ones: 29 days in 500 parts.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from scx_vsched.cluster.population import (
    Load,
    Tasks,
    arrival_rate,
    diurnal,
    draw_batch,
    draw_services,
    service_cpu,
)
from scx_vsched.cluster.schema import (
    BEFORE_TRACE_US,
    MACHINE_EVENTS,
    PERIOD_US,
    TASK_EVENTS,
    TASK_USAGE,
    TRACE_START_US,
    US,
    Event,
)
from scx_vsched.cluster.writer import PART_S, PartWriter
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Written", "generate"]

_PERIOD_S = PERIOD_US / US
_WARM_UP_S = 4 * 3600.0  # batch work from before the start that may still run
_FIRST_MACHINE, _FIRST_JOB = 1000, 3_000_000
# Machines of the trace by (CPU, memory), percent of all (Reiss et al., "Heterogeneity and
# dynamicity of clouds at scale", SoCC 2012, table 1).
_MACHINES = {
    (0.5, 0.5): 53.47,
    (0.5, 0.25): 30.74,
    (0.5, 0.75): 7.95,
    (1.0, 1.0): 6.32,
    (0.25, 0.25): 0.99,
    (0.5, 0.12): 0.43,
    (0.5, 0.03): 0.04,
    (0.5, 0.97): 0.03,
    (1.0, 0.5): 0.02,
    (0.5, 0.06): 0.01,
}
# How attempts end: by themselves, killed by their user, failed; free ones are evicted too.
_ENDS = (Event.FINISH, Event.KILL, Event.FAIL, Event.EVICT)
_FREE_ENDS, _OTHER_ENDS = (0.70, 0.12, 0.06, 0.12), (0.80, 0.14, 0.06, 0.0)
_ENDS_FREE_BELOW = 2
_DELAY_S = 3.0  # mean from SUBMIT to SCHEDULE
_MISSING, _OUTLIER = 0.01, 0.002  # of the values of accesses per instruction
_NOISE = 0.25  # sigma of the logarithm of a sample of CPU around its task's mean


@dataclass(frozen=True, slots=True)
class Written:
    """What a trace has."""

    machines: int
    tasks: int
    events: int
    usage_rows: int


def generate(
    folder: Path,
    machines: int,
    hours: float,
    *,
    seed: int = 0,
    load: Load | None = None,
    on_period: Callable[[int, int], None] = lambda period, periods: None,
) -> Written:
    """Write a trace of `machines` over `hours` into `folder`, which must not hold one.

    `on_period` hears each period of five minutes and how many there are. Raises UserError where
    the folder cannot be written or holds a part of a trace already.
    """
    tables = (TASK_EVENTS, TASK_USAGE, MACHINE_EVENTS)
    if present := [table.name for table in tables if (folder / table.name).exists()]:
        raise UserError(f"{folder / present[0]} exists already", "name a new folder")
    parts = max(math.ceil(hours * 3600 / PART_S), 1)
    try:
        with ExitStack() as stack:
            writers = [
                stack.enter_context(closing(PartWriter(folder, table, count)))
                for table, count in zip(tables, (parts, parts, 1), strict=True)
            ]
            trace = _Trace(machines, hours * 3600, seed, load or Load())
            return trace.write(on_period, *writers)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}") from None


class _Trace:
    """A trace in the making."""

    def __init__(self, machines: int, length_s: float, seed: int, load: Load) -> None:
        self._rng = np.random.default_rng(seed)
        self._length_s, self._load = length_s, load
        kinds = np.array(list(_MACHINES))
        shares = np.array(list(_MACHINES.values()))
        self._kinds = kinds[self._rng.choice(len(kinds), machines, p=shares / shares.sum())]
        self._next_job = _FIRST_JOB
        self._tasks = 0

    def write(
        self,
        on_period: Callable[[int, int], None],
        events: PartWriter,
        usage: PartWriter,
        machine_events: PartWriter,
    ) -> Written:
        """All of it."""
        machine_events.write(0.0, self._machines())
        running, machine, rate = self._start()
        before = np.full(len(running), BEFORE_TRACE_US)
        initial = (Event.SUBMIT, Event.SCHEDULE)
        starts = [self._rows(running, machine, before, event) for event in initial]
        periods = max(math.ceil(self._length_s / _PERIOD_S), 1)
        again = running.take(np.zeros(0, np.int64))
        for period in range(periods):
            now_s = period * _PERIOD_S
            jobs = int(self._rng.poisson(rate * _PERIOD_S * diurnal(now_s, self._load.swing)))
            drawn = draw_batch(self._rng, jobs, self._next_job, now_s, _PERIOD_S)
            self._next_job += jobs
            arrived = Tasks.join([drawn, replace(again, at_s=np.full(len(again), now_s))])
            self._tasks += len(drawn)
            chosen = self._place(len(arrived))
            starts += self._submissions(now_s, arrived, chosen)
            running = Tasks.join([running, arrived])
            machine = np.concatenate([machine, chosen])
            ended = running.at_s + running.length_s < now_s + _PERIOD_S
            ends, evicted = self._ends(running.take(ended), machine[ended])
            events.write(now_s, self._events([*starts, ends]))
            usage.write(now_s, self._usage(now_s, running, machine))
            starts = []
            again = running.take(ended).take(evicted)
            running, machine = running.take(~ended), machine[~ended]
            on_period(period + 1, periods)
        return Written(len(self._kinds), self._tasks, events.rows, usage.rows)

    def _start(self) -> tuple[Tasks, NDArray[np.int64], float]:
        """What runs when the trace starts, where, and the batch jobs that arrive a second."""
        cpu = self._load.mean_cpu * float(self._kinds[:, 0].sum())
        services = draw_services(self._rng, service_cpu(cpu), self._next_job, self._length_s)
        self._next_job = int(services.job.max(initial=self._next_job)) + 1
        rate = arrival_rate(max(cpu - float(services.cpu.sum()), 0.0))
        early = draw_batch(
            self._rng, int(rate * _WARM_UP_S), self._next_job, -_WARM_UP_S, _WARM_UP_S
        )
        self._next_job += int(rate * _WARM_UP_S)
        running = Tasks.join([services, early.take(early.at_s + early.length_s > 0)])
        machine = self._place(len(running))
        self._tasks += len(running)
        return running, machine, rate

    def _place(self, tasks: int) -> NDArray[np.int64]:
        """Machines by their size, at random."""
        cpu = self._kinds[:, 0]
        return self._rng.choice(len(cpu), tasks, p=cpu / cpu.sum())

    def _submissions(
        self, now_s: float, tasks: Tasks, machine: NDArray[np.int64]
    ) -> list[dict[str, NDArray[np.generic]]]:
        schedule_us = TRACE_START_US + (tasks.at_s * US).astype(np.int64)
        delay_us = (self._rng.exponential(_DELAY_S, len(tasks)) * US).astype(np.int64)
        submit_us = np.maximum(schedule_us - delay_us, TRACE_START_US + int(now_s * US))
        return [
            self._rows(tasks, machine, submit_us, Event.SUBMIT),
            self._rows(tasks, machine, schedule_us, Event.SCHEDULE),
        ]

    def _ends(
        self, tasks: Tasks, machine: NDArray[np.int64]
    ) -> tuple[dict[str, NDArray[np.generic]], NDArray[np.bool_]]:
        """Events of attempts that end, and which of them come back because they were evicted."""
        draw = self._rng.random(len(tasks))[:, None]
        free = (tasks.priority < _ENDS_FREE_BELOW)[:, None]
        bounds = np.where(free, np.cumsum(_FREE_ENDS), np.cumsum(_OTHER_ENDS))
        kind = np.minimum((draw >= bounds).sum(axis=1), len(_ENDS) - 1)
        event = np.array(_ENDS)[kind]
        end_us = TRACE_START_US + ((tasks.at_s + tasks.length_s) * US).astype(np.int64)
        rows = self._rows(tasks, machine, np.maximum(end_us, TRACE_START_US + 1), Event.FINISH)
        rows["event"] = event
        return rows, event == Event.EVICT

    def _rows(
        self, tasks: Tasks, machine: NDArray[np.int64], time_us: NDArray[np.int64], event: Event
    ) -> dict[str, NDArray[np.generic]]:
        placed = event is not Event.SUBMIT
        return {
            "time": time_us,
            "job": tasks.job,
            "index": tasks.index,
            "machine": _FIRST_MACHINE + machine if placed else np.full(len(tasks), -1),
            "event": np.full(len(tasks), int(event)),
            "priority": tasks.priority,
            "cpu_request": tasks.cpu_request,
            "memory_request": tasks.memory_request,
        }

    def _events(self, rows: list[dict[str, NDArray[np.generic]]]) -> dict[str, pl.Series]:
        frame = pl.concat([pl.DataFrame(part) for part in rows]).sort("time", maintain_order=True)
        frame = frame.with_columns(
            pl.when(pl.col("machine") >= 0).then("machine").alias("machine"),
            pl.format("user{}", pl.col("job") % 97).alias("user"),
            pl.when(pl.col("priority") >= 9).then(2).otherwise(0).alias("class"),
            pl.lit(0).alias("different_machines"),
            pl.lit(0.0).alias("disk_request"),
        )
        return frame.to_dict()

    def _usage(self, now_s: float, tasks: Tasks, machine: NDArray[np.int64]) -> dict[str, object]:
        rng, count = self._rng, len(tasks)
        start_s = np.maximum(tasks.at_s, now_s)
        end_s = np.minimum(tasks.at_s + tasks.length_s, now_s + _PERIOD_S)
        start_us = TRACE_START_US + (start_s * US).astype(np.int64)
        end_us = np.maximum(TRACE_START_US + (end_s * US).astype(np.int64), start_us + 1)
        rhythm = 1 + tasks.swings * (diurnal(now_s, self._load.swing) - 1)
        cpu = tasks.cpu * rhythm * rng.lognormal(-(_NOISE**2) / 2, _NOISE, count)
        accesses = tasks.accesses * rng.lognormal(0, 0.2, count)
        odd = rng.random(count)
        accesses = np.where(odd < _OUTLIER, accesses * 1e5, accesses)
        return {
            "start": start_us,
            "end": end_us,
            "job": tasks.job,
            "index": tasks.index,
            "machine": _FIRST_MACHINE + machine,
            "cpu": cpu,
            "canonical_memory": tasks.memory * 0.9,
            "assigned_memory": tasks.memory,
            "max_memory": tasks.memory * 1.05,
            "max_cpu": cpu * (1 + rng.exponential(0.4, count)),
            "cycles_per_instruction": 1 + 40 * tasks.accesses,
            "accesses_per_instruction": pl.Series(accesses).set(
                pl.Series(odd > 1 - _MISSING), None
            ),
            "sample_portion": np.ones(count),
            "aggregation": np.ones(count, np.int64),
            "sampled_cpu": cpu * rng.lognormal(0, 0.3, count),
        }

    def _machines(self) -> dict[str, object]:
        count = len(self._kinds)
        return {
            "time": np.zeros(count, np.int64),
            "machine": _FIRST_MACHINE + np.arange(count),
            "event": np.zeros(count, np.int64),
            "platform": pl.Series(["generated"] * count),
            "cpu": self._kinds[:, 0],
            "memory": self._kinds[:, 1],
        }
