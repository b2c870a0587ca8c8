"""The simulator as one would write it first: an object for each task, algorithm 4-1, no arrays.

The oracle of the real one: written from the facts on its own, it shares no code with it but the
record of a workload and the random placement, and must make the same decisions at the same times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.workload import Workload

UNIT = 10_000_000


@dataclass
class PlainTask:
    """A task with its samples."""

    number: int
    submit_s: float
    duration_s: float
    request: int
    priority: int
    phase_s: float
    cpu: list[int]
    max_cpu: list[int]
    memory: list[int]
    progress_s: float = 0.0
    start_s: float | None = None
    end_s: float | None = None

    def now(self, samples: list[int]) -> int:
        """The sample of this moment of its life."""
        period = int((self.phase_s + self.progress_s) / 300)
        return samples[min(max(period, 0), len(samples) - 1)]


@dataclass
class PlainMachine:
    """A machine with its tasks and its queue."""

    number: int
    capacity: int
    tasks: list[PlainTask] = field(default_factory=list)
    queue: list[PlainTask] = field(default_factory=list)

    def load(self) -> int:
        """CPU that its tasks want."""
        return sum(task.now(task.cpu) for task in self.tasks)

    def requested(self) -> int:
        """CPU that its tasks requested."""
        return sum(task.request for task in self.tasks)


@dataclass
class PlainResult:
    """What the oracle saw."""

    moves: list[tuple[float, int, int]]  # time, task, target
    ends: dict[int, float]
    starts: dict[int, float]
    cpu: list[float]
    bytes_moved: int


def plain_simulate(work: Workload, setup: Setup) -> PlainResult:
    """Run the coarse policy."""
    rng = np.random.default_rng(setup.seed)
    places = rng.integers(0, setup.machines, len(work)).tolist()
    assert setup.capacity is not None
    capacity = round(setup.capacity * UNIT)
    machines = [PlainMachine(number, capacity) for number in range(setup.machines)]
    tasks = []
    for i in range(len(work)):
        part = slice(int(work.offset[i]), int(work.offset[i] + work.count[i]))
        request = min(round(int(work.request[i]) * setup.allocation_ratio), capacity)
        tasks.append(
            PlainTask(
                i,
                float(work.submit_s[i]),
                float(work.duration_s[i]),
                request,
                int(work.priority[i]),
                float(work.phase_s[i]),
                work.cpu[part].tolist(),
                work.max_cpu[part].tolist(),
                work.memory[part].tolist(),
            )
        )
    result = PlainResult([], {}, {}, [], 0)
    waiting = 0
    for step in range(max(math.ceil(work.length_s / setup.step_s), 1)):
        now_s = step * setup.step_s
        while waiting < len(tasks) and tasks[waiting].submit_s <= now_s:
            machines[places[waiting]].queue.append(tasks[waiting])
            waiting += 1
        for machine in machines:
            room = machine.capacity - machine.requested()
            while machine.queue and machine.queue[0].request <= room:
                task = machine.queue.pop(0)
                task.start_s = now_s
                machine.tasks.append(task)
                room -= task.request
        if step % setup.balance_steps == 0:
            for first in range(0, setup.machines, setup.cell_size):
                _migrate(machines[first : first + setup.cell_size], setup, now_s, result)
        length_s = min(setup.step_s, work.length_s - now_s)
        total = 0.0
        for machine in machines:
            load = machine.load()
            total += min(load / machine.capacity, 1)
            speed = machine.capacity / load if load > machine.capacity else 1.0
            for task in list(machine.tasks):
                left_s = task.duration_s - task.progress_s
                task.progress_s += length_s * speed
                if left_s <= length_s * speed:
                    task.end_s = now_s + left_s / speed
                    machine.tasks.remove(task)
        result.cpu.append(total / setup.machines)
    result.starts = {task.number: task.start_s for task in tasks if task.start_s is not None}
    result.ends = {task.number: task.end_s for task in tasks if task.end_s is not None}
    return result


def _migrate(cell: list[PlainMachine], setup: Setup, now_s: float, result: PlainResult) -> None:
    """Algorithm 4-1: everything that may move goes to the least loaded machine."""
    ranked = sorted(cell, key=lambda machine: (machine.load(), machine.number))
    target, limits = ranked[0], setup.limits
    for source in reversed(ranked[1:]):
        batch = [
            task
            for task in source.tasks
            if task.priority < 2 and task.now(task.max_cpu) < setup.max_cpu_below * UNIT
        ]
        moved = sum(task.now(task.cpu) for task in batch)
        load = source.load()
        if not batch or moved > limits.most_moved * load:
            continue
        if target.load() + moved > load or target.load() + moved > limits.warning * target.capacity:
            continue
        if (load - target.load()) / source.capacity < limits.least_gap:
            continue
        for task in batch:
            source.tasks.remove(task)
            target.tasks.append(task)
            result.moves.append((now_s, task.number, target.number))
            size = task.now(task.memory) * (setup.machine_memory_bytes / UNIT)
            result.bytes_moved += round(size)
