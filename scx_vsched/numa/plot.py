"""A picture of a balancer's record: the nodes' loads over time, where groups were, the moves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scx_vsched.numa.history import History
    from scx_vsched.numa.records import Round

__all__ = ["draw_history"]

_WIDTH_IN, _LOAD_IN, _LANE_IN = 7.6, 0.85, 0.24
_LEFT_IN, _RIGHT_IN, _HEAD_IN, _FOOT_IN, _BETWEEN_IN = 1.35, 0.35, 0.75, 0.55, 0.14
_SHOWN_GROUPS = 16
# Told apart with any kind of colour vision (Okabe and Ito).
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f7f7f", "#f0e442")
_LOST, _USED = "#bdbdbd", "#3b7ea1"
_FULL = 1024


def draw_history(history: History) -> Figure:
    """A strip for each node (taken by the host, wanted by tasks) and a lane for each group.

    A lane has the colour of the node where the group was; a mark where it moved. Raises UserError
    without matplotlib.
    """
    try:
        from scx_vsched.topology.plot.style import legend, place, sheet, title  # noqa: PLC0415
    except ImportError:
        raise UserError("pictures need matplotlib", "pip install 'scx_vsched[plot]'") from None
    from matplotlib.patches import Patch  # noqa: PLC0415

    rounds = history.rounds
    nodes = [node.node for node in rounds[0].nodes if node.vcpus]
    lanes = _lanes(rounds)
    lanes_in = max(1, len(lanes)) * _LANE_IN
    strips_in = len(nodes) * (_LOAD_IN + _BETWEEN_IN)
    figure = sheet(
        _LEFT_IN + _WIDTH_IN + _RIGHT_IN,
        _HEAD_IN + strips_in + lanes_in + _BETWEEN_IN + _FOOT_IN,
    )
    start = rounds[0].at_s
    seconds = [found.at_s - start for found in rounds]
    end = max(seconds[-1], 1.0)
    bottom = _FOOT_IN + lanes_in + _BETWEEN_IN
    for number, node in enumerate(reversed(nodes)):
        axes = place(
            figure, _LEFT_IN, bottom + number * (_LOAD_IN + _BETWEEN_IN), _WIDTH_IN, _LOAD_IN
        )
        _draw_node(axes, rounds, seconds, node, _COLORS[nodes.index(node) % len(_COLORS)])
        axes.set_xlim(0, end)
        axes.set_xticks([])
    axes = place(figure, _LEFT_IN, _FOOT_IN, _WIDTH_IN, lanes_in)
    _draw_lanes(axes, rounds, seconds, lanes, nodes)
    axes.set_xlim(0, end)
    axes.set_xlabel("seconds", fontsize=8)
    moves = sum(move.source != move.target for found in rounds for move in found.moves)
    moved = sum(move.memory_bytes for found in rounds for move in found.moves)
    title(
        figure,
        f"Balance of {len(nodes)} nodes by {history.policy}",
        f"moves: {moves}, memory moved: {moved / (1 << 20):,.0f} MiB, {len(rounds)} looks; "
        "nodes in vCPUs, the line is what a node has",
    )
    legend(
        figure,
        [
            Patch(color=_LOST, label="taken by the host"),
            Patch(color=_USED, label="wanted by tasks"),
        ],
    )
    return figure


def _draw_node(
    axes: Axes, rounds: Sequence[Round], seconds: Sequence[float], node: int, color: str
) -> None:
    """In vCPUs; the line is what the node has."""
    lost, both, has = [], [], 0.0
    for found in rounds:
        own = next((each for each in found.nodes if each.node == node), None)
        lost.append(own.lost / _FULL if own else 0.0)
        both.append((own.lost + own.used) / _FULL if own else 0.0)
        has = max(has, own.capacity / _FULL if own else 0.0)
    axes.fill_between(seconds, 0, lost, step="post", color=_LOST, linewidth=0)
    axes.fill_between(seconds, lost, both, step="post", color=_USED, linewidth=0)
    axes.axhline(has, color="#222222", linewidth=0.7)
    top = max(has * 1.15, *both)
    axes.set_ylim(0, top)
    axes.set_yticks([0, has])
    axes.set_ylabel(
        f"node {node}", rotation=0, ha="right", va="center", fontsize=8, color=color, weight="bold",
        labelpad=14,
    )  # fmt: skip


def _lanes(rounds: Sequence[Round]) -> list[tuple[str, int]]:
    """Groups by name and first process, those with most load and moves first."""
    weight: Counter[tuple[str, int]] = Counter()
    for found in rounds:
        for group in found.groups:
            weight[group.name, group.pids[0]] += int(group.load) + 1
    return [lane for lane, _ in weight.most_common(_SHOWN_GROUPS)]


def _draw_lanes(
    axes: Axes,
    rounds: Sequence[Round],
    seconds: Sequence[float],
    lanes: Sequence[tuple[str, int]],
    nodes: Sequence[int],
) -> None:
    rows = {lane: len(lanes) - 1 - number for number, lane in enumerate(lanes)}
    ends = [*seconds[1:], seconds[-1] + (seconds[-1] - seconds[-2] if len(seconds) > 1 else 1.0)]
    for found, since, until in zip(rounds, seconds, ends, strict=True):
        for group in found.groups:
            row = rows.get((group.name, group.pids[0]))
            if row is None or group.node not in nodes:
                continue
            color = _COLORS[nodes.index(group.node) % len(_COLORS)]
            axes.barh(row, until - since, left=since, height=0.62, color=color, linewidth=0)
        for move in found.moves:
            row = rows.get((move.name, min(move.pids)))
            if row is not None and move.source != move.target:
                axes.plot([since], [row], marker="|", color="#222222", markersize=9)
    axes.set_ylim(-0.6, max(1, len(lanes)) - 0.4)
    axes.set_yticks(list(rows.values()), [f"{name} {pid}" for name, pid in rows], fontsize=7.5)
