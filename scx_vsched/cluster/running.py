"""The tasks that run, as arrays that are only as long as there are such tasks.

A step touches every running task; columns of their own, in the order of admission, spare it the
gathering from arrays of all tasks. What ends stays in place without effect until `compact`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.cluster.schema import PERIOD_US, US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scx_vsched.cluster.workload import Workload

__all__ = ["Running"]

_PERIOD_S = PERIOD_US / US


class Running:
    """Running tasks: `task` is each one's row in the workload, `machine` where it runs, `sample`
    its current sample and `cpu` the CPU that it wants by it, in the workload's unit."""

    def __init__(self, work: Workload) -> None:
        self._work = work
        self._dead = 0
        self.task = self.machine = self.sample = np.empty(0, np.int64)
        self.cpu = np.empty(0)
        self._progress_s = self._duration_s = self._next_s = np.empty(0)

    def __len__(self) -> int:
        return len(self.task) - self._dead

    def start(self, task: NDArray[np.int64], machine: NDArray[np.int64]) -> None:
        """Add tasks that have made no progress yet."""
        new = len(task)
        self.task = np.concatenate([self.task, task])
        self.machine = np.concatenate([self.machine, machine])
        self.sample = np.concatenate([self.sample, np.zeros(new, np.int64)])
        self.cpu = np.concatenate([self.cpu, np.zeros(new)])
        self._progress_s = np.concatenate([self._progress_s, np.zeros(new)])
        self._duration_s = np.concatenate([self._duration_s, self._work.duration_s[task]])
        # Due at once, so that `load` finds the first sample.
        self._next_s = np.concatenate([self._next_s, np.full(new, -np.inf)])

    def load(self, machines: int) -> NDArray[np.float64]:
        """CPU that the tasks of each machine want; whole numbers."""
        due = np.flatnonzero(self._progress_s >= self._next_s)
        if len(due):
            work, task = self._work, self.task[due]
            period = (work.phase_s[task] + self._progress_s[due]) / _PERIOD_S
            at = np.minimum(np.maximum(period.astype(np.int64), 0), work.count[task] - 1)
            sample = work.offset[task] + at
            self.sample[due] = sample
            self.cpu[due] = work.cpu[sample]
            # Before its first sample a task has the first, after its last one the last.
            next_s = (at + 1) * _PERIOD_S - work.phase_s[task]
            self._next_s[due] = np.where(at + 1 < work.count[task], next_s, np.inf)
        return np.bincount(self.machine, self.cpu, machines)

    def advance(
        self, length_s: float, m_speed: NDArray[np.float64], pace: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Let `length_s` pass at each machine's speed (1: as in the trace) and each task's pace.

        `pace` None is 1 for all. The tasks that ended, their machines, and how long each still ran.
        """
        speed = m_speed[self.machine]
        if pace is not None:
            speed *= pace
        made_s = length_s * speed
        left_s = self._duration_s - self._progress_s
        self._progress_s += made_s
        ended = np.flatnonzero(left_s <= made_s)
        task, machine = self.task[ended], self.machine[ended]
        ran_s = left_s[ended] / speed[ended]
        self.cpu[ended] = 0
        self._duration_s[ended] = self._next_s[ended] = np.inf
        self.task[ended] = -1
        self._dead += len(ended)
        return task, machine, ran_s

    def compact(self) -> None:
        """Drop what ended."""
        if not self._dead:
            return
        alive = np.flatnonzero(self.task >= 0)
        for name in ("task", "machine", "sample", "cpu", "_progress_s", "_duration_s", "_next_s"):
            setattr(self, name, getattr(self, name)[alive])
        self._dead = 0
