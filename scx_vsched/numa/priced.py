"""The policy `priced`: an item moves where that is worth its bytes, the best bargain first.

The thesis's policies sort by one property and fill a target until it is full. Here every move has
a price, the item's memory, and a gain: by how much it evens out the loads and, where requests
decide who may start, how far it helps those who wait. Moves are made in the order of gain for a
byte until none is worth `Limits.least_gain`: a shadow price that spends bytes where and when they
buy most, over all nodes and all decisions.

To carry a given load off nodes at the least bytes is a transport problem; as the bytes do not
depend on the target, its linear program is solved by taking items by load for a byte, and no
solver has to decide in a guest. A test holds the bytes against networkx's minimum-cost flow.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from scx_vsched.numa.policies import Move, can_hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scx_vsched.numa.policies import Item, Limits, Node

__all__ = ["priced_moves"]

_GIB = 1 << 30
_PERCENT2 = 1e4  # of one squared share
# What freeing a share of a node's requests for the first in its queue is worth, in squared shares
# evened out. On a generated trace 0 leaves more tasks waiting, 1 and 3 hardly fewer.
_FREED = 0.33
_NOISE = 1e-12  # squared shares: what rounding makes of no gain at all


def priced_moves(nodes: Sequence[Node], items: Iterable[Item], limits: Limits) -> list[Move]:
    """The moves of one decision, as `decide` has them; a target's rank is that of its load before.

    `nodes` from the least loaded to the most.
    """
    market = _Market(nodes, limits)
    rank = {node.id: place for place, node in enumerate(nodes)}
    by_number = {item.id: item for item in items}
    # What gains most comes first, of equals the lower number: the order of items changes nothing.
    heap = [
        (-gain, number)
        for number, item in by_number.items()
        if (gain := market.best(item)[0]) >= limits.least_gain
    ]
    heapify(heap)
    spent = 0
    moves: list[Move] = []
    while heap:
        _, number = heappop(heap)
        item = by_number[number]
        gain, target = market.best(item)
        if gain < limits.least_gain or target is None:
            continue
        # Moves made meanwhile made this one worth less: let it queue up again.
        if heap and (-gain, number) > heap[0]:
            heappush(heap, (-gain, number))
            continue
        if limits.budget_bytes is not None and spent + item.memory_bytes > limits.budget_bytes:
            continue
        market.move(item, target)
        spent += item.memory_bytes
        moves.append(Move(number, item.node, target.id, rank[target.id], item.memory_bytes))
    return moves


class _Market:
    """What moves are worth, as the nodes are by now."""

    def __init__(self, nodes: Sequence[Node], limits: Limits) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._limits = limits
        self._load = {node.id: node.load for node in nodes}
        self._share = {node.id: node.load / node.capacity for node in nodes}
        self._room = {node.id: node.room for node in nodes}

    def best(self, item: Item) -> tuple[float, Node | None]:
        """What an item's best move gains for a GiB, and where it goes; (0, None): nowhere."""
        source = self._nodes[item.node]
        share, load = self._share[source.id], self._load[source.id]
        moved = item.load / source.capacity
        freed = self._lack(source, 0) - self._lack(source, item.request)
        found, chosen = _NOISE, None
        for target in self._nodes.values():
            gap = share - self._share[target.id]
            if target is source or gap < self._limits.least_gap:
                continue
            evened = moved * (2 * gap - moved - item.load / target.capacity)
            taken = self._lack(target, -item.request) - self._lack(target, 0)
            gain = evened + _FREED * (freed - taken)
            if gain > found and can_hold(
                target, self._load[target.id] + item.load, source, load, self._limits
            ):
                found, chosen = gain, target
        if chosen is None:
            return 0.0, None
        return found * _PERCENT2 * _GIB / max(item.memory_bytes, 1), chosen

    def _lack(self, node: Node, more: float) -> float:
        """What the first in a node's queue lacks to start if it had `more` room, of capacity."""
        if not node.waiting:
            return 0.0
        return max(node.waiting - self._room[node.id] - more, 0.0) / node.capacity

    def move(self, item: Item, target: Node) -> None:
        """Take note of a move."""
        for node, sign in ((self._nodes[item.node], -1), (target, 1)):
            self._load[node.id] += sign * item.load
            self._room[node.id] -= sign * item.request
            self._share[node.id] = self._load[node.id] / node.capacity
