"""The latency matrix: every pair as a cell, ordered by domain, with capacities beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm
from matplotlib.patches import Patch, Rectangle

from scx_vsched.topology.domains import Level, members
from scx_vsched.topology.measure import stragglers
from scx_vsched.topology.model import FULL_CAPACITY
from scx_vsched.topology.plot.style import (
    AWAY,
    INK,
    MUTED,
    RUNS,
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
    vcpu_colors,
)
from scx_vsched.topology.records import Relation
from scx_vsched.topology.sentences import number_list
from scx_vsched.topology.table import headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from scx_vsched.topology.graph import VCpuGraph

__all__ = ["draw_matrix"]

_SIDE_IN = (3.6, 9.0)  # of the matrix, least and most
_CELL_IN = 0.27
_LABELLED = 64  # up to so many vCPUs each has its label
_NUMBERED = 16  # up to so many vCPUs each cell has its number
_STRIP_IN = 0.17  # height of one level's strip above the matrix
_STRIPS = (Level.NODE, Level.SOCKET, Level.LLC)
_STRIP_NAMES = {Level.NODE: "node", Level.SOCKET: "socket", Level.LLC: "LLC"}
_BORDER_WIDTH = {Level.NODE: 2.0, Level.SOCKET: 1.3, Level.LLC: 0.8}
_CLASS_NAMES = {
    Relation.STACKED: "stacked",
    Relation.SMT: "core",
    Relation.LLC: "LLC",
    Relation.SOCKET: "socket",
    Relation.NODE: "node",
    Relation.APART: "other node",
}


def draw_matrix(graph: VCpuGraph) -> Figure:
    """The heat map; without any latency (a claimed graph) it shows relations instead."""
    order = graph.order()
    count = len(order)
    side = min(max(_CELL_IN * count, _SIDE_IN[0]), _SIDE_IN[1])
    strips = [level for level in _STRIPS if len(members(graph.domains, level)) > 1]
    capacities = any(m.capacity is not None for m in graph.measures.values())
    left, bottom, top = 0.75, 0.75, 0.75 + _STRIP_IN * len(strips)
    matrix = graph.latency_matrix()
    right = 0.3 + (1.5 if capacities else 0) + (1.1 if numpy.isfinite(matrix).any() else 0)
    figure = sheet(max(left + side + right, 6.2), bottom + side + top)
    axes = place(figure, left, bottom, side, side)
    image = _cells(axes, graph, order, matrix)
    _borders(axes, graph, order)
    _labels(axes, graph, order, side)
    for row, level in enumerate(reversed(strips)):
        strip = place(figure, left, bottom + side + 0.04 + row * _STRIP_IN, side, _STRIP_IN - 0.03)
        _strip(strip, graph, order, level)
    at = left + side + 0.15
    if capacities:
        _capacities(place(figure, at, bottom, 1.3, side), graph, order)
        at += 1.5
    if image is not None:
        _scale(figure, place(figure, at, bottom + 0.2 * side, 0.16, 0.6 * side), image, graph)
    legend(figure, [*handles(graph), *_explanations(graph, latencies=image is not None)])
    what = "Latency between vCPUs" if image is not None else "Relations of vCPUs"
    title(figure, what, headline(graph))
    return figure


def _relation_colors() -> list[Any]:
    shades = [colormaps["viridis_r"](x) for x in numpy.linspace(0.05, 0.95, len(Relation) - 1)]
    return [STACKED, *shades]


def _cells(
    axes: Axes, graph: VCpuGraph, order: tuple[int, ...], matrix: NDArray[numpy.float64]
) -> Any:
    """The image of the latencies; None where it shows relations for want of any."""
    count = len(order)
    known = matrix[numpy.isfinite(matrix) & (matrix > 0)]
    axes.set_facecolor(UNKNOWN)
    image = None
    norm: LogNorm | BoundaryNorm
    if known.size:
        low, high = float(known.min()), float(known.max())
        norm = LogNorm(low / 1.05, max(high, 1.2 * low) * 1.05)
        shown = numpy.where(matrix > 0, matrix, numpy.nan)
        image = axes.imshow(shown, cmap="viridis_r", norm=norm, interpolation="nearest")
    else:
        kinds = numpy.array([[graph.relation(a, b) for b in order] for a in order], dtype=float)
        numpy.fill_diagonal(kinds, numpy.nan)
        norm = BoundaryNorm(numpy.arange(len(Relation) + 1) - 0.5, len(Relation))
        axes.imshow(kinds, cmap=ListedColormap(_relation_colors()), norm=norm)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    if image is not None and count <= _NUMBERED:
        _numbers(axes, graph, order, matrix, image)
    return image


def _numbers(
    axes: Axes, graph: VCpuGraph, order: tuple[int, ...], matrix: NDArray[numpy.float64], image: Any
) -> None:
    """Latencies in the cells; those that a class stands for are in brackets."""
    pairs = dict(graph.pairs())
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            value = matrix[i, j]
            if i == j or not numpy.isfinite(value) or graph.relation(a, b) is Relation.STACKED:
                continue
            pair = pairs.get((min(a, b), max(a, b)))
            text = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
            measured = pair is not None and pair.latency_ns is not None
            red, green, blue, _ = image.cmap(image.norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            axes.text(
                j,
                i,
                text if measured else f"({text})",
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if dark else INK,
            )


def _borders(axes: Axes, graph: VCpuGraph, order: tuple[int, ...]) -> None:
    own = graph.domains
    thin = min(1.0, 160 / len(order))
    for level, full_width in _BORDER_WIDTH.items():
        width = max(full_width * thin, 0.3)
        for i in range(1, len(order)):
            if own[order[i - 1]].at(level) != own[order[i]].at(level):
                axes.axhline(i - 0.5, color="white", linewidth=width)
                axes.axvline(i - 0.5, color="white", linewidth=width)
    if len(order) <= _LABELLED:
        for start, end in runs(graph.domains, order, Level.CORE):
            if end - start > 1:
                axes.add_patch(_square(start, end, edgecolor=INK, linewidth=0.8))
    for start, end in runs(graph.domains, order, Level.STACK):
        if end - start > 1:
            fill = Rectangle((start - 0.5, start - 0.5), end - start, end - start, color=STACKED)
            axes.add_patch(fill)
            # however small the cells are, the mark is not
            reach = max(0.0, len(order) / 90 - 0.5)
            axes.add_patch(
                _square(start - reach, end + reach, edgecolor=STACKED, linewidth=1.6, zorder=5)
            )
            if len(order) <= _NUMBERED:
                middle = (start + end - 1) / 2
                axes.text(
                    middle, middle, "stacked", ha="center", va="center", fontsize=6.5,
                    color="white", weight="bold", zorder=6,
                )  # fmt: skip


def _square(start: float, end: float, **style: Any) -> Rectangle:
    size = end - start
    return Rectangle((start - 0.5, start - 0.5), size, size, fill=False, **style)


def _labels(axes: Axes, graph: VCpuGraph, order: tuple[int, ...], side: float) -> None:
    """vCPU numbers on both axes, thinned where they would overlap; those that matter always."""
    colors = vcpu_colors(graph)
    count = len(order)
    size = SMALL if count <= 32 else 6.0
    step = max(1, round(count * 1.35 * size / 72 / side))
    wanted: dict[float, str] = {}
    if step > 1:
        for start, end in runs(graph.domains, order, Level.STACK):
            if end - start > 1:
                wanted[(start + end - 1) / 2] = number_list(sorted(order[start:end]))
    for i in range(0, count, step):
        if all(abs(i - other) >= step for other in wanted):
            wanted[float(i)] = str(order[i])
    places = sorted(wanted)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(places, [wanted[at] for at in places], fontsize=size)
        for at, label in zip(places, axis.get_ticklabels(), strict=True):
            if color := colors.get(order[int(at)]):
                label.set_color(color)
                label.set_fontweight("bold")
    axes.tick_params(axis="x", rotation=90 if count > 20 else 0)
    axes.set_ylabel("vCPU", fontsize=SMALL + 1, color=MUTED)


def _strip(axes: Axes, graph: VCpuGraph, order: tuple[int, ...], level: Level) -> None:
    """A level's domains as a row of boxes above the matrix."""
    own = graph.domains
    boxes = runs(own, order, level)
    axes.set_xlim(-0.5, len(order) - 0.5)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([0.5], [_STRIP_NAMES[level]], fontsize=SMALL, color=MUTED)
    for start, end in boxes:
        axes.add_patch(
            Rectangle(
                (start - 0.5, 0), end - start, 1, facecolor=AWAY, edgecolor="white", linewidth=1
            )
        )
        if len(boxes) <= 40:
            axes.text(
                (start + end - 1) / 2, 0.45, str(own[order[start]].at(level)),
                ha="center", va="center", fontsize=6.5, color=INK,
            )  # fmt: skip


def _capacities(axes: Axes, graph: VCpuGraph, order: tuple[int, ...]) -> None:
    """Bars beside the rows; stragglers stand out."""
    slow = stragglers(graph.measures)
    count = len(order)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlim(0, FULL_CAPACITY)
    axes.set_yticks([])
    axes.set_xticks([0, FULL_CAPACITY // 2, FULL_CAPACITY])
    axes.set_xlabel("capacity (of 1024)", fontsize=SMALL, color=MUTED)
    axes.axvspan(0, FULL_CAPACITY, color=UNKNOWN, zorder=0)
    for i, vcpu in enumerate(order):
        capacity = graph.measures[vcpu].capacity
        if capacity is None:
            axes.barh(i, FULL_CAPACITY, 1, color="white", hatch="////", edgecolor=AWAY, linewidth=0)
            continue
        straggles = vcpu in slow
        axes.barh(i, capacity, 0.8 if count <= 128 else 1, color=STRAGGLER if straggles else RUNS)
        if straggles and count <= _LABELLED:
            axes.text(
                capacity + 25, i, "straggler",
                va="center", fontsize=min(SMALL, 430 / count), color=STRAGGLER, weight="bold",
            )  # fmt: skip


def _scale(figure: Figure, axes: Axes, image: Any, graph: VCpuGraph) -> None:
    bar = figure.colorbar(image, cax=axes)
    bar.outline.set_visible(False)
    classes = graph.snapshot.class_latency_ns
    low, high = image.norm.vmin, image.norm.vmax
    ticks = {ns: f"{ns:.3g}  {_CLASS_NAMES[kind]}" for kind, ns in classes.items() if ns > 0}
    ticks = {ns: label for ns, label in ticks.items() if low <= ns <= high}
    bar.set_ticks(list(ticks), labels=list(ticks.values()), fontsize=SMALL)
    bar.ax.minorticks_off()
    axes.set_title("ns, one way", fontsize=SMALL, color=MUTED, loc="left")


def _explanations(graph: VCpuGraph, *, latencies: bool) -> list[Patch]:
    """Legend entries beyond the eye-catchers."""
    if not latencies:
        colors = _relation_colors()
        kinds = sorted({pair.relation for _, pair in graph.pairs()} - {Relation.STACKED})
        return [Patch(color=colors[kind], label=_CLASS_NAMES[kind]) for kind in kinds]
    count = len(graph.vcpus)
    measured = sum(pair.measured for _, pair in graph.pairs())
    if count <= _NUMBERED and measured < count * (count - 1) // 2:
        return [Patch(color="none", label="(n): not measured, the median of its kind")]
    return []
