"""How `scx_vsched cluster` reads traces: with a bar, and with a word on what is not installed."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.progress import Progress

    from scx_vsched.cli.cluster_options import SimulationOptions
    from scx_vsched.cluster.workload import Workload

__all__ = ["need_polars", "progress_bars", "workload_loader"]


def need_polars() -> None:
    """Raises UserError where polars is not installed, which only this command needs."""
    try:
        import polars  # noqa: F401
    except ImportError:
        from scx_vsched.errors import UserError

        raise UserError("traces need polars", "pip install 'scx_vsched[cluster]'") from None


def progress_bars() -> Progress:
    """Bars on a terminal's standard error; elsewhere nothing is drawn."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def workload_loader(
    folder: Path, options: SimulationOptions, progress: Progress
) -> Callable[[int], Workload]:
    """Reads the trace as it is for a seed; without a choice of machines it is the same for all."""
    need_polars()
    from scx_vsched.cluster.workload import load_workload

    chosen = options.workload_machines or options.machines
    bar = progress.add_task("reading", total=None)
    known: dict[int, Workload] = {}

    def load(seed: int) -> Workload:
        key = 0 if chosen is None else seed
        if key not in known:
            known.clear()  # one at a time: a day of the real trace takes gigabytes
            known[key] = load_workload(
                folder,
                chosen,
                seed,
                lambda part: progress.update(bar, description=f"{part.parent.name}/{part.name}"),
            )
        progress.update(bar, visible=False)
        return known[key]

    return load
