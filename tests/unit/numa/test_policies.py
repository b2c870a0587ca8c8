"""The decisions of all policies: the rules of algorithms 4-1 to 4-3, one by one and at random."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scx_vsched.errors import UserError
from scx_vsched.numa.policies import (
    THESIS_POLICIES,
    Item,
    Key,
    Kind,
    Limits,
    Move,
    Node,
    Policy,
    decide,
    parse_policy,
)

EASY = Limits(least_batch=0)


def item(number: int, node: int, load: int = 1, **other: float) -> Item:
    """An item; memory in bytes equals its number unless given."""
    fields = {"request": 0, "memory_bytes": number, "accesses": 0.0} | other
    return Item(number, node, load, **fields)  # type: ignore[arg-type]


def pairs(moves: list[Move]) -> list[tuple[int, int]]:
    """Items and targets."""
    return [(move.item, move.target) for move in moves]


def nodes(*loads: int, capacity: int = 100) -> list[Node]:
    """Nodes 0, 1, … that are loaded so."""
    return [Node(number, load, capacity) for number, load in enumerate(loads)]


class TestNames:
    @pytest.mark.parametrize("policy", [*THESIS_POLICIES, Policy(Kind.PRICED)])
    def test_every_policy_is_read_back_from_its_name(self, policy: Policy) -> None:
        assert parse_policy(str(policy)) == policy

    def test_thesis_compares_none_coarse_and_six_orders(self) -> None:
        assert [policy.kind for policy in THESIS_POLICIES] == [
            Kind.NONE,
            Kind.COARSE,
            *[Kind.SORTED] * 6,
        ]
        assert len(set(THESIS_POLICIES)) == 8

    def test_ascending_is_the_default(self) -> None:
        assert parse_policy("sorted:cpu") == parse_policy("sorted:cpu-asc")
        assert parse_policy("sorted:none") == parse_policy("fine")

    @pytest.mark.parametrize(
        "name",
        ["", "sorted", "sorted:", "sorted:disk", "sorted:cpu-", "sorted:cpu-up", "coarse:cpu",
         "none", "fine:cpu", "sorted:none-desc", "priced:cpu"],
    )  # fmt: skip
    def test_other_names_are_refused(self, name: str) -> None:
        with pytest.raises(UserError):
            parse_policy(name)


class TestCoarse:
    policy = parse_policy("coarse")

    def test_all_that_may_move_goes_to_the_least_loaded(self) -> None:
        items = [item(1, 0, 10), item(2, 0, 10), item(3, 2, 10)]
        assert pairs(decide(self.policy, nodes(50, 10, 40), items, Limits())) == [
            (1, 1), (2, 1), (3, 1),
        ]  # fmt: skip

    def test_not_if_the_target_became_more_loaded_than_the_source(self) -> None:
        assert decide(self.policy, nodes(30, 15), [item(1, 0, 16)], Limits()) == []
        assert decide(self.policy, nodes(30, 15), [item(1, 0, 15)], Limits()) != []

    def test_not_more_than_four_fifths_of_the_source(self) -> None:
        assert decide(self.policy, nodes(30, 0), [item(1, 0, 25)], Limits()) == []
        assert decide(self.policy, nodes(30, 0), [item(1, 0, 24)], Limits()) != []

    def test_not_beyond_the_warning(self) -> None:
        assert decide(self.policy, nodes(200, 40), [item(1, 0, 61)], Limits()) == []
        assert decide(self.policy, nodes(200, 40), [item(1, 0, 60)], Limits()) != []
        assert decide(self.policy, nodes(200, 40), [item(1, 0, 60)], Limits(warning=0.9)) == []

    def test_what_came_before_counts(self) -> None:
        items = [item(1, 0, 40), item(2, 2, 40)]
        assert pairs(decide(self.policy, nodes(90, 10, 60), items, Limits())) == [(1, 1)]

    def test_a_batch_beyond_the_budget_stays_whole(self) -> None:
        items = [item(1, 0, 10, memory_bytes=60), item(2, 0, 10, memory_bytes=60)]
        assert decide(self.policy, nodes(50, 0), items, Limits(budget_bytes=119)) == []
        assert len(decide(self.policy, nodes(50, 0), items, Limits(budget_bytes=120))) == 2

    def test_load_counts_against_each_nodes_own_capacity(self) -> None:
        # 40 of 200 is less than 30 of 100.
        own = [Node(0, 30, 100), Node(1, 40, 200), Node(2, 60, 100)]
        assert pairs(decide(self.policy, own, [item(1, 2, 10)], Limits())) == [(1, 1)]


class TestFine:
    policy = parse_policy("fine")

    def test_the_least_loaded_is_filled_first_then_the_second(self) -> None:
        items = [item(i, 2, 10) for i in range(6)]
        moves = decide(self.policy, nodes(0, 10, 60), items, EASY)
        # 60 and 0 become 30 and 30, which cannot hold more; then 30 and 10 become 20 and 20.
        assert [(m.item, m.target, m.rank) for m in moves] == [
            (0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 1, 1),
        ]  # fmt: skip

    def test_the_first_item_that_does_not_fit_ends_a_target(self) -> None:
        items = [item(0, 2, 35), item(1, 2, 1), item(2, 2, 1)]
        moves = decide(self.policy, nodes(70, 75, 100), items, EASY)
        assert moves == []

    def test_the_worst_load_never_rises_and_two_nodes_leave_one_target(self) -> None:
        items = [item(i, 1, 10) for i in range(5)]
        moves = decide(self.policy, nodes(0, 50), items, EASY)
        assert {move.target for move in moves} == {0}
        assert 50 - 10 * len(moves) <= 10 * len(moves) <= 50

    def test_with_one_target_all_other_nodes_are_sources(self) -> None:
        items = [item(i, i, 5) for i in (1, 2, 3)]
        own = nodes(0, 30, 40, 60)
        one = decide(self.policy, own, items, Limits(least_batch=0, targets=1))
        assert {move.target for move in one} == {0}
        assert {move.source for move in one} > {
            move.source for move in decide(self.policy, own, items, EASY)
        }

    def test_too_small_a_batch_stays(self) -> None:
        items = [item(i, 2, 1) for i in range(3)]
        assert decide(self.policy, nodes(0, 0, 60), items, Limits(least_batch=0.04)) == []
        assert len(decide(self.policy, nodes(0, 0, 60), items, Limits(least_batch=0.03))) == 3

    def test_hysteresis(self) -> None:
        items = [item(i, 2, 1) for i in range(30)]
        moves = decide(
            self.policy, nodes(40, 45, 60), items, Limits(least_batch=0, least_gap=0.155)
        )
        assert len(moves) == 3  # 60-40, 59-41, 58-42; 57-43 is less than 15.5
        assert not decide(self.policy, nodes(40, 45, 60), items, Limits(least_gap=0.21))

    def test_budget(self) -> None:
        items = [item(i, 2, 1, memory_bytes=10) for i in range(30)]
        limits = Limits(least_batch=0, budget_bytes=45)
        assert len(decide(self.policy, nodes(0, 0, 60), items, limits)) == 4

    @pytest.mark.parametrize(
        ("name", "first"),
        [("fine", 0), ("sorted:request-asc", 1), ("sorted:cpu-asc", 2), ("sorted:memory-asc", 3),
         ("sorted:accesses-asc", 4), ("sorted:cpu-desc", 5), ("sorted:memory-desc", 0)],
    )  # fmt: skip
    def test_each_order_takes_its_own_item_first(self, name: str, first: int) -> None:
        items = [
            item(0, 2, 5, request=9, memory_bytes=99, accesses=0.9),
            item(1, 2, 5, request=1, memory_bytes=50, accesses=0.5),
            item(2, 2, 2, request=9, memory_bytes=50, accesses=0.5),
            item(3, 2, 5, request=9, memory_bytes=10, accesses=0.5),
            item(4, 2, 5, request=9, memory_bytes=50, accesses=0.1),
            item(5, 2, 7, request=9, memory_bytes=50, accesses=0.5),
        ]
        assert decide(parse_policy(name), nodes(0, 0, 90), items, EASY)[0].item == first


def test_no_migration_and_one_node_move_nothing() -> None:
    items = [item(1, 0, 10)]
    assert decide(parse_policy("no_migration"), nodes(90, 0), items, EASY) == []
    assert decide(parse_policy("fine"), nodes(90), items, EASY) == []
    assert decide(parse_policy("fine"), nodes(90, 0), [], EASY) == []


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Node], list[Item]]:
    """Nodes with items that may move, and more load that may not."""
    count = draw(st.integers(1, 6))
    items = [
        Item(i, *fields)
        for i, fields in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        st.integers(0, count - 1), st.integers(0, 30), st.integers(0, 30),
                        st.integers(0, 100), st.floats(0, 1),
                    ),
                    max_size=30,
                )
            )
        )
    ]  # fmt: skip
    return [
        Node(
            n,
            draw(st.integers(0, 100)) + sum(i.load for i in items if i.node == n),
            draw(st.integers(50, 150)),
        )
        for n in range(count)
    ], items


@given(
    situation=situations(),
    policy=st.sampled_from(
        [
            *THESIS_POLICIES,
            Policy(Kind.SORTED, Key.MEMORY, descending=True),
            Policy(Kind.PRICED),
        ]
    ),
    warning=st.sampled_from([0.5, 1.0]),
    budget=st.none() | st.integers(0, 300),
    gap=st.sampled_from([0.0, 0.2]),
)
def test_what_holds_for_every_decision(
    situation: tuple[list[Node], list[Item]],
    policy: Policy,
    warning: float,
    budget: int | None,
    gap: float,
) -> None:
    own, items = situation
    limits = Limits(warning=warning, budget_bytes=budget, least_gap=gap)
    moves = decide(policy, own, items, limits)
    by_id = {one.id: one for one in items}
    assert len({move.item for move in moves}) == len(moves)
    load = {node.id: node.load for node in own}
    capacity = {node.id: node.capacity for node in own}
    worst = max(node.load / node.capacity for node in own)
    for move in moves:
        assert by_id[move.item].node == move.source != move.target
        assert by_id[move.item].memory_bytes == move.memory_bytes
        load[move.source] -= by_id[move.item].load
        load[move.target] += by_id[move.item].load
    assert budget is None or sum(move.memory_bytes for move in moves) <= budget
    assert max(load[n] / capacity[n] for n in load) <= worst + 1e-9
    for target in {move.target for move in moves}:
        assert load[target] <= warning * capacity[target]
    assert moves == decide(policy, own, items, limits)


def test_nothing_heavy_is_imported_for_a_guest() -> None:
    code = (
        "import sys, scx_vsched.numa.policies; "
        "print({'numpy', 'polars', 'networkx'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
