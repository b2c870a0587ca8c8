"""`scx_vsched cluster report`: the thesis's figures again, each beside what the thesis says."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick
# ruff: noqa: PLR0917 - parameters are options

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.cluster_options import (
    Folder,
    Seeds,
    SimulationOptions,
    make_setup,
    simulation_options,
)
from scx_vsched.cli.cluster_reading import progress_bars, workload_loader
from scx_vsched.cli.cluster_sweep import Dask, Workers, finish_runs

if TYPE_CHECKING:
    from scx_vsched.cluster.metrics import Result
    from scx_vsched.cluster.study import Study
    from scx_vsched.cluster.workload import Workload

__all__ = ["report_command"]

_NAME = "cluster-report.md"


@simulation_options
def report_command(
    folder: Folder,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="For the report and its pictures.")
    ] = Path(),
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            metavar="FILE",
            show_default="none",
            help="Keep the runs in FILE.json or FILE.parquet, and take from it what is there.",
        ),
    ] = None,
    seeds: Seeds = 5,
    workers: Workers = None,
    dask: Dask = None,
    *,
    options: SimulationOptions,
) -> None:
    """Simulate what the thesis did and more, and write a report in Markdown with pictures."""
    from scx_vsched.cluster.simulator import simulate
    from scx_vsched.cluster.study import BASE, Study
    from scx_vsched.cluster.sweep import Kept, trace_name
    from scx_vsched.errors import UserError

    with progress_bars() as progress:
        load = workload_loader(folder, options, progress)
        workload = load(options.seed)
        setup = make_setup(options, len(workload.capacity))
        study = Study(setup, seeds)
        runs = study.runs()
        with Kept(
            results, trace_name(folder, options.workload_machines or options.machines)
        ) as kept:
            bar = progress.add_task("simulating", total=len(runs))
            finish_runs(
                runs, kept, load, dask=dask, workers=workers, on_run=lambda: progress.advance(bar)
            )
            kept.finish(runs)
        study.use(kept.find)
        bar = progress.add_task("over time", total=len(BASE.policies))
        series = []
        for policy in BASE.policies:
            series.append(simulate(workload, policy, setup))
            progress.advance(bar)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = _report(study, workload, series, out)
        (out / _NAME).write_text(text)
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}") from None
    print(out / _NAME)


def _report(study: Study, workload: Workload, series: list[Result], out: Path) -> str:
    """The report's text; draws its pictures."""
    from scx_vsched.cluster.study_report import study_markdown

    return study_markdown(study, _head(study, workload), _pictures(study, series, out))


def _head(study: Study, workload: Workload) -> str:
    setup, seeds = study.base, study.seeds
    return (
        f"{len(workload):,} tasks of {len(workload.capacity):,} of the trace's machines on "
        f"{setup.machines:,} machines over {workload.length_s / 3600:.1f} h, "
        f"{len(study.runs()):,} simulations. ± is half of a 95 % interval over {seeds} random "
        "placements of the same tasks (it does not cover other traces); differences are taken "
        "placement by placement. A claim agrees or differs when its interval leaves out 0, "
        "otherwise it is open. What is measured: cluster.md."
    )


def _pictures(study: Study, series: list[Result], out: Path) -> dict[str, str]:
    """Draws all pictures; their file names by what they show."""
    from scx_vsched.errors import UserError

    try:
        from scx_vsched.cluster.plot import save_pictures
        from scx_vsched.cluster.study_plot import draw_frontier, draw_policies, draw_sweep
        from scx_vsched.topology.plot import save
    except ImportError:
        raise UserError("pictures need matplotlib", "pip install 'scx_vsched[plot]'") from None

    setup = study.base
    below = f"{setup.machines:,} machines in cells of {setup.cell_size}"
    seeds = f"{below}, {study.seeds} seeds"
    minutes = [f"{steps * setup.step_s / 60:g}" for steps in study.values("period")]
    figures = {
        "policies": draw_policies(study, seeds),
        "frontier": draw_frontier(study, f"{seeds}; bars are 95 % intervals"),
    }
    for name, text, labels in (
        ("machines", "Machines", [f"{value}" for value in study.values("machines")]),
        ("ratio", "CPU allocated, of what was requested", _labels(study, "ratio")),
        ("cell size", "Machines of a cell", _labels(study, "cell size")),
        ("period", "Minutes from one decision to the next", minutes),
    ):
        figures[name.replace(" ", "-")] = draw_sweep(study, name, text, labels, seeds)
    names = {name: f"cluster-{name}.svg" for name in figures}
    for name, figure in figures.items():
        save(figure, out / names[name])
    for path in save_pictures(series, out, f"{below}, seed {setup.seed}", "cluster-"):
        names[path.stem.removeprefix("cluster-")] = path.name
    return names


def _labels(study: Study, name: str) -> list[str]:
    return [f"{value:g}" for value in study.values(name)]
