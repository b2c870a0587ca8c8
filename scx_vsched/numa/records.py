"""What a balancer sees and does, as plain values: for its status, its record and pictures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["GroupState", "MoveRecord", "NodeState", "Round"]


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node: CPU in 1024 for a vCPU, memory in bytes."""

    node: int
    vcpus: int
    capacity: float
    lost: float
    used: float
    memory_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class GroupState:
    """A group that is busy or bound; `fixed` says why it may not move (empty: it may)."""

    pids: tuple[int, ...]
    name: str
    node: int
    load: float
    memory_bytes: int
    fixed: str
    bound: bool


@dataclass(frozen=True, slots=True)
class MoveRecord:
    """Processes that went to another node, or were bound to theirs (source = target).

    `memory_bytes` went with them, `stayed_bytes` should have. Times in seconds since boot.
    """

    at_s: float
    pids: tuple[int, ...]
    name: str
    source: int
    target: int
    memory_bytes: int
    stayed_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Round:
    """One look and what was done after it; `waiting` and `too_big` count groups, see `Plan`."""

    at_s: float
    nodes: tuple[NodeState, ...]
    groups: tuple[GroupState, ...]
    moves: tuple[MoveRecord, ...] = ()
    waiting: int = 0
    too_big: int = 0
