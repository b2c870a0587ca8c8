"""`scx_vsched cluster`: policies of migration on a simulated cluster of GiantVMs."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick
# ruff: noqa: PLR0917 - parameters are options

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.cluster_options import (
    AsJson,
    Folder,
    Plot,
    Policies,
    Seeds,
    SimulationOptions,
    make_setup,
    simulation_options,
)
from scx_vsched.cli.cluster_reading import need_polars, progress_bars, workload_loader
from scx_vsched.cli.cluster_report import report_command
from scx_vsched.cli.cluster_sweep import sweep_command
from scx_vsched.cli.groups import Group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from scx_vsched.cluster.metrics import Result
    from scx_vsched.cluster.setup import Setup
    from scx_vsched.cluster.workload import Workload

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="Simulate a cluster of GiantVMs: which tasks to move, and what that does to the load.",
)


@app.command("generate")
def generate_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for the trace.")],
    machines: Annotated[int, typer.Option("--machines", min=1, help="Machines.")] = 800,
    hours: Annotated[float, typer.Option("--hours", min=0.1, help="How long it is.")] = 24,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same gives the same files.")] = 0,
    mean_cpu: Annotated[
        float, typer.Option("--mean-cpu", min=0.01, max=1, help="CPU in use, of all machines'.")
    ] = 0.35,
    swing: Annotated[
        float, typer.Option("--swing", min=0, max=1, help="How far load departs from it by day.")
    ] = 0.25,
) -> None:
    """Write a trace in the schema of Google's ClusterData-2011-2, for want of the real one."""
    need_polars()
    from scx_vsched.cluster.generate import generate
    from scx_vsched.cluster.population import Load

    with progress_bars() as progress:
        bar = progress.add_task("writing")
        written = generate(
            folder,
            machines,
            hours,
            seed=seed,
            load=Load(mean_cpu, swing),
            on_period=lambda period, periods: progress.update(bar, completed=period, total=periods),
        )
    print(
        f"{folder}: {written.machines:,} machines, {written.tasks:,} tasks, "
        f"{written.events:,} events, {written.usage_rows:,} samples of usage"
    )


@app.command("run")
@simulation_options
def run_command(
    folder: Folder,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="no_migration, coarse, fine, sorted:KEY-asc|desc with KEY of request, cpu, "
            "memory, accesses; or priced.",
        ),
    ] = "sorted:memory-asc",
    plot: Plot = None,
    as_json: AsJson = False,
    *,
    options: SimulationOptions,
) -> None:
    """Run one policy and say how the cluster did; JSON has what was seen at each step too."""
    from dataclasses import asdict

    from scx_vsched.cluster.report import result_data, summary_table, trace_data
    from scx_vsched.cluster.simulator import simulate
    from scx_vsched.numa.policies import parse_policy

    chosen = parse_policy(policy)
    with progress_bars() as progress:
        load = workload_loader(folder, options, progress)
        workload = load(options.seed)
        setup = make_setup(options, len(workload.capacity))
        bar = progress.add_task(policy)
        result = simulate(
            workload,
            chosen,
            setup,
            lambda step, steps: progress.update(bar, completed=step, total=steps),
        )
    pictures = _draw([result], plot, setup)
    if as_json:
        data = {"trace": trace_data(workload), "setup": asdict(setup)}
        print(json.dumps(data | result_data(result, series=True)))
        return
    _remarks(workload, setup)
    _show(summary_table(result))
    for path in pictures:
        print(path)


@app.command("compare")
@simulation_options
def compare_command(
    folder: Folder,
    policy: Policies = None,
    seeds: Seeds = 5,
    plot: Plot = None,
    as_json: AsJson = False,
    *,
    options: SimulationOptions,
) -> None:
    """Compare policies over seeds, with 95 % intervals, and with what the thesis says of them."""
    from scx_vsched.cluster.compare import compare
    from scx_vsched.cluster.report import (
        claims_table,
        comparison_data,
        comparison_table,
        trace_data,
    )
    from scx_vsched.numa.policies import THESIS_POLICIES, parse_policy

    policies = [parse_policy(name) for name in policy] if policy else list(THESIS_POLICIES)
    with progress_bars() as progress:
        load = workload_loader(folder, options, progress)
        first = load(options.seed)
        setup = make_setup(options, len(first.capacity))
        bar = progress.add_task("simulating", total=len(policies) * seeds)
        comparison = compare(
            load,
            policies,
            setup,
            seeds,
            lambda _policy, _seed, step, steps: progress.advance(bar, 1 / steps),
        )
    pictures = _draw([results[0] for results in comparison.runs.values()], plot, setup)
    if as_json:
        print(json.dumps({"trace": trace_data(first)} | comparison_data(comparison, setup)))
        return
    _remarks(first, setup)
    _show(comparison_table(comparison))
    if (claims := claims_table(comparison)) is not None:
        print()
        _show(claims)
    for path in pictures:
        print(path)


app.command("sweep")(sweep_command)
app.command("report")(report_command)


def _draw(results: Sequence[Result], folder: Path | None, setup: Setup) -> list[Path]:
    """The pictures, where they are wanted."""
    if folder is None:
        return []
    from scx_vsched.errors import UserError

    try:
        from scx_vsched.cluster.plot import save_pictures
    except ImportError:
        raise UserError("pictures need matplotlib", "pip install 'scx_vsched[plot]'") from None

    below = f"{setup.machines:,} machines in cells of {setup.cell_size}, seed {results[0].seed}"
    return save_pictures(results, folder, below)


def _remarks(workload: Workload, setup: Setup) -> None:
    """What was simulated and what was not, on standard error."""
    from scx_vsched.cluster.report import skipped_lines

    print(
        f"{len(workload):,} tasks of {len(workload.capacity):,} of the trace's machines on "
        f"{setup.machines:,} machines, {workload.length_s / 3600:.1f} h",
        file=sys.stderr,
    )
    for line in skipped_lines(workload.skipped):
        print(f"  {line}", file=sys.stderr)


def _show(table: Table) -> None:
    from scx_vsched.runtime.display import output_console

    output_console().print(table)
