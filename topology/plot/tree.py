"""The tree of domains as rows of boxes: a vCPU's column passes through all domains that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.patches import Patch, Rectangle

from scx_vsched.topology.domains import Level, members, partition
from scx_vsched.topology.measure import Origin, stragglers
from scx_vsched.topology.model import FULL_CAPACITY
from scx_vsched.topology.plot.style import (
    AWAY,
    INK,
    MUTED,
    SMALL,
    STACKED,
    STRAGGLER,
    UNKNOWN,
    handles,
    legend,
    place,
    runs,
    sheet,
    title,
)
from scx_vsched.topology.table import headline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.graph import VCpuGraph

__all__ = ["draw_tree"]

_PER_ROW = 64  # vCPUs side by side
_ROW_IN = 0.27  # height of a level's boxes
_LEFT_IN, _RIGHT_IN = 1.2, 0.2
_WIDTH_IN = (6.0, 14.0)
_CELL_IN = 0.42
_HEAD_IN, _FOOT_IN, _BETWEEN_IN = 0.98, 0.2, 0.42
_NAMES = {
    Level.STACK: "thread",
    Level.CORE: "core",
    Level.LLC: "LLC",
    Level.SOCKET: "socket",
    Level.NODE: "node",
}
_SHADES = {
    Level.NODE: "#d3dbe6",
    Level.SOCKET: "#dfe5ee",
    Level.LLC: "#e9eef4",
    Level.CORE: "#f0f3f7",
    Level.STACK: "#f6f8fa",
}


@dataclass(frozen=True, slots=True)
class _Forest:
    """Domains to draw, as told or as measured."""

    caption: str
    domains: Mapping[int, Domains]
    rows: tuple[tuple[str, Level], ...]  # equal levels are one row with both names
    chunks: tuple[tuple[int, ...], ...]  # vCPUs of each line of boxes

    @property
    def height_in(self) -> float:
        """All its lines and the space below each."""
        lines = len(self.chunks) * (_ROW_IN * (len(self.rows) + 1) + _BETWEEN_IN)
        return lines or _BETWEEN_IN


def draw_tree(graph: VCpuGraph) -> Figure:
    """What was measured, below what was told where the graph has both and they differ."""
    measured = graph.snapshot.origin is Origin.MEASURED
    told = graph.claimed
    forests = [_forest("measured" if measured else "told", graph.domains, graph.order())]
    own = {vcpu: graph.domains[vcpu] for vcpu in told}
    if measured and any(partition(told, level) != partition(own, level) for level in Level):
        order = sorted(told, key=lambda v: (*(told[v].at(lv) for lv in reversed(Level)), v))
        forests.insert(0, _summary(told) if len(told) > _PER_ROW else _forest("told", told, order))
    columns = max(len(chunk) for forest in forests for chunk in forest.chunks)
    width = min(max(_CELL_IN * columns, _WIDTH_IN[0]), _WIDTH_IN[1])
    height = _HEAD_IN + sum(forest.height_in for forest in forests) + _FOOT_IN
    figure = sheet(_LEFT_IN + width + _RIGHT_IN, height)
    top = height - _HEAD_IN
    for forest in forests:
        figure.text(
            0.15 / (_LEFT_IN + width + _RIGHT_IN), (top + 0.06) / height, forest.caption,
            fontsize=SMALL + 1.5, weight="bold", color=INK,
        )  # fmt: skip
        if not forest.chunks:
            top -= _BETWEEN_IN
        for chunk in forest.chunks:
            high = _ROW_IN * (len(forest.rows) + 1)
            share = len(chunk) / columns
            axes = place(figure, _LEFT_IN, top - high, width * share, high)
            _boxes(axes, graph, forest, chunk, width / columns)
            top -= high + _BETWEEN_IN
    title(figure, "Domains of vCPUs", headline(graph))
    legend(figure, [*handles(graph), *_scale(graph)])
    return figure


def _summary(told: Mapping[int, Domains]) -> _Forest:
    """Claims about many vCPUs in words: drawn, they would outweigh what was measured."""
    counts = {level: len(members(told, level)) for level in Level}
    words = ", ".join(
        f"{counts[level]} {_NAMES[level]}{'s' if counts[level] > 1 else ''}"
        for level in reversed(Level)
        if level != Level.STACK
    )
    return _Forest(f"told: {words}", told, (), ())


def _forest(caption: str, domains: Mapping[int, Domains], order: Sequence[int]) -> _Forest:
    rows: list[tuple[str, Level]] = []
    for level in reversed(Level):
        # a level that says nothing beyond the last is named beside it
        if rows and partition(domains, rows[-1][1]) == partition(domains, level):
            rows[-1] = (f"{rows[-1][0]}, {_NAMES[level]}", level)
        else:
            rows.append((_NAMES[level], level))
    return _Forest(caption, domains, tuple(rows), tuple(_chunks(domains, order)))


def _chunks(domains: Mapping[int, Domains], order: Sequence[int]) -> list[tuple[int, ...]]:
    """The order in lines, broken between the largest domains that fit, else in cores at least."""
    if len(order) <= _PER_ROW:
        return [tuple(order)]
    sizes = {lv: max(map(len, members(domains, lv).values())) for lv in Level}
    level = max((lv for lv in Level if sizes[lv] <= _PER_ROW), default=Level.STACK)
    groups: dict[int, list[int]] = {}
    for vcpu in order:
        groups.setdefault(domains[vcpu].at(level), []).append(vcpu)
    lines: list[list[int]] = [[]]
    for group in groups.values():
        if len(lines[-1]) + len(group) > _PER_ROW and lines[-1]:
            lines.append([])
        lines[-1] += group
    return [tuple(line) for line in lines]


def _boxes(
    axes: Axes, graph: VCpuGraph, forest: _Forest, chunk: Sequence[int], column_in: float
) -> None:
    rows = len(forest.rows)
    axes.set_xlim(0, len(chunk))
    axes.set_ylim(rows + 1, 0)
    axes.set_xticks([])
    names = [*(name for name, _ in forest.rows), "vCPU"]
    axes.set_yticks([row + 0.5 for row in range(rows + 1)], names, fontsize=SMALL, color=MUTED)
    for row, (_, level) in enumerate(forest.rows):
        for start, end in runs(forest.domains, chunk, level):
            index = forest.domains[chunk[start]].at(level)
            together = end - start > 1
            stacked = level == Level.STACK and together
            fill = STACKED if stacked else _SHADES[level]
            box = _Box(start, row, end - start, "stacked" if stacked else str(index))
            _paint(axes, box, fill, column_in, light=stacked)
    slow = stragglers(graph.measures) if forest.caption == "measured" else frozenset()
    for column, vcpu in enumerate(chunk):
        capacity = graph.measures[vcpu].capacity if forest.caption == "measured" else None
        if vcpu in slow:
            color: Any = STRAGGLER
        elif capacity is None:
            color = UNKNOWN
        else:
            color = _capacity_color(capacity)
        dark = capacity is not None and capacity > 0.55 * FULL_CAPACITY and vcpu not in slow
        _paint(axes, _Box(column, rows, 1, str(vcpu)), color, column_in, light=dark)


def _capacity_color(capacity: int) -> Any:
    return colormaps["Blues"](0.12 + 0.73 * capacity / FULL_CAPACITY)


@dataclass(frozen=True, slots=True)
class _Box:
    """A box of `width` columns and one row."""

    x: int
    y: int
    width: int
    text: str


def _paint(axes: Axes, box: _Box, fill: Any, column_in: float, *, light: bool) -> None:
    gap = min(0.03 / column_in, 0.12)
    axes.add_patch(
        Rectangle(
            (box.x + gap / 2, box.y + 0.04), box.width - gap, 0.92, facecolor=fill, edgecolor=AWAY,
            linewidth=0.5,
        )
    )  # fmt: skip
    size = min(SMALL, 72 * column_in * box.width / (0.75 * max(2, len(box.text))))
    if size >= 3.5:
        axes.text(
            box.x + box.width / 2, box.y + 0.52, box.text, ha="center", va="center", fontsize=size,
            color="white" if light else INK,
        )  # fmt: skip


def _scale(graph: VCpuGraph) -> list[Patch]:
    """Legend entries for the shades of capacity."""
    if all(measure.capacity is None for measure in graph.measures.values()):
        return []
    return [
        Patch(color=_capacity_color(capacity), label=label)
        for capacity, label in ((128, "capacity 128"), (512, "512"), (1024, "1024"))
    ]
