"""Who may start where: queues before machines, and what the tasks that run have requested.

Requests, not usage, decide: a task starts while the requests of its machine's tasks fit. Its
machine is drawn when the simulation begins, the same for every policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.workload import Workload

__all__ = ["Admission"]

type _Ints = NDArray[np.int64]


class Admission:
    """The queues. Arrays named t_… have a row for each task, m_… for a machine.

    `t_request` is what each task is allocated, `m_room` what each machine has left (negative where
    moves brought more than may start there).
    """

    def __init__(self, work: Workload, setup: Setup, m_capacity: _Ints) -> None:
        self._submit_s = work.submit_s
        rng = np.random.default_rng(setup.seed)
        self._t_machine = _draw(rng, len(work), m_capacity)
        # A request that no machine could ever fulfil takes one for itself.
        wanted = np.rint(work.request * setup.allocation_ratio).astype(np.int64)
        self.t_request = np.minimum(wanted, m_capacity[self._t_machine])
        self.m_room = m_capacity.copy()
        # A queue is of a machine, or of a whole cell.
        self._width = setup.cell_size if setup.cell_queue else 1
        self._pending = np.empty(0, np.int64)  # by queue, then in the order of submission
        self._submitted = 0
        self._changed = True  # whether there is more room since tasks were last admitted

    @property
    def pending(self) -> int:
        """Tasks that wait."""
        return len(self._pending)

    @property
    def unsubmitted(self) -> int:
        """Tasks that are not there yet."""
        return len(self._submit_s) - self._submitted

    def admit(self, now_s: float) -> tuple[_Ints, _Ints]:
        """Queue what was submitted by now and start the head of each queue as far as it fits.

        The tasks that start, and their machines.
        """
        arrived = int(np.searchsorted(self._submit_s, now_s, side="right"))
        if arrived > self._submitted:
            new = np.arange(self._submitted, arrived)
            self._pending = np.concatenate([self._pending, new])
            queue = self._t_machine[self._pending] // self._width
            self._pending = self._pending[np.argsort(queue, kind="stable")]
            self._submitted = arrived
        elif not self._changed:
            return self._pending[:0], self._pending[:0]
        self._changed = False
        choose = self._by_machine if self._width == 1 else self._by_cell
        chosen, machine = choose()
        started = self._pending[chosen]
        self._pending = self._pending[~chosen]
        np.subtract.at(self.m_room, machine, self.t_request[started])
        return started, machine

    def _by_machine(self) -> tuple[NDArray[np.bool_], _Ints]:
        """Which of the pending start, each on its own machine, and these machines."""
        machine, total = self._t_machine[self._pending], self.t_request[self._pending].cumsum()
        # The machines' queues lie one after the other: what each machine's starts after.
        last = np.flatnonzero(machine[1:] != machine[:-1])
        m_before = np.zeros(len(self.m_room), np.int64)
        m_before[machine[last + 1]] = total[last]
        # Requests are not negative: the sum along a queue rises, and what fits is its beginning.
        fits = total - m_before[machine] <= self.m_room[machine]
        return fits, machine[fits]

    def _by_cell(self) -> tuple[NDArray[np.bool_], _Ints]:
        """Which of the pending start, each on the machine of its cell with the most room."""
        cells = (self._t_machine[self._pending] // self._width).tolist()
        requests = self.t_request[self._pending].tolist()
        chosen = np.zeros(len(cells), bool)
        machines: list[int] = []
        cell, room, full = -1, [0], False
        for place, (own, request) in enumerate(zip(cells, requests, strict=True)):
            if own != cell:
                cell, full = own, False
                first = cell * self._width
                room = self.m_room[first : first + self._width].tolist()
            most = max(room)
            full |= request > most
            if not full:
                best = room.index(most)
                room[best] -= request
                chosen[place] = True
                machines.append(cell * self._width + best)
        return chosen, np.array(machines, np.int64)

    def leave(self, task: _Ints, machine: _Ints) -> None:
        """Tasks ended on these machines."""
        np.add.at(self.m_room, machine, self.t_request[task])
        self._changed |= len(task) > 0

    def move(self, task: _Ints, source: _Ints, target: _Ints) -> None:
        """Running tasks went to other machines, whatever room these had."""
        self.leave(task, source)
        np.subtract.at(self.m_room, target, self.t_request[task])

    def waiting(self) -> _Ints:
        """What the first in each machine's queue requests, 0 where none waits."""
        m_first = np.zeros(len(self.m_room), np.int64)
        if self._width == 1:
            machine = self._t_machine[self._pending]
            heads = np.flatnonzero(np.diff(machine, prepend=-1))
            m_first[machine[heads]] = self.t_request[self._pending[heads]]
        return m_first


def _draw(rng: np.random.Generator, tasks: int, m_capacity: _Ints) -> _Ints:
    """A machine for each task; larger machines get more, as a scheduler would have it."""
    if (m_capacity == m_capacity[0]).all():
        return rng.integers(0, len(m_capacity), tasks)
    ends = m_capacity.cumsum()
    return np.searchsorted(ends, rng.integers(0, ends[-1], tasks), side="right")
