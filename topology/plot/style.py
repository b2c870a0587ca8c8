"""What all pictures share: colours, type sizes, and axes placed by inches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scx_vsched.topology.measure import stragglers
from scx_vsched.topology.sentences import number_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from scx_vsched.topology.domains import Domains, Level
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
    "handles",
    "legend",
    "place",
    "runs",
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
_NAMED_STACKS, _NAMED_LENGTH = 4, 40  # a legend names so many sets, and so long a list of vCPUs


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


def handles(graph: VCpuGraph) -> list[Patch]:
    """Legend entries for stacked sets and stragglers, as far as there are any."""
    found = []
    if stacks := graph.stacks():
        sets = " | ".join(map(number_list, stacks[:_NAMED_STACKS]))
        more = len(stacks) - _NAMED_STACKS
        rest = f" and {more} more sets" if more > 0 else ""
        found.append(Patch(color=STACKED, label=f"stacked on one thread: {sets}{rest}"))
    if slow := sorted(stragglers(graph.measures)):
        names = number_list(slow)
        label = names if len(names) <= _NAMED_LENGTH else f"{len(slow)} vCPUs"
        found.append(Patch(color=STRAGGLER, label=f"straggler: {label}"))
    return found


def legend(figure: Figure, entries: Sequence[Patch]) -> None:
    """A line of entries at the picture's foot."""
    if entries:
        figure.legend(
            handles=list(entries), loc="lower left", bbox_to_anchor=(0.01, 0.0),
            ncols=len(entries), frameon=False, fontsize=SMALL, handlelength=1, columnspacing=1.4,
        )  # fmt: skip


def runs(
    domains: Mapping[int, Domains], order: Sequence[int], level: Level
) -> list[tuple[int, int]]:
    """Where in an order of vCPUs the domains of a level start and end."""
    own = [domains[vcpu].at(level) for vcpu in order]
    starts = [i for i in range(len(own)) if i == 0 or own[i] != own[i - 1]]
    return list(zip(starts, [*starts[1:], len(own)], strict=True))
