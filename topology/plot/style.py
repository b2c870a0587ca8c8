"""What all pictures share: colours, type sizes, and axes placed by inches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from scx_vsched.topology.measure import stragglers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from scx_vsched.topology.graph import VCpuGraph

__all__ = [
    "AWAY",
    "GRID",
    "INK",
    "MUTED",
    "RUNS",
    "SMALL",
    "STACKED",
    "STRAGGLER",
    "UNKNOWN",
    "place",
    "sheet",
    "title",
    "vcpu_colors",
]

# Told apart with any kind of colour vision (Okabe and Ito), and from viridis, which has no red.
STACKED = "#d7191c"
STRAGGLER = "#e08a00"
RUNS = "#3b7ea1"
AWAY = "#e6e6e6"
UNKNOWN = "#f4f4f4"
INK = "#222222"
MUTED = "#6b6b6b"
GRID = "#c8c8c8"

SMALL = 7.5  # points
_PNG_DPI = 160


def sheet(width_in: float, height_in: float) -> Figure:
    """An empty figure of that size."""
    return Figure(figsize=(width_in, height_in), dpi=_PNG_DPI, facecolor="white")


def place(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes without a frame at that place of the figure, all in inches."""
    full_width, full_height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / full_width, bottom / full_height, width / full_width, height / full_height)
    )
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    return axes


def title(figure: Figure, text: str, below: str) -> None:
    """The picture's title at its top left, and a quieter line below it."""
    _, height = figure.get_size_inches()
    left = 0.15 / figure.get_size_inches()[0]
    figure.text(left, 1 - 0.14 / height, text, fontsize=12, weight="bold", color=INK, va="top")
    figure.text(left, 1 - 0.40 / height, below, fontsize=SMALL, color=MUTED, va="top")


def vcpu_colors(graph: VCpuGraph) -> dict[int, str]:
    """The colours of vCPUs that must catch the eye: stacked ones and stragglers."""
    colors = dict.fromkeys(stragglers(graph.measures), STRAGGLER)
    return colors | {vcpu: STACKED for stack in graph.stacks() for vcpu in stack}
