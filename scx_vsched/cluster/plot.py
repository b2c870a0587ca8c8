"""Pictures of runs over time: CPU in use, Gini, memory moved. Needs matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from scx_vsched.errors import UserError
from scx_vsched.topology.plot import save
from scx_vsched.topology.plot.style import GRID, INK, MUTED, SMALL, place, sheet, title

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from scx_vsched.cluster.metrics import Result, Series

__all__ = ["COLORS", "PICTURES", "draw_series", "name_lines", "save_pictures"]

_WIDTH_IN, _HEIGHT_IN = 7.2, 3.4
_LEFT_IN, _RIGHT_IN, _HEAD_IN, _FOOT_IN = 0.75, 2.0, 0.75, 0.6
# Told apart with any kind of colour vision (Okabe and Ito); dashes tell twice as many apart.
COLORS = (
    *("#000000", "#d55e00", "#0072b2", "#009e73", "#e69f00", "#56b4e9", "#cc79a7", "#7f7f7f"),
    "#882255",
)
_DASHES = ("-", "--", ":", "-.")
_POINTS = 90  # of a line: more, and lines that are close hide each other
_LEAST_GAP_IN = 0.17  # between two names at the lines' ends


@dataclass(frozen=True, slots=True)
class _Picture:
    """A quantity of `Series`, and how it is drawn: `scale` turns it into the axis's unit."""

    name: str
    title: str
    axis: str
    scale: float
    from_zero: bool


PICTURES = (
    _Picture("cpu", "CPU in use", "mean over machines, % of capacity", 100, from_zero=False),
    _Picture("gini", "How unequal machines are", "Gini of CPU in use", 1, from_zero=False),
    _Picture("bytes_moved", "Memory moved", "so far, TiB", 1 / (1 << 40), from_zero=True),
)


def save_pictures(
    results: Sequence[Result], folder: Path, below: str, prefix: str = ""
) -> list[Path]:
    """Write all pictures as SVG into `folder` and say where; `below` is the line below titles.

    Their names begin with `prefix`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from None
    written = []
    for picture in PICTURES:
        path = folder / f"{prefix}{picture.name.replace('_', '-')}.svg"
        save(draw_series(picture, results, below), path)
        written.append(path)
    return written


def draw_series(picture: _Picture, results: Sequence[Result], below: str) -> Figure:
    """A line for each result, named at its right end."""
    figure = sheet(_LEFT_IN + _WIDTH_IN + _RIGHT_IN, _HEAD_IN + _HEIGHT_IN + _FOOT_IN)
    axes = place(figure, _LEFT_IN, _FOOT_IN, _WIDTH_IN, _HEIGHT_IN)
    ends = []
    for number, result in enumerate(results):
        color = COLORS[number % len(COLORS)]
        dash = _DASHES[number // len(COLORS) % len(_DASHES)]
        hours, values = _mean_points(result.series, picture.name)
        values = values * picture.scale
        axes.plot(hours, values, color=color, linestyle=dash, linewidth=1.2)
        ends.append((float(values[-1]), str(result.policy), color))
    axes.set_xlim(0, float(results[0].series.time_s[-1]) / 3600 or 1)
    if picture.from_zero:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("hours", fontsize=SMALL + 1, color=MUTED)
    axes.set_ylabel(picture.axis, fontsize=SMALL + 1, color=MUTED)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    name_lines(axes, ends, _HEIGHT_IN)
    title(figure, picture.title, below)
    return figure


def name_lines(axes: Axes, ends: Sequence[tuple[float, str, str]], height_in: float) -> None:
    """Names right of axes of that height, at lines' ends: value, name and colour of each."""
    low, high = axes.get_ylim()
    per_inch = (high - low) / height_in
    heights = _apart([value for value, _, _ in ends], _LEAST_GAP_IN * per_inch)
    for (value, name, color), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (1.004, value),
            (1.035, height),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            fontsize=SMALL,
            color=INK,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 1.2,
                "relpos": (0, 0.5),
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def _mean_points(series: Series, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hours and values in at most so many points that lines can be told apart.

    Each is a mean over the steps around it; what only grows is taken as it was at their end.
    """
    values = getattr(series, name)
    starts = np.unique(np.linspace(0, len(values), min(len(values), _POINTS) + 1).astype(int))[:-1]
    hours = series.time_s / 3600
    if name == "bytes_moved":
        ends = np.append(starts[1:], len(values)) - 1
        return hours[ends], values[ends].astype(np.float64)
    counts = np.diff(starts, append=len(values))
    return np.add.reduceat(hours, starts) / counts, np.add.reduceat(values, starts) / counts


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Heights in the order of the values and around them, none nearer to another than `gap`.

    Values that are too near form a block around their middle; blocks that meet become one.
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    blocks: list[list[int]] = []
    for i in order:
        blocks.append([i])
        while len(blocks) > 1 and _bottom(blocks[-1], values, gap) < gap + _top(
            blocks[-2], values, gap
        ):
            last = blocks.pop()
            blocks[-1] += last
    heights = [0.0] * len(values)
    for block in blocks:
        for above, i in enumerate(block):
            heights[i] = _bottom(block, values, gap) + above * gap
    return heights


def _bottom(block: list[int], values: Sequence[float], gap: float) -> float:
    middle = sum(values[i] for i in block) / len(block)
    return middle - gap * (len(block) - 1) / 2


def _top(block: list[int], values: Sequence[float], gap: float) -> float:
    return _bottom(block, values, gap) + gap * (len(block) - 1)
