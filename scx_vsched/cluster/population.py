"""The tasks of a generated trace: who they are, how long they run, what they use.

The shape follows what is published of ClusterData-2011-2: few jobs have most tasks and few tasks
most of the work, most tasks are short, some run all the time, priorities 0 and 1 are free and 9 to
11 production, requests exceed usage, load has a daily rhythm, and the trace starts at 19:00 local
time. The numbers below are chosen to give such a shape; they are not fitted to the trace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Load",
    "Tasks",
    "arrival_rate",
    "diurnal",
    "draw_batch",
    "draw_services",
    "service_cpu",
]

_PRIORITIES = (0, 1, 2, 4, 6, 8, 9, 10, 11)
_BATCH_SHARES = (0.40, 0.08, 0.10, 0.26, 0.03, 0.04, 0.08, 0.0, 0.01)  # of jobs that end
_SERVICE_SHARES = (0.12, 0.04, 0.06, 0.14, 0.02, 0.04, 0.50, 0.02, 0.06)  # of jobs that do not

_SIZE_TAIL, _MOST_TASKS = 1.2, 400  # Pareto exponent of tasks in a job, and where it is cut
# Log-normal (median, sigma) of: duration in s of short and of long batch tasks, request of CPU
# and memory, and what is used of each.
_SHORT_S, _LONG_S, _LONG_SHARE = (240.0, 1.1), (5400.0, 1.2), 0.15
_LONGEST_S = 12 * 3600.0
_CPU_REQUEST, _MEMORY_REQUEST = (0.022, 0.8), (0.016, 1.0)
_CPU_USED, _MEMORY_USED = (0.35, 1.0), (0.6, 0.4)
_LEAST, _MOST = 1e-4, 0.45  # of a request
_ACCESSES = (0.004, 0.9)  # per instruction
_SERVICE_PART = 0.5  # of the CPU in use
_DAY_S, _START_HOUR, _PEAK_HOUR = 86_400.0, 19.0, 14.0


@dataclass(frozen=True, slots=True)
class Load:
    """How much load there is: `mean_cpu` of the machines' capacity, by day up to `swing` more or
    less."""

    mean_cpu: float = 0.35
    swing: float = 0.25


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks; arrays of one length. CPU and memory of the largest machine.

    `at_s` is when each is scheduled, from the start of the trace, `length_s` how long it runs;
    `swings` says how much of the daily rhythm its usage follows.
    """

    job: NDArray[np.int64]
    index: NDArray[np.int64]
    priority: NDArray[np.int64]
    cpu_request: NDArray[np.float64]
    memory_request: NDArray[np.float64]
    cpu: NDArray[np.float64]
    memory: NDArray[np.float64]
    accesses: NDArray[np.float64]
    swings: NDArray[np.float64]
    at_s: NDArray[np.float64]
    length_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.job)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Tasks:
        """Those where `chosen` holds, or at these indices."""
        return Tasks(*(getattr(self, name)[chosen] for name in self.__slots__))

    @staticmethod
    def join(parts: list[Tasks]) -> Tasks:
        """All of them, one after the other."""
        columns = ([getattr(part, name) for part in parts] for name in Tasks.__slots__)
        return Tasks(*(np.concatenate(column) for column in columns))


def diurnal(time_s: float, swing: float) -> float:
    """The daily rhythm at a time of the trace: 1 on average, 1 + swing in the afternoon."""
    hours = time_s / 3600 + _START_HOUR - _PEAK_HOUR
    return 1 + swing * math.cos(2 * math.pi * hours * 3600 / _DAY_S)


def draw_batch(
    rng: np.random.Generator, jobs: int, first_job: int, start_s: float, length_s: float
) -> Tasks:
    """The tasks of `jobs` batch jobs that arrive within [start_s, start_s + length_s)."""
    size = np.minimum(rng.pareto(_SIZE_TAIL, jobs) + 1, _MOST_TASKS).astype(np.int64)
    tasks = int(size.sum())
    long = np.repeat(rng.random(jobs) < _LONG_SHARE, size)
    duration_s = np.where(
        long,
        np.repeat(rng.lognormal(math.log(_LONG_S[0]), _LONG_S[1], jobs), size),
        np.repeat(rng.lognormal(math.log(_SHORT_S[0]), _SHORT_S[1], jobs), size),
    )
    duration_s *= rng.lognormal(0, 0.4, tasks)
    at_s = np.repeat(start_s + rng.random(jobs) * length_s, size)
    return _tasks(
        rng,
        size,
        first_job,
        _BATCH_SHARES,
        at_s,
        length_s=np.clip(duration_s, 1.0, _LONGEST_S),
        swings=0.0,
    )


def draw_services(rng: np.random.Generator, cpu: float, first_job: int, length_s: float) -> Tasks:
    """Tasks that run all through the trace and use `cpu` largest machines together."""
    parts: list[Tasks] = []
    used = 0.0
    while used < cpu:
        size = np.minimum(rng.pareto(_SIZE_TAIL, 64) + 1, _MOST_TASKS).astype(np.int64)
        zeros = np.zeros(int(size.sum()))
        lasting = np.full(len(zeros), length_s * 2 + _LONGEST_S)
        found = _tasks(rng, size, first_job, _SERVICE_SHARES, zeros, length_s=lasting, swings=1.0)
        fits = np.cumsum(found.cpu) <= cpu - used
        parts.append(found.take(fits))
        first_job += 64
        used += float(found.cpu.sum())
    return Tasks.join(parts)


def arrival_rate(cpu: float) -> float:
    """Batch jobs a second that keep `cpu` largest machines busy.

    From the mean work of many jobs, drawn with a seed of their own: what one trace draws does not
    change how much it has.
    """
    jobs = 40_000
    drawn = draw_batch(np.random.default_rng(1), jobs, 0, 0.0, 1.0)
    work = float((drawn.cpu * drawn.length_s).sum()) / jobs
    return cpu / work


def service_cpu(cpu: float) -> float:
    """What services use, of the CPU in use altogether."""
    return _SERVICE_PART * cpu


def _tasks(
    rng: np.random.Generator,
    size: NDArray[np.int64],
    first_job: int,
    shares: tuple[float, ...],
    at_s: NDArray[np.float64],
    *,
    length_s: NDArray[np.float64],
    swings: float,
) -> Tasks:
    """Tasks of one job share priority, requests and much of their usage."""
    jobs, tasks = len(size), int(size.sum())
    job = np.repeat(np.arange(jobs), size)
    first = np.repeat(np.cumsum(size) - size, size)

    def of_job(median: float, sigma: float) -> NDArray[np.float64]:
        return rng.lognormal(math.log(median), sigma, jobs)[job]

    chances = np.array(shares) / sum(shares)
    cpu_request = np.clip(of_job(*_CPU_REQUEST), _LEAST, _MOST)
    memory_request = np.clip(of_job(*_MEMORY_REQUEST), _LEAST, _MOST)
    return Tasks(
        job=first_job + job,
        index=np.arange(tasks) - first,
        priority=rng.choice(_PRIORITIES, jobs, p=chances)[job],
        cpu_request=cpu_request,
        memory_request=memory_request,
        cpu=np.minimum(cpu_request * of_job(*_CPU_USED) * rng.lognormal(0, 0.2, tasks), _MOST),
        memory=memory_request * np.minimum(of_job(*_MEMORY_USED), 1.5),
        accesses=of_job(*_ACCESSES),
        swings=np.full(tasks, swings),
        at_s=at_s,
        length_s=length_s,
    )
