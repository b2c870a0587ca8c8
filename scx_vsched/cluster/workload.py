"""What the simulator runs: the tasks of a trace as arrays, and the machines they ran on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.cluster.events import NEVER_US, read_attempts, read_machines
from scx_vsched.cluster.schema import PERIOD_US, TRACE_START_US, UNIT, US
from scx_vsched.cluster.usage import read_usage
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from scx_vsched.cluster.events import Attempts
    from scx_vsched.cluster.usage import Usage

__all__ = ["Workload", "load_workload", "make_workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """Tasks in the order of their submission; arrays of one length, but for those of samples.

    Times in seconds from the start of the trace. `duration_s` is what the task ran in the trace
    (infinite: longer than the files say). Samples of task i are [offset[i], offset[i] + count[i]),
    and after it made progress for p seconds the one at (phase_s[i] + p) // 300, within these
    bounds. `request`, `cpu`, `max_cpu`, `memory` and `capacity` in 1/UNIT of the largest machine.
    `length_s` is the time that the usage covers; `skipped` counts what was left out, by reason.
    """

    submit_s: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    request: NDArray[np.int64]
    priority: NDArray[np.int8]
    phase_s: NDArray[np.float64]
    offset: NDArray[np.int64]
    count: NDArray[np.int64]
    cpu: NDArray[np.int32]
    max_cpu: NDArray[np.int32]
    memory: NDArray[np.int32]
    accesses: NDArray[np.float32]
    capacity: NDArray[np.int64]
    length_s: float
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.submit_s)


def load_workload(
    folder: Path,
    machines: int | None = None,
    seed: int = 0,
    on_part: Callable[[Path], None] = lambda path: None,
) -> Workload:
    """What ran on `machines` of the trace's machines, chosen by `seed`; None takes them all.

    Taking machines rather than tasks keeps the load of a machine what it was. Tasks scheduled on
    no machine, or on one that machine_events does not know, and tasks without usage are skipped
    and counted. Raises UserError for files that cannot be used and for too few machines in them.
    """
    skipped: Counter[str] = Counter()
    capacities = read_machines(folder, skipped)
    attempts = read_attempts(folder, skipped, on_part)
    if capacities is None:
        capacities = dict.fromkeys(np.unique(attempts.machine[attempts.machine >= 0]).tolist(), 0.0)
    known = np.fromiter(capacities, np.int64, len(capacities))
    on_known = np.isin(attempts.machine, known)
    if strange := int((~on_known).sum()):
        skipped["tasks on unknown machines"] += strange
    if machines is not None:
        if machines > len(known):
            raise UserError(
                f"{folder} has {len(known)} machines, {machines} were asked for",
                "ask for fewer, or generate a larger trace",
            )
        known = np.sort(np.random.default_rng(seed).permutation(np.sort(known))[:machines])
    attempts = attempts.take(on_known & np.isin(attempts.machine, known))
    if not len(attempts):
        raise UserError(f"{folder}: no task ran on the machines that were chosen")
    usage = read_usage(folder, attempts, skipped, on_part)
    capacity = np.array([round(capacities[machine] * UNIT) for machine in known.tolist()], np.int64)
    return make_workload(attempts, usage, capacity, skipped)


def make_workload(
    attempts: Attempts, usage: Usage, capacity: NDArray[np.int64], skipped: Counter[str]
) -> Workload:
    """Puts attempts and their usage together; attempts without usage are counted and left out."""
    chosen = usage.count > 0
    if silent := int((~chosen).sum()):
        skipped["tasks without usage"] += silent
    order = np.flatnonzero(chosen)
    if not len(order):
        raise UserError("no task has both events and usage", "are they parts of one trace?")
    order = order[np.argsort(attempts.submit_us[order], kind="stable")]
    schedule_us = attempts.schedule_us[order]
    end_us = attempts.end_us[order]
    # A task that ends when it starts still ran: a microsecond is the trace's resolution.
    duration_s = np.maximum(end_us - schedule_us, 1) / US
    phase_us = schedule_us % PERIOD_US - usage.first[order].astype(np.int64) * PERIOD_US
    accesses = usage.accesses
    if (unknown := np.isnan(accesses)).any():
        known = accesses[~unknown]
        middle = np.float32(np.median(known)) if len(known) else np.float32(0)
        accesses = np.where(unknown, middle, accesses)
    return Workload(
        submit_s=(attempts.submit_us[order] - TRACE_START_US) / US,
        duration_s=np.where(end_us == NEVER_US, np.inf, duration_s),
        request=np.rint(attempts.cpu_request[order] * UNIT).astype(np.int64),
        priority=attempts.priority[order].astype(np.int8),
        phase_s=phase_us / US,
        offset=usage.offset[order],
        count=usage.count[order].astype(np.int64),
        cpu=usage.cpu,
        max_cpu=usage.max_cpu,
        memory=usage.memory,
        accesses=accesses,
        capacity=capacity,
        length_s=(usage.end_us - TRACE_START_US) / US,
        skipped=dict(skipped),
    )
