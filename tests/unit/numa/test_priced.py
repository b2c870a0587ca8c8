"""The policy `priced`: the best bargain first, nothing that is not worth it, and those who wait."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.numa.policies import Item, Kind, Limits, Node, Policy, decide

if TYPE_CHECKING:
    from scx_vsched.numa.policies import Move

PRICED = Policy(Kind.PRICED)
GIB = 1 << 30
EASY = Limits(least_gain=0)


def item(number: int, node: int, load: float, gib: float = 1, request: float = 0) -> Item:
    """An item; nothing is known of its accesses."""
    return Item(number, node, load, request, round(gib * GIB), 0.0)


def made(nodes: list[Node], items: list[Item], limits: Limits = EASY) -> list[Move]:
    """What is moved."""
    return decide(PRICED, nodes, items, limits)


def test_of_equal_loads_the_smaller_memory_goes() -> None:
    items = [item(0, 0, 10, 4), item(1, 0, 10, 1), item(2, 0, 10, 2)]
    assert [move.item for move in made([Node(0, 60, 100), Node(1, 40, 100)], items)] == [1]


def test_of_equal_memory_the_larger_load_goes() -> None:
    items = [item(0, 0, 2), item(1, 0, 9), item(2, 0, 4)]
    assert made([Node(0, 60, 100), Node(1, 40, 100)], items)[0].item == 1


def test_any_node_takes_and_the_least_loaded_takes_first() -> None:
    own = [Node(0, 60, 100), Node(1, 20, 100), Node(2, 30, 100), Node(3, 30, 100)]
    moves = made(own, [item(i, 0, 5) for i in range(6)])
    assert (moves[0].target, moves[0].rank) == (1, 0)
    assert {move.target for move in moves} == {1, 2, 3}


def test_a_move_must_be_worth_its_bytes() -> None:
    own, items = [Node(0, 60, 100), Node(1, 40, 100)], [item(0, 0, 1)]
    # A percent, carried over 20 points: 2 · 20 - 1 - 1 = 38 squared percents for its GiB.
    assert made(own, items, Limits(least_gain=37.9))
    assert not made(own, items, Limits(least_gain=38.1))
    assert not made(own, [item(0, 0, 1, gib=2)], Limits(least_gain=37.9))


def test_nothing_moves_between_nodes_that_are_alike_or_that_it_would_only_swap() -> None:
    assert made([Node(0, 50, 100), Node(1, 50, 100)], [item(0, 0, 1)]) == []
    assert made([Node(0, 60, 100), Node(1, 40, 100)], [item(0, 0, 20)]) == []


def test_an_item_goes_to_make_room_for_one_that_waits() -> None:
    crowded = Node(0, 50, 100, room=2, waiting=10)
    free = Node(1, 49, 100, room=30)
    items = [item(0, 0, 0.1, request=8)]
    assert [move.target for move in made([crowded, free], items, Limits())] == [1]
    # Not where another waits for as much, nor where nobody waits.
    assert made([crowded, free._replace(room=2, waiting=10)], items, Limits()) == []
    assert made([crowded._replace(waiting=0), free], items, Limits()) == []


def test_room_is_made_once() -> None:
    crowded = Node(0, 50, 100, room=2, waiting=10)
    items = [item(i, 0, 0.1, request=8) for i in range(3)]
    assert len(made([crowded, Node(1, 49, 100, room=30)], items, Limits())) == 1


def test_the_order_of_items_does_not_matter() -> None:
    items = [item(i, i % 2, 3 + i % 4, 1 + i % 3) for i in range(12)]
    own = [Node(0, 90, 100), Node(1, 60, 100), Node(2, 5, 100)]
    assert made(own, items) == made(own, items[::-1])


@given(
    sizes=st.lists(st.integers(1, 50), min_size=2, max_size=14),
    fixed=st.lists(st.integers(0, 40), min_size=4, max_size=4),
    split=st.integers(0, 3),
)
def test_no_flow_carries_as_much_off_the_same_nodes_for_fewer_bytes(
    sizes: list[int], fixed: list[int], split: int
) -> None:
    items = [item(i, i % (split + 1), 1, gib) for i, gib in enumerate(sizes)]
    own = [
        Node(n, load + sum(one.load for one in items if one.node == n), 100)
        for n, load in enumerate(fixed)
    ]
    moves = made(own, items, replace(EASY, warning=1.0))
    graph = nx.DiGraph()
    for node in {move.source for move in moves}:
        graph.add_node(("off", node), demand=-sum(move.source == node for move in moves))
    graph.add_node("on", demand=len(moves))
    for one in items:
        if ("off", one.node) in graph:
            graph.add_edge(("off", one.node), one.id, capacity=1, weight=one.memory_bytes)
            graph.add_edge(one.id, "on", capacity=1)
    least = nx.min_cost_flow_cost(graph) if moves else 0
    assert sum(move.memory_bytes for move in moves) == least
