"""`scx_vsched cluster sweep`: simulations over a grid of options, policies and seeds, on Dask."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick
# ruff: noqa: PLR0917 - parameters are options

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.cluster_options import (
    AsJson,
    Folder,
    Policies,
    Seeds,
    SimulationOptions,
    make_setup,
    simulation_options,
)
from scx_vsched.cli.cluster_reading import need_polars, progress_bars, workload_loader
from scx_vsched.cli.cluster_variations import parse_variations, variations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scx_vsched.cluster.sweep import Kept, Run
    from scx_vsched.cluster.workload import Workload

__all__ = ["Dask", "Workers", "finish_runs", "sweep_command"]

Dask = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        show_default="this machine",
        help="Simulate on the Dask cluster of the scheduler there, as tcp://host:8786.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, show_default="one for each CPU", help="Processes on this machine."
    ),
]


@simulation_options
def sweep_command(
    folder: Folder,
    vary: Annotated[
        list[str],
        typer.Option(
            "--vary",
            metavar="NAME=VALUES",
            help="An option of the simulation and its values, as cell-size=2,4,8 or "
            "machines=700:900:50 (both ends); repeatable: all combinations.",
        ),
    ],
    policy: Policies = None,
    seeds: Seeds = 5,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            show_default="none",
            help="Keep results in FILE.json or FILE.parquet, those of an interrupted sweep too.",
        ),
    ] = None,
    workers: Workers = None,
    dask: Dask = None,
    as_json: AsJson = False,
    *,
    options: SimulationOptions,
) -> None:
    """Simulate all combinations of options, policies and seeds; the same again goes on from there.

    All of them have the tasks of the same machines of the trace: --machines in --vary changes on
    how many machines they run, not which tasks they are.
    """
    from scx_vsched.cluster.setup import capacities
    from scx_vsched.cluster.sweep import Kept, Run, trace_name
    from scx_vsched.cluster.sweep_table import sweep_table
    from scx_vsched.numa.policies import THESIS_POLICIES, parse_policy
    from scx_vsched.runtime.display import output_console

    need_polars()
    points = variations(options, parse_variations(vary))
    policies = [parse_policy(name) for name in policy] if policy else list(THESIS_POLICIES)
    trace = trace_name(folder, options.workload_machines or options.machines)
    with progress_bars() as progress:
        load = workload_loader(folder, options, progress)
        machines = len(load(options.seed).capacity)
        setups = [(point, make_setup(own, machines)) for point, own in points]
        for _, setup in setups:
            capacities(setup, load(options.seed))  # says at once which point cannot be
        runs = [
            Run(replace(setup, seed=seed), one)
            for _, setup in setups
            for one in policies
            for seed in range(options.seed, options.seed + seeds)
        ]
        with Kept(out, trace) as kept:
            bar = progress.add_task("simulating", total=len(runs))
            finish_runs(
                runs, kept, load, dask=dask, workers=workers, on_run=lambda: progress.advance(bar)
            )
            kept.finish(runs)
            if as_json:
                print(json.dumps({"runs": kept.rows(runs)}))
                return
            found = [outcome for run in runs if (outcome := kept.find(run)) is not None]
    output_console().print(sweep_table(setups, policies, found))


def finish_runs(
    runs: Sequence[Run],
    kept: Kept,
    load: Callable[[int], Workload],
    *,
    dask: str | None,
    workers: int | None,
    on_run: Callable[[], None],
) -> None:
    """Simulate those of `runs` that are not kept yet, and keep them; `on_run` hears each of all.

    Raises UserError as Dask's part does, and KeyboardInterrupt after a word on what is kept.
    """
    from scx_vsched.errors import UserError

    missing = [run for run in runs if kept.find(run) is None]
    for _ in range(len(runs) - len(missing)):
        on_run()
    if not missing:
        return
    try:
        from scx_vsched.cluster.dask_runs import dask_client, simulate_all
    except ImportError:
        raise UserError("sweeps need Dask", "pip install 'scx_vsched[cluster]'") from None

    workers = min(workers or len(os.sched_getaffinity(0)), len(missing))
    try:
        with dask_client(dask, workers) as client:
            for outcome in simulate_all(client, missing, load):
                kept.add(outcome)
                on_run()
    except KeyboardInterrupt:
        if kept.lasting:
            there = sum(kept.find(run) is not None for run in runs)
            print(f"{there} of {len(runs)} runs are kept: the same again goes on", file=sys.stderr)
        raise
