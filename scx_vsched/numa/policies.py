"""Which items move to which node: the policies of GiantVM's scheduler as pure functions.

A node is whatever has a load and a capacity: a NUMA node of a guest, or a machine of a simulated
cluster. An item is whatever moves as one: a task, a process, a group that shares memory. The
caller gives the nodes among which items can move and the items that may move now, and applies the
moves that come back; nothing here knows what they are made of. Loads, requests and capacities are
in one unit of the caller's choice, integers where decisions must not depend on rounding.

Sources: giantvm.md, "Cluster simulator" (algorithms 4-1 to 4-3) and "Sound choices", which settle
what the thesis leaves open; the choices made here besides are said where they are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "THESIS_POLICIES",
    "Item",
    "Key",
    "Kind",
    "Limits",
    "Move",
    "Node",
    "Policy",
    "can_hold",
    "decide",
    "parse_policy",
]


class Node(NamedTuple):
    """A place for items; `load` and `capacity` in the caller's unit of CPU.

    Where requests decide what may start: `room` is what may still be requested (negative: more is
    than may be), `waiting` the request of the first in the queue. A guest has neither.
    """

    id: int
    load: float
    capacity: float
    room: float = 0.0
    waiting: float = 0.0


class Item(NamedTuple):
    """What moves as one. `accesses` is memory accesses per instruction."""

    id: int
    node: int
    load: float
    request: float
    memory_bytes: int
    accesses: float


class Move(NamedTuple):
    """`item` goes from node `source` to `target`; `rank` 0 is the least loaded node, 1 the next."""

    item: int
    source: int
    target: int
    rank: int
    memory_bytes: int


class Kind(StrEnum):
    """What a policy does."""

    NONE = "no_migration"
    COARSE = "coarse"  # all of a node at once, algorithm 4-1
    SORTED = "sorted"  # item by item in an order, algorithms 4-2 and 4-3
    PRICED = "priced"  # item by item, where that is worth the bytes; see priced.py


class Key(StrEnum):
    """What items are sorted by."""

    NONE = "none"
    REQUEST = "request"
    CPU = "cpu"
    MEMORY = "memory"
    ACCESSES = "accesses"


_KEYS = {
    Key.REQUEST: attrgetter("request"),
    Key.CPU: attrgetter("load"),
    Key.MEMORY: attrgetter("memory_bytes"),
    Key.ACCESSES: attrgetter("accesses"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy; `key` and `descending` say in which order `Kind.SORTED` takes items."""

    kind: Kind
    key: Key = Key.NONE
    descending: bool = False

    def __str__(self) -> str:
        """The name that `parse_policy` reads."""
        if self.kind is not Kind.SORTED:
            return str(self.kind)
        if self.key is Key.NONE:
            return "fine"
        return f"sorted:{self.key}-{'desc' if self.descending else 'asc'}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What every decision keeps to. Shares are of a node's capacity.

    `warning`: no target is loaded beyond it (algorithm 4-1, condition 3).
    `most_moved`: coarse moves at most this part of a source's load (condition 2).
    `least_batch`: fine moves nothing to a target rather than less than this share of the source's
    capacity; the thesis has such a threshold and does not say its value, 1 % is ours.
    `targets`: the nodes that fine moves to, the least loaded ones; all others are its sources.
    `least_gap`: hysteresis, a source gives nothing to a target that is less than this share below
    it. `budget_bytes`: memory that one decision may move; None is no limit.
    """

    warning: float = 1.0
    most_moved: float = 0.8
    least_batch: float = 0.01
    targets: int = 2
    least_gap: float = 0.0
    least_gain: float = 10.0
    budget_bytes: int | None = None


# All that the thesis compares: none, coarse, and its six orders (key 0 is no order).
THESIS_POLICIES = (
    Policy(Kind.NONE),
    Policy(Kind.COARSE),
    Policy(Kind.SORTED, Key.NONE),
    Policy(Kind.SORTED, Key.REQUEST),
    Policy(Kind.SORTED, Key.CPU),
    Policy(Kind.SORTED, Key.MEMORY),
    Policy(Kind.SORTED, Key.CPU, descending=True),
    Policy(Kind.SORTED, Key.ACCESSES),
)


def parse_policy(text: str) -> Policy:
    """The policy of that name: no_migration, coarse, fine, sorted:KEY[-asc|-desc].

    Raises UserError for any other name. `sorted:none` is `fine`.
    """
    if text == "fine":
        return Policy(Kind.SORTED)
    kind, colon, order = text.partition(":")
    if not colon and kind in {Kind.NONE, Kind.COARSE, Kind.PRICED}:
        return Policy(Kind(kind))
    key, dash, direction = order.partition("-")
    if kind == Kind.SORTED and key in set(Key) and direction in ({"asc", "desc"} if dash else {""}):
        # In no order there is none to reverse.
        if key == Key.NONE and dash:
            raise UserError(f"policy {text!r}: no order has no direction", "say fine")
        return Policy(Kind.SORTED, Key(key), descending=direction == "desc")
    keys = ", ".join(key for key in Key if key is not Key.NONE)
    raise UserError(
        f"there is no policy {text!r}",
        f"no_migration, coarse, fine, priced, or sorted:KEY-asc and sorted:KEY-desc with KEY of "
        f"{keys}",
    )


def decide(
    policy: Policy, nodes: Sequence[Node], items: Iterable[Item], limits: Limits
) -> list[Move]:
    """The moves that `policy` makes now, in the order of their making; each item moves once.

    `items` are those that may move: what is fixed, or moved a moment ago, the caller leaves out.
    An item's node must be among `nodes`, whose loads contain those of their items.
    """
    if policy.kind is Kind.NONE or len(nodes) < 2:
        return []
    own: dict[int, list[Item]] = {}
    for item in items:
        own.setdefault(item.node, []).append(item)
    if not own:
        return []
    # Least loaded first; nodes that are loaded alike in the order of their numbers.
    ranked = sorted(nodes, key=lambda node: (node.load / node.capacity, node.id))
    if policy.kind is Kind.COARSE:
        return _coarse(ranked, own, limits)
    if policy.kind is Kind.PRICED:
        from scx_vsched.numa.priced import priced_moves  # noqa: PLC0415 - which needs this module

        return priced_moves(ranked, chain.from_iterable(own.values()), limits)
    if policy.key is not Key.NONE:
        key = _KEYS[policy.key]
        for queue in own.values():
            queue.sort(key=key, reverse=policy.descending)
    return _fine(ranked, own, limits)


def _coarse(ranked: list[Node], own: dict[int, list[Item]], limits: Limits) -> list[Move]:
    """Algorithm 4-1: all items of a node go to the least loaded node, or none of them.

    The most loaded source comes first (the thesis names no order), and the target's load counts
    what came before.
    """
    target, *sources = ranked
    load, spent = target.load, 0
    moves: list[Move] = []
    for source in reversed(sources):
        batch = own.get(source.id)
        if batch is None:
            continue
        moved, size = 0.0, 0
        for item in batch:
            moved += item.load
            size += item.memory_bytes
        if (
            moved <= limits.most_moved * source.load
            and _worth_it(source, source.load, target, load, limits)
            and can_hold(target, load + moved, source, source.load, limits)
            and (limits.budget_bytes is None or spent + size <= limits.budget_bytes)
        ):
            load += moved
            spent += size
            moves += [Move(i.id, source.id, target.id, 0, i.memory_bytes) for i in batch]
    return moves


def _fine(ranked: list[Node], own: dict[int, list[Item]], limits: Limits) -> list[Move]:
    """Algorithm 4-2 over queues that are in order: fill the least loaded node, then the second.

    The item at the front that a target cannot hold ends this target for this source: the queue is
    popped from its front, never searched. Two nodes leave one target.
    """
    targets = ranked[: min(limits.targets, len(ranked) - 1)]
    loads = [target.load for target in targets]
    spent = 0
    moves: list[Move] = []
    for source in reversed(ranked[len(targets) :]):
        queue = own.get(source.id, [])
        at, left = 0, source.load
        for rank, target in enumerate(targets):
            start, before, load, size = at, left, loads[rank], spent
            while at < len(queue) and _worth_it(source, left, target, load, limits):
                item = queue[at]
                if not can_hold(target, load + item.load, source, left, limits):
                    break
                if limits.budget_bytes is not None and size + item.memory_bytes > (
                    limits.budget_bytes
                ):
                    break
                load += item.load
                left -= item.load
                size += item.memory_bytes
                at += 1
            if at == start or before - left < limits.least_batch * source.capacity:
                at, left = start, before
                continue
            loads[rank], spent = load, size
            moves += [
                Move(item.id, source.id, target.id, rank, item.memory_bytes)
                for item in queue[start:at]
            ]
    return moves


def can_hold(target: Node, after: float, source: Node, before: float, limits: Limits) -> bool:
    """Whether `target` may be loaded by `after`: not beyond the warning (condition 3), nor beyond
    what the source is loaded by `before` the move (condition 1), so that the worst never rises.
    """
    return (
        after <= limits.warning * target.capacity
        and after * source.capacity <= before * target.capacity
    )


def _worth_it(source: Node, left: float, target: Node, load: float, limits: Limits) -> bool:
    """Whether the source is far enough above the target, as both are loaded by now."""
    return left / source.capacity - load / target.capacity >= limits.least_gap
