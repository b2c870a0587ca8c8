"""Plots of a run as SVG text, to stand in a page. Needs matplotlib."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.lab.figures import (
    cells,
    curve,
    pooled_use,
    recoveries,
    schedulers,
    workloads,
)
from scx_vsched.lab.guest_measure import QUANTILES
from scx_vsched.lab.schedulers import DEFAULT, SCHEDULERS
from scx_vsched.sim.svg import timeline_svg
from scx_vsched.sim.timeline import Move, Span, Timeline

if TYPE_CHECKING:
    from scx_vsched.lab.document import Document, Picture, Profile

__all__ = ["latency_cdf", "recovery", "throughput", "timeline_of", "where_tasks_ran"]

# Okabe and Ito's, told apart by everyone.
_COLOURS = dict(
    zip(SCHEDULERS, ("#5b5b5b", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00"), strict=True)
)
_PLOT = ("matplotlib is not installed", "pip install scx_vsched[plot]")


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    try:
        import matplotlib as mpl  # noqa: PLC0415 - slow to import, and an extra
    except ImportError:
        raise UserError(*_PLOT) from None
    mpl.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    mpl.rcParams.update({"svg.hashsalt": "scx_vsched", "svg.fonttype": "none", "font.size": 9})
    return plt.subplots(1, columns, figsize=(width, height), squeeze=False)


def _text(figure: Any) -> str:
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure.tight_layout()
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _colour(name: str) -> str:
    return _COLOURS.get(name, "#000000")


def latency_cdf(profile: Profile) -> str:
    """The part of requests that is answered within a time, by workload; empty without any."""
    panels = [
        (load, metric)
        for load in workloads(profile)
        for metric in ("waiting", "latency")
        if any(curve(profile, load, metric, name) for name in schedulers(profile))
    ]
    if not panels:
        return ""
    figure, axes = _figure(4.2 * len(panels), 3.2, len(panels))
    for ax, (load, metric) in zip(axes[0], panels, strict=True):
        for name in schedulers(profile):
            points = curve(profile, load, metric, name)
            if points:
                ax.step(points, QUANTILES, where="post", label=name, color=_colour(name))
        ax.set_xscale("log")
        ax.set_yticks([0, 0.25, 0.5, 0.75, 0.95, 1])
        ax.set_xlabel(f"{metric}, us")
        ax.set_title(load)
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("part of the requests")
    axes[0][-1].legend(fontsize=8)
    return _text(figure)


def throughput(document: Document) -> str:
    """Gains in throughput over the default scheduler, by profile and workload; empty if none."""
    rows: dict[str, dict[str, Any]] = {}
    for profile in document.profiles:
        for cell in cells(profile):
            if cell.unit != "us" and cell.gain is not None and cell.measure != "besteffort":
                rows.setdefault(f"{profile.name}: {cell.workload}", {})[cell.scheduler] = cell.gain
    names = [name for name in SCHEDULERS if any(name in row for row in rows.values())]
    if not rows or not names:
        return ""
    figure, axes = _figure(9, 0.8 + 0.16 * (len(names) + 1) * len(rows))
    ax = axes[0][0]
    height = 0.8 / len(names)
    for number, name in enumerate(names):
        at = [y + number * height for y, row in enumerate(rows.values()) if name in row]
        gains = [row[name] for row in rows.values() if name in row]
        values = [gain.value for gain in gains]
        known = [gain.rounds > 1 for gain in gains]
        low = [max(0, g.value - g.low) if k else 0 for g, k in zip(gains, known, strict=True)]
        high = [max(0, g.high - g.value) if k else 0 for g, k in zip(gains, known, strict=True)]
        ax.barh(at, values, height * 0.9, xerr=[low, high], label=name, color=_colour(name),
                error_kw={"linewidth": 0.8})  # fmt: skip
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_yticks([y + 0.4 - height / 2 for y in range(len(rows))], list(rows))
    ax.invert_yaxis()
    ax.set_xlabel("throughput over the default scheduler's, with the 95 % interval")
    ax.legend(fontsize=8)
    return _text(figure)


def where_tasks_ran(profile: Profile) -> str:
    """What each vCPU used by the host's account, by scheduler and workload; empty if not seen."""
    loads = [
        load
        for load in workloads(profile)
        if any(pooled_use(profile, load, name) for name in schedulers(profile))
    ]
    if not loads:
        return ""
    names = schedulers(profile)
    figure, axes = _figure(2.6 + 0.9 * len(loads) * len(names) / 2, 1.2 + 0.22 * len(profile.asked))
    ax = axes[0][0]
    columns = [(load, name) for load in loads for name in names if pooled_use(profile, load, name)]
    grid = [pooled_use(profile, load, name) for load, name in columns]
    image = ax.imshow(list(zip(*grid, strict=True)), aspect="auto", cmap="viridis", vmin=0)
    labels = [name if name != DEFAULT else f"{load}: {name}" for load, name in columns]
    ax.set_xticks(range(len(columns)), labels, rotation=60, ha="right", fontsize=7)
    ax.set_yticks(range(len(profile.asked)), [f"vCPU {v}" for v in range(len(profile.asked))])
    figure.colorbar(image, ax=ax, label="host CPUs used")
    return _text(figure)


def recovery(profile: Profile) -> str:
    """Throughput in each second after a change; empty where nothing changed."""
    found = recoveries(profile)
    if not found:
        return ""
    figure, axes = _figure(7, 3)
    ax = axes[0][0]
    for each in found:
        seconds = range(1, len(each.shares) + 1)
        ax.plot(seconds, each.shares, marker="o", label=each.scheduler,
                color=_colour(each.scheduler))  # fmt: skip
    ax.axhline(0.9, color="black", linewidth=0.8, linestyle=":")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("seconds after the change")
    ax.set_ylabel("throughput over the best before")
    ax.legend(fontsize=8)
    return _text(figure)


def timeline_of(picture: Picture, title: str) -> str:
    """What ran where, with the host's absences in black and migrations in red."""
    hosted = []
    for gone in picture.away:
        edges = [0, *(at for span in gone for at in span), picture.length_ns]
        hosted.append(
            [
                Span(start, end)
                for start, end in zip(edges[::2], edges[1::2], strict=True)
                if end > start
            ]
        )
    running = [[Span(start, end, pid) for start, end, pid in row] for row in picture.running]
    moves = [Move(at, pid, source, target) for at, pid, source, target in picture.moves]
    return timeline_svg(Timeline(0, max(1, picture.length_ns), hosted, running, moves), title)
