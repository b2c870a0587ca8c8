"""What a simulation is told besides its tasks and its policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.cluster.schema import UNIT
from scx_vsched.errors import UserError
from scx_vsched.numa.policies import Limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scx_vsched.cluster.workload import Workload

__all__ = ["Setup", "capacities"]


@dataclass(frozen=True, slots=True)
class Setup:
    """The simulated cluster; defaults are the thesis's where it has any.

    `capacity`: CPU of each machine, of the largest in the trace; None takes each machine's own.
    `allocation_ratio`: CPU that a task is allocated, of what it requested: the higher, the fewer
    tasks share a machine (the thesis calls it overcommitment). `cell_size`: machines of a GiantVM.
    `step_s` is the simulation's resolution and `balance_steps` how many steps lie between two
    decisions: the thesis has 10 and does not say how long a step is; 30 s makes one decision for
    each sample of the trace. Tasks with a priority below `priority_below` and a current maximum
    of CPU below `max_cpu_below` may move, but for those that moved less than `rest_s` ago.
    `machine_memory_bytes`: memory of the largest machine, which the trace does not reveal.
    `cell_queue`: a task may start on any machine of its cell; else it waits for the one drawn.
    `link_bytes_s`: what a machine's network carries each way, None without limit; a task whose
    pages follow runs at `moving_speed` of its speed and takes its CPU all the same, as a vCPU that
    waits for a page runs nobody else.
    `seed` decides where tasks are placed.
    """

    machines: int
    capacity: float | None = 0.5
    allocation_ratio: float = 1.0
    cell_size: int = 4
    cell_queue: bool = False
    step_s: float = 30.0
    balance_steps: int = 10
    priority_below: int = 2
    max_cpu_below: float = 0.025
    rest_s: float = 0.0
    machine_memory_bytes: int = 64 << 30
    link_bytes_s: float | None = None
    moving_speed: float = 0.5
    limits: Limits = field(default_factory=Limits)
    seed: int = 0


def capacities(setup: Setup, workload: Workload) -> NDArray[np.int64]:
    """CPU capacity of each simulated machine, in 1/UNIT of the trace's largest.

    Raises UserError where each machine is to have its own and the trace does not say them all.
    """
    if setup.capacity is not None:
        return np.full(setup.machines, round(setup.capacity * UNIT), np.int64)
    own = workload.capacity
    if setup.machines != len(own):
        raise UserError(
            f"{len(own)} machines of the trace cannot lend their capacities to {setup.machines}",
            "leave out --workload-machines, or give one capacity for all",
        )
    if unknown := int((own <= 0).sum()):
        raise UserError(
            f"the trace does not say the capacity of {unknown} machines",
            "give one capacity for all",
        )
    return own
