"""The outcome of `vm accuracy` as a picture: estimates over truth."""

# ruff: noqa: PLC0415 - matplotlib is slow to import and need not be installed

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.topology.plot import save
from scx_vsched.vm.lab.accuracy_report import AWAY_ERROR, LONGEST_AWAY_NS, WORST_ERROR, away_error

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scx_vsched.vm.lab.accuracy_records import Accuracy

__all__ = ["draw"]

_MS = 1e6


def draw(found: Accuracy, path: Path) -> None:
    """Estimates against truth as two scatter plots; SVG or PNG by the end of the name.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("pictures need matplotlib", "pip install 'scx_vsched[plot]'") from None
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    shares, aways = figure.subplots(1, 2)
    for busy, color, marker in ((True, "#1f6fb4", "o"), (False, "#d9822b", "s")):
        label = "busy vCPU" if busy else "idle vCPU"
        chosen = [each for each in found.samples if each.busy == busy]
        pairs = [(each.true, each.estimate) for each in chosen if each.estimate is not None]
        shares.scatter(*_columns(pairs), c=color, marker=marker, s=26, label=label, alpha=0.85)
        pairs = [
            (each.true_away_ns / _MS, each.estimate_away_ns / _MS)
            for each in chosen
            if each.estimate_away_ns is not None and away_error(each) is not None
        ]
        aways.scatter(*_columns(pairs), c=color, marker=marker, s=26, label=label, alpha=0.85)
    line = (0.0, 1.0)
    shares.plot(line, line, color="#777777", linewidth=0.8)
    shares.fill_between(
        line,
        [each - WORST_ERROR for each in line],
        [each + WORST_ERROR for each in line],
        color="#777777",
        alpha=0.15,
        label=f"± {WORST_ERROR:g}",
    )
    shares.set(xlabel="share that the host gave", ylabel="share estimated", xlim=line, ylim=line)
    line = (0.0, LONGEST_AWAY_NS / _MS)
    aways.plot(line, line, color="#777777", linewidth=0.8)
    aways.fill_between(
        line,
        [each * (1 - AWAY_ERROR) for each in line],
        [each * (1 + AWAY_ERROR) for each in line],
        color="#777777",
        alpha=0.15,
        label=f"± {AWAY_ERROR:.0%}",
    )
    aways.set(xlabel="mean absence on the host, ms", ylabel="estimated, ms", xlim=line, ylim=line)
    for axes in (shares, aways):
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="upper left")
    save(figure, path)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]
