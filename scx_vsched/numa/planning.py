"""From what is seen to what is moved: groups that are apart come together, then nodes are balanced.

`plan` is a pure function of what it is given. The decisions between nodes are those of `policies`;
here they are held to what a guest adds: groups that never split, rest between two moves, a bound on
moves a minute, a budget of bytes over time, and a least gain, without which the noise of measured
capacities would move tasks to and fro.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from scx_vsched.numa.policies import Item, Kind, Limits, Node, decide
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.numa.load import NodeLoad
    from scx_vsched.numa.policies import Move, Policy

__all__ = ["Damping", "Group", "Plan", "Step", "plan"]

_AS_FAST = 1.25  # nodes that differ by less are alike to a group that looks for a place
_LEAST_LOAD = FULL_CAPACITY / 100  # who wants less is not worth a move, but for coarse


@dataclass(frozen=True, slots=True)
class Group:
    """What moves as one: processes by (number, start), the first one's name.

    `node` is where it is, `fixed` why it may not move (empty: it may), `still` which members that
    is about, and `firm` which of those the scheduler is to keep on the node. `apart` says whether
    members or threads run on several nodes, `bound` whether any of it is bound to a node, `kept`
    whether all of it is bound to `node`, `rested` that its last move is long enough ago. `load` in
    1024 for a vCPU; `memory` in bytes by node; `accesses` in bytes used for a second of CPU.
    """

    members: tuple[tuple[int, int], ...]
    name: str
    node: int
    load: float
    memory: Mapping[int, int]
    threads: int = 1
    accesses: float = 0.0
    fixed: str = ""
    still: tuple[tuple[int, int], ...] = ()
    firm: tuple[tuple[int, int], ...] = ()
    apart: bool = False
    kept: bool = False
    bound: bool = False
    rested: bool = True

    def bytes_to(self, node: int) -> int:
        """Memory that is not on `node` yet."""
        return sum(size for at, size in self.memory.items() if at != node)


@dataclass(frozen=True, slots=True)
class Damping:
    """What keeps moves rare.

    A task moves where it becomes `least_gain` times as fast, and `crowded_gain` times where it has
    to share a vCPU there: then others pay for it, and a vCPU may idle where it came from.
    """

    least_gain: float = 1.25
    crowded_gain: float = 3.0
    rest_s: float = 5.0
    most_per_minute: int = 6


@dataclass(frozen=True, slots=True)
class Step:
    """`group` goes from `source` to `target`, and so many bytes with it; `why` is for people."""

    group: Group
    source: int
    target: int
    memory_bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, and groups that have outgrown their node and are bound no more.

    `waiting` groups want to move and may not yet, `too_big` have more memory than the budget is
    ever good for.
    """

    steps: tuple[Step, ...]
    released: tuple[Group, ...] = ()
    waiting: int = 0
    too_big: int = 0


class _Projected:
    """Loads as they will be once the steps so far are taken."""

    def __init__(self, loads: Sequence[NodeLoad]) -> None:
        self._of = {load.node: load for load in loads}

    def __getitem__(self, node: int) -> NodeLoad:
        return self._of[node]

    def __contains__(self, node: int) -> bool:
        return node in self._of

    def move(self, load: float, source: int, target: int) -> None:
        for node, change in ((source, -load), (target, load)):
            if node in self._of:
                own = self._of[node]
                self._of[node] = replace(own, used=max(0.0, own.used + change))

    def nodes(self) -> list[Node]:
        """As the policies want them.

        A task takes what a vCPU has left, however little, so loads that merely add up what the host
        and tasks take would keep it from a node that is half taken, though it fled from one that is
        taken wholly. What counts is what a further task would find: what the node's tasks want and
        as much again as it has vCPUs, of what its host leaves.
        """
        return [Node(n, own.used + own.capacity, own.available) for n, own in self._of.items()]

    def all(self) -> list[NodeLoad]:
        return list(self._of.values())


def plan(
    policy: Policy,
    loads: Sequence[NodeLoad],
    groups: Sequence[Group],
    damping: Damping,
    *,
    budget_bytes: int,
    most_bytes: int,
) -> Plan:
    """What to move now.

    `budget_bytes` may be moved now, `most_bytes` is what the budget ever grows to: groups with more
    memory never move.
    """
    if policy.kind is Kind.NONE or len(loads) < 2:
        return Plan(())
    projected = _Projected(loads)
    steps, waiting, too_big, left = [], 0, 0, budget_bytes
    released = tuple(
        g for g in groups if g.bound and g.node in projected and g.load > projected[g.node].capacity
    )
    for group in groups:
        together = group.kept or len(group.members) == 1
        if group.load < _LEAST_LOAD or (together and not group.apart):
            continue
        target = _meeting_place(group, projected)
        if target is None:
            continue
        size = group.bytes_to(target)
        if size > left or not group.rested:
            waiting += 1
            too_big += size > most_bytes
            continue
        left -= size
        # Its threads' loads are where they last ran; for the projection all of it was on `node`.
        projected.move(group.load, group.node, target)
        # Who is together already only stays where it is.
        why = "shares memory, was apart" if group.apart else "shares memory, stays together"
        steps.append(Step(group, group.node, target, size, why))
    gathered = {step.group.members for step in steps}
    balanced, held, big = _balance(
        policy,
        projected,
        [group for group in groups if group.members not in gathered],
        damping,
        budget_bytes=left,
        most_bytes=most_bytes,
    )
    return Plan((*steps, *balanced), released, waiting + held, too_big + big)


def _meeting_place(group: Group, projected: _Projected) -> int | None:
    """The node where the group is together: where it is fast, and most of its memory is.

    With a fixed member it is that one's node, as long as it holds the group. None where no node is
    large enough.
    """

    def after(node: NodeLoad) -> NodeLoad:
        here = 0.0 if node.node == group.node else group.load
        return replace(node, used=node.used + here)

    if group.fixed:
        if not group.apart or group.node not in projected:
            return None
        home = projected[group.node]
        return group.node if home.used + group.load <= home.capacity else None
    nodes = [after(node) for node in projected.all() if group.load <= node.capacity]
    best = max((node.speed() for node in nodes), default=0.0)
    near = [node for node in nodes if node.speed() * _AS_FAST >= best]
    return max(
        (node.node for node in near),
        key=lambda n: (group.memory.get(n, 0), n == group.node, projected[n].speed(), -n),
        default=None,
    )


def _balance(
    policy: Policy,
    projected: _Projected,
    groups: Sequence[Group],
    damping: Damping,
    *,
    budget_bytes: int,
    most_bytes: int,
) -> tuple[list[Step], int, int]:
    """The policy's moves that are worth it; how many groups wait, how many are too big."""
    everything = policy.kind is Kind.COARSE
    movable: list[Group] = []
    waiting = too_big = 0
    for group in groups:
        if group.fixed or group.node not in projected:
            continue
        if group.load > projected[group.node].capacity:
            continue  # it needs several nodes
        if group.load < _LEAST_LOAD and not everything:
            continue
        size = sum(group.memory.values())
        if size > most_bytes:
            too_big += 1
        elif not group.rested:
            waiting += 1
        else:
            movable.append(group)
    items = [
        Item(
            number,
            group.node,
            group.load,
            group.threads * FULL_CAPACITY,
            sum(group.memory.values()),
            group.accesses,
        )
        for number, group in enumerate(movable)
    ]
    limits = Limits(warning=inf, budget_bytes=budget_bytes)
    moves = decide(policy, projected.nodes(), items, limits)
    steps = []
    for batch in _batches(moves, together=everything):
        load = sum(movable[move.item].load for move in batch)
        source, target = projected[batch[0].source], projected[batch[0].target]
        before, after = source.speed(), target.speed(load)
        crowded = target.used + load > target.capacity
        gain = damping.crowded_gain if crowded else damping.least_gain
        if everything:  # the script looks at hosts only
            before, after, gain = source.left, target.left, damping.least_gain
        if after < before * gain:
            continue
        projected.move(load, source.node, target.node)
        which = "least" if batch[0].rank == 0 else "second least"
        why = (
            f"node {source.node} leaves a task {before:.0%} of a vCPU, "
            f"node {target.node} {after:.0%} ({which} loaded)"
        )
        for move in batch:
            group = movable[move.item]
            steps.append(Step(group, source.node, target.node, group.bytes_to(target.node), why))
    return steps, waiting, too_big


def _batches(moves: Sequence[Move], *, together: bool) -> list[list[Move]]:
    """What is judged as one: each move, or `together` all of one source."""
    if not together:
        return [[move] for move in moves]
    batches: dict[int, list[Move]] = {}
    for move in moves:
        batches.setdefault(move.source, []).append(move)
    return list(batches.values())
