"""Small workloads and traces for tests."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.cluster.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNIT = 10_000_000


def workload(
    tasks: int, seed: int = 0, *, machines: int = 8, length_s: float = 3600, cpu: float = 0.03
) -> Workload:
    """Random tasks; `cpu` is the median of what they use."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, 6, tasks)
    samples = int(count.sum())
    used = rng.lognormal(np.log(cpu), 1.0, samples)
    duration_s = rng.lognormal(np.log(900), 1.0, tasks)
    duration_s[rng.random(tasks) < 0.2] = np.inf
    return Workload(
        submit_s=np.sort(rng.uniform(0, length_s, tasks) * (rng.random(tasks) < 0.7)),
        duration_s=duration_s,
        request=(rng.lognormal(np.log(0.04), 0.8, tasks) * UNIT).astype(np.int64),
        priority=rng.choice([0, 1, 4, 9], tasks).astype(np.int8),
        phase_s=rng.uniform(-600, 300, tasks),
        offset=np.cumsum(count) - count,
        count=count.astype(np.int64),
        cpu=(used * UNIT).astype(np.int32),
        max_cpu=(used * rng.uniform(1, 2, samples) * UNIT).astype(np.int32),
        memory=(rng.lognormal(np.log(0.02), 1.0, samples) * UNIT).astype(np.int32),
        accesses=rng.lognormal(-5, 1, samples).astype(np.float32),
        capacity=np.full(machines, UNIT // 2, np.int64),
        length_s=length_s,
    )


def event(
    time_s: float | int,
    kind: int,
    *,
    job: int = 1,
    index: int = 0,
    machine: int | str = 5,
    priority: int | str = 0,
    cpu: float | str = 0.1,
) -> str:
    """A row of task_events; whole numbers beyond the trace's length count as µs."""
    time_us = time_s if time_s >= 2**62 else round(time_s * 1e6)
    return f"{time_us},,{job},{index},{machine},{kind},u,0,{priority},{cpu},0.1,0.0,0"


def usage(
    start_s: float,
    *,
    end_s: float | None = None,
    job: int = 1,
    index: int = 0,
    cpu: float | str = 0.05,
    memory: float | str = 0.02,
    max_cpu: float | str = 0.06,
    accesses: float | str = 0.01,
) -> str:
    """A row of task_usage."""
    end_s = start_s + 300 if end_s is None else end_s
    return (
        f"{round(start_s * 1e6)},{round(end_s * 1e6)},{job},{index},5,{cpu},0.01,{memory},0,0,0,"
        f"0,0,{max_cpu},0,1.5,{accesses},1,1,{cpu}"
    )


def write_part(folder: Path, table: str, rows: Sequence[str], number: int = 0) -> Path:
    """A part of a table."""
    path = folder / table / f"part-{number:05}-of-00500.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(("\n".join(rows) + "\n" if rows else "").encode()))
    return path


def write_trace(folder: Path, events: Sequence[str], samples: Sequence[str]) -> Path:
    """A trace of one part each."""
    write_part(folder, "task_events", events)
    write_part(folder, "task_usage", samples)
    return folder
