"""Activity over time: a strip for each vCPU, filled while it runs, open while it is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from scx_vsched.errors import UserError
from scx_vsched.topology.plot.style import (
    AWAY,
    GRID,
    INK,
    MUTED,
    RUNS,
    SMALL,
    STACKED,
    STRAGGLER,
    legend,
    place,
    sheet,
    title,
    vcpu_colors,
)
from scx_vsched.topology.table import headline

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scx_vsched.topology.graph import VCpuGraph
    from scx_vsched.topology.records import Availability

__all__ = ["draw_activity", "running"]

_WIDTH_IN = 9.0
_ROW_IN = (0.05, 0.24)  # height of a strip, least and most
_LEFT_IN, _RIGHT_IN, _HEAD_IN, _FOOT_IN = 0.75, 0.85, 0.75, 0.95
_MOST_IN = 18.0  # height of all strips
_RASTER = 20_000  # from so many boxes on, an SVG holds them as an image
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))


def running(watch: Availability) -> list[tuple[int, int]]:
    """When the vCPU ran within the watch: start and end of each time, CLOCK_MONOTONIC ns."""
    times, at = [], watch.start_ns
    for gap in sorted(watch.gaps, key=lambda gap: gap.start_ns):
        start = min(max(gap.start_ns, at), watch.end_ns)
        if start > at:
            times.append((at, start))
        at = max(at, min(gap.start_ns + gap.length_ns, watch.end_ns))
    if at < watch.end_ns:
        times.append((at, watch.end_ns))
    return times


def draw_activity(graph: VCpuGraph, availability: Sequence[Availability]) -> Figure:
    """The strips, in the order of domains. Raises UserError when there is nothing to draw."""
    by_vcpu: dict[int, list[Availability]] = {}
    for watch in availability:
        if watch.end_ns > watch.start_ns:
            by_vcpu.setdefault(watch.vcpu, []).append(watch)
    if not by_vcpu:
        raise UserError(
            'there is no activity to draw: the document has no part "availability"',
            "scx_vsched probe --json writes one",
        )
    order = [vcpu for vcpu in graph.order() if vcpu in by_vcpu]
    row = min(max(_MOST_IN / len(order), _ROW_IN[0]), _ROW_IN[1])
    high = row * len(order)
    figure = sheet(_LEFT_IN + _WIDTH_IN + _RIGHT_IN, _HEAD_IN + high + _FOOT_IN)
    axes = place(figure, _LEFT_IN, _FOOT_IN, _WIDTH_IN, high)
    start = min(watch.start_ns for watches in by_vcpu.values() for watch in watches)
    length = max(w.end_ns for watches in by_vcpu.values() for w in watches) - start
    scale, unit = next(((s, u) for s, u in _UNITS if length >= 2 * s), _UNITS[-1])
    watches = [by_vcpu[vcpu] for vcpu in order]
    colors = vcpu_colors(graph)
    _strips(axes, watches, [colors.get(vcpu, RUNS) for vcpu in order], start, scale)
    axes.set_xlim(0, length / scale)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlabel(f"time, {unit}", fontsize=SMALL + 1, color=MUTED)
    axes.set_ylabel("vCPU", fontsize=SMALL + 1, color=MUTED)
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    _labels(axes, graph, order, row)
    _shares(figure, order, by_vcpu, row, high)
    _legend(figure, {colors[vcpu] for vcpu in order if vcpu in colors})
    title(figure, "When each vCPU ran", headline(graph))
    return figure


def _strips(
    axes: Axes,
    watches: Sequence[Sequence[Availability]],
    colors: Sequence[str],
    start_ns: int,
    scale: float,
) -> None:
    """A row for each item of `watches`, in the color beside it; `scale` is ns per unit of x."""
    half = 0.41 if len(watches) <= 128 else 0.5
    boxes: dict[str, list[list[tuple[float, float]]]] = {AWAY: []}

    def add(color: str, row: int, begin: int, end: int) -> None:
        left, right = (begin - start_ns) / scale, (end - start_ns) / scale
        low, high = row - half, row + half
        corners = [(left, low), (right, low), (right, high), (left, high)]
        boxes.setdefault(color, []).append(corners)

    for row, (seen, color) in enumerate(zip(watches, colors, strict=True)):
        for watch in seen:
            add(AWAY, row, watch.start_ns, watch.end_ns)
            for begin, end in running(watch):
                add(color, row, begin, end)
    many = sum(map(len, boxes.values())) > _RASTER
    for color, corners in boxes.items():
        axes.add_collection(
            PolyCollection(
                corners, facecolors=color, edgecolors="none", antialiaseds=False, rasterized=many,
                zorder=1 if color == AWAY else 2,
            )
        )  # fmt: skip


def _labels(axes: Axes, graph: VCpuGraph, order: Sequence[int], row: float) -> None:
    size = SMALL if row > 0.13 else 5.5
    step = max(1, round(1.25 * size / 72 / row))
    colors = vcpu_colors(graph)
    wanted = range(0, len(order), step)
    axes.set_yticks(list(wanted), [str(order[i]) for i in wanted], fontsize=size)
    for i, label in zip(wanted, axes.get_yticklabels(), strict=True):
        if color := colors.get(order[i]):
            label.set_color(color)
            label.set_fontweight("bold")


def _shares(
    figure: Figure,
    order: Sequence[int],
    by_vcpu: Mapping[int, Sequence[Availability]],
    row: float,
    high: float,
) -> None:
    """The share of the time watched, at the right end of each strip that has room for it."""
    if row < 0.13:
        return
    axes = place(figure, _LEFT_IN + _WIDTH_IN, _FOOT_IN, _RIGHT_IN, high)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("runs", fontsize=SMALL, color=MUTED, loc="left", x=0.12, pad=4)
    for i, vcpu in enumerate(order):
        watched = sum(watch.end_ns - watch.start_ns for watch in by_vcpu[vcpu])
        ran = sum(end - start for watch in by_vcpu[vcpu] for start, end in running(watch))
        axes.text(0.12, i, f"{ran / watched:.0%}", fontsize=SMALL, va="center", color=INK)


def _legend(figure: Figure, colors: Collection[str]) -> None:
    entries = [Patch(color=RUNS, label="runs"), Patch(color=AWAY, label="away")]
    for color, name in ((STACKED, "stacked"), (STRAGGLER, "straggler")):
        if color in colors:
            entries.append(Patch(color=color, label=f"{name}, runs"))
    entries.append(Patch(facecolor="white", edgecolor=GRID, label="not watched"))
    legend(figure, entries)
