"""Pictures of a study: all policies, sweeps, balance against bytes. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, MaxNLocator

from scx_vsched.cluster.plot import COLORS, name_lines
from scx_vsched.cluster.study import BASE, NONE
from scx_vsched.topology.plot.style import GRID, INK, MUTED, SMALL, place, sheet, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from scx_vsched.cluster.compare import Estimate
    from scx_vsched.cluster.study import Study
    from scx_vsched.numa.policies import Policy

__all__ = ["draw_frontier", "draw_policies", "draw_sweep"]

_TIB = 1 << 40
# Fields of a summary: heading, and what makes a number of them; shown against no_migration, as
# what placements have in common would hide what policies do.
_PANELS = {
    "cpu": ("CPU in use, points", 100.0),
    "gini": ("Gini", 1.0),
    "overcommit": ("beyond capacity, points", 100.0),
    "delay_s": ("delay, s", 1.0),
    "bytes_moved": ("memory moved, TiB", 1 / _TIB),
}
_AGAINST = "against no migration; bars are 95 % intervals"
_SWEPT = ("cpu", "gini", "delay_s", "bytes_moved")
_LEFT_IN, _GAP_IN, _HEAD_IN, _FOOT_IN, _NAMES_IN = 0.55, 0.6, 0.95, 0.6, 1.5
_WIDTH_IN, _HEIGHT_IN = 2.0, 2.3
_BAR_IN = 0.24


def _color(policy: Policy) -> str:
    return COLORS[BASE.policies.index(policy)]


def _half(found: Estimate) -> float:
    return found.half_width or 0.0


def _look(axes: Axes, heading: str) -> None:
    axes.set_title(heading, fontsize=SMALL + 1, color=MUTED, loc="left")
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def draw_policies(study: Study, below: str) -> Figure:
    """All policies of the base: a row each, a panel for each quantity, bars as intervals."""
    found = study.comparison("base")
    policies = [policy for policy in found.runs if policy != NONE]
    height = _BAR_IN * len(policies)
    width, names = 1.55, 1.3
    figure = sheet(names + len(_PANELS) * (width + 0.25) + 0.1, _HEAD_IN + height + _FOOT_IN - 0.2)
    for number, (metric, (heading, scale)) in enumerate(_PANELS.items()):
        axes = place(figure, names + number * (width + 0.25), _FOOT_IN - 0.2, width, height)
        _look(axes, heading)
        axes.set_ylim(len(policies) - 0.5, -0.5)
        axes.set_yticks(range(len(policies)), [str(one) for one in policies] if not number else [])
        for row, policy in enumerate(policies):
            one = study.above_none("base", None, policy, metric)
            if metric == "bytes_moved":
                first = found.mean(policy, "bytes_first").mean * scale
                rest = one.mean * scale - first
                axes.barh(row, first, 0.55, color=_color(policy), linewidth=0)
                axes.barh(row, rest, 0.55, left=first, color=_color(policy), alpha=0.4, linewidth=0)
            axes.errorbar(
                one.mean * scale, row, xerr=_half(one) * scale, fmt="o", markersize=3.5,
                color=INK if metric == "bytes_moved" else _color(policy), linewidth=1.4,
            )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(4))
    pale = "pale: moved to another than the least loaded machine"
    title(figure, "Policies", f"{below}; {_AGAINST}; {pale}")
    return figure


def draw_sweep(study: Study, name: str, text: str, labels: Sequence[str], below: str) -> Figure:
    """A line for each policy over the values of a sweep, in a panel for each quantity."""
    values = study.values(name)
    policies = [one for one in study.comparison(name, values[0]).runs if one != NONE]
    figure = sheet(
        _LEFT_IN + len(_SWEPT) * (_WIDTH_IN + _GAP_IN) - _GAP_IN + _NAMES_IN,
        _HEAD_IN + _HEIGHT_IN + _FOOT_IN,
    )
    for number, metric in enumerate(_SWEPT):
        heading, scale = _PANELS[metric]
        left = _LEFT_IN + number * (_WIDTH_IN + _GAP_IN)
        axes = place(figure, left, _FOOT_IN, _WIDTH_IN, _HEIGHT_IN)
        _look(axes, heading)
        ends = []
        for policy in policies:
            points = [study.above_none(name, value, policy, metric) for value in values]
            means = [one.mean * scale for one in points]
            axes.errorbar(
                range(len(values)), means, yerr=[_half(one) * scale for one in points],
                color=_color(policy), linewidth=1.2, marker="o", markersize=2.5, elinewidth=0.7,
            )  # fmt: skip
            ends.append((means[-1], str(policy), _color(policy)))
        axes.set_xticks(range(len(values)), labels)
        axes.set_xlim(-0.25, len(values) - 0.75)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if number == len(_SWEPT) - 1:
            axes.set_ylim(bottom=0)
            name_lines(axes, ends, _HEIGHT_IN)
    title(figure, text, f"{below}; {_AGAINST}")
    return figure


def draw_frontier(study: Study, below: str) -> Figure:
    """Balance against bytes: each policy over its own threshold, the other orders as points."""
    width, height = 5.6, 3.4
    figure = sheet(_LEFT_IN + 0.3 + width + _NAMES_IN, _HEAD_IN + height + _FOOT_IN)
    axes = place(figure, _LEFT_IN + 0.3, _FOOT_IN, width, height)
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    base = study.comparison("base")
    lines = {policy: [base] for policy in base.runs if base.mean(policy, "bytes_moved").mean}
    for name in ("price", "gap"):
        points = [study.comparison(name, value) for value in study.values(name)]
        lines |= dict.fromkeys(points[0].runs, points)
    for policy, points in lines.items():
        bytes_moved = [one.mean(policy, "bytes_moved") for one in points]
        ginis = [one.mean(policy, "gini") for one in points]
        axes.errorbar(
            [one.mean / _TIB for one in bytes_moved], [one.mean for one in ginis],
            xerr=[_half(one) / _TIB for one in bytes_moved],
            color=_color(policy), linewidth=1.3, marker="o", markersize=3, elinewidth=0.7,
            label=str(policy),
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_xlabel("memory moved, TiB", fontsize=SMALL + 1, color=MUTED)
    axes.set_ylabel("Gini", fontsize=SMALL + 1, color=MUTED)
    axes.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    title(figure, "What balance costs: lower and further left is better", below)
    return figure
