"""Between the simulator's arrays and the decisions of `scx_vsched.numa`: cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.numa.policies import Item, Kind, Node, decide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scx_vsched.numa.policies import Limits, Move, Policy

__all__ = ["Movable", "Moves", "choose_moves"]


@dataclass(frozen=True, slots=True)
class Movable:
    """Tasks that may move, in the order of their admission; arrays of one length.

    `load` and `request` in the unit of the machines' capacity.
    """

    task: NDArray[np.int64]
    machine: NDArray[np.int64]
    load: NDArray[np.int32]
    request: NDArray[np.int64]
    memory_bytes: NDArray[np.int64]
    accesses: NDArray[np.float32]

    def take(self, chosen: NDArray[np.int64]) -> Movable:
        """Those at the indices `chosen`."""
        return Movable(*(getattr(self, name)[chosen] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Moves:
    """What moves: each task once, with its target and the target's rank (0 least loaded).

    `place` says where each was among those that could move.
    """

    place: NDArray[np.int64]
    task: NDArray[np.int64]
    target: NDArray[np.int64]
    rank: NDArray[np.int8]
    memory_bytes: NDArray[np.int64]


def choose_moves(
    policy: Policy,
    movable: Movable,
    load: NDArray[np.float64],
    *,
    capacity: NDArray[np.int64],
    room: NDArray[np.int64],
    waiting: NDArray[np.int64],
    cell_size: int,
    limits: Limits,
) -> Moves:
    """The moves that `policy` makes in all cells: machines [k·cell_size, (k+1)·cell_size).

    `load` is the CPU in use on each machine, those of the tasks that may move included; `room` and
    `waiting` are as `Admission` has them.
    """
    order = np.argsort(movable.machine, kind="stable")
    movable = movable.take(order)
    columns = (column.tolist() for column in (load, capacity, room, waiting))
    nodes = list(map(Node, range(len(load)), *columns))
    choose = _whole_machines if policy.kind is Kind.COARSE else _single_tasks
    place, target, rank = choose(policy, movable, nodes, cell_size, limits)
    return Moves(order[place], movable.task[place], target, rank, movable.memory_bytes[place])


type _Choice = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]


def _single_tasks(
    policy: Policy, movable: Movable, nodes: list[Node], cell_size: int, limits: Limits
) -> _Choice:
    """Each task is an item; its number is its place in `movable`."""
    items = list(
        map(
            Item,
            range(len(movable.task)),
            movable.machine.tolist(),
            movable.load.tolist(),
            movable.request.tolist(),
            movable.memory_bytes.tolist(),
            movable.accesses.tolist(),
        )
    )
    moves: list[Move] = []
    for cell, start, end in _cells(movable.machine, cell_size):
        own = nodes[cell * cell_size : (cell + 1) * cell_size]
        moves += decide(policy, own, items[start:end], limits)
    return (
        np.array([move.item for move in moves], np.int64),
        np.array([move.target for move in moves], np.int64),
        np.array([move.rank for move in moves], np.int8),
    )


def _whole_machines(
    policy: Policy, movable: Movable, nodes: list[Node], cell_size: int, limits: Limits
) -> _Choice:
    """All that may move off a machine is one item, as it moves together or stays together."""
    machines, start, tasks = np.unique(movable.machine, return_index=True, return_counts=True)
    if not len(machines):
        return start, machines, np.empty(0, np.int8)
    load = np.add.reduceat(movable.load.astype(np.int64), start)
    size = np.add.reduceat(movable.memory_bytes, start)
    items = [
        Item(machine, machine, cpu, 0, memory, 0.0)
        for machine, cpu, memory in zip(
            machines.tolist(), load.tolist(), size.tolist(), strict=True
        )
    ]
    target = np.full(len(nodes), -1, np.int64)
    for cell, begin, end in _cells(machines, cell_size):
        own = nodes[cell * cell_size : (cell + 1) * cell_size]
        for move in decide(policy, own, items[begin:end], limits):
            target[move.source] = move.target
    goes = np.repeat(target[machines], tasks)
    place = np.flatnonzero(goes >= 0)
    return place, goes[place], np.zeros(len(place), np.int8)


def _cells(machine: NDArray[np.int64], cell_size: int) -> Iterator[tuple[int, int, int]]:
    """The cells that occur in sorted machines, and where their parts start and end."""
    cells, starts = np.unique(machine // cell_size, return_index=True)
    bounds = [*starts.tolist(), len(machine)]
    for cell, (start, end) in zip(cells.tolist(), pairwise(bounds), strict=True):
        yield cell, start, end
