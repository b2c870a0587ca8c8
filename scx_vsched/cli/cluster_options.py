"""The options of a simulation, which `scx_vsched cluster run`, `compare`, `sweep` and `report`
share, each said once: name, type, bounds, default, help; and the setup that they make."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

import inspect
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.cluster.setup import Setup

__all__ = [
    "AsJson",
    "Folder",
    "Plot",
    "Policies",
    "Seeds",
    "SimulationOptions",
    "make_setup",
    "simulation_options",
]

_GIB, _MIB = 1 << 30, 1 << 20
_LEAST_CAPACITY, _MOST_CAPACITY = 0.001, 100.0


def _option(name: str, text: str, **more: Any) -> Any:
    return typer.Option(name, help=text, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOptions:
    """What a simulation is told on the command line, in the command line's units."""

    machines: Annotated[
        int | None,
        _option("--machines", "Simulated machines.", min=1, show_default="all of the trace"),
    ] = None
    workload_machines: Annotated[
        int | None,
        _option(
            "--workload-machines",
            "Simulate what ran on so many of the trace's machines, chosen by the seed.",
            min=1,
            show_default="as many as --machines",
        ),
    ] = None
    capacity: Annotated[
        str,
        _option(
            "--capacity",
            "CPU of a machine, of the trace's largest; trace: each machine's own.",
            metavar="SHARE|trace",
        ),
    ] = "0.5"
    allocation_ratio: Annotated[
        float,
        _option("--allocation-ratio", "CPU allocated to a task, of what it requested.", min=0.01),
    ] = 1.0
    cell_size: Annotated[int, _option("--cell-size", "Machines of a GiantVM.", min=1)] = 4
    cell_queue: Annotated[
        bool,
        _option("--cell-queue", "A task may start on any machine of its cell, not on one only."),
    ] = False
    step_s: Annotated[float, _option("--step-s", "Seconds that a step takes.", min=0.1)] = 30
    balance_steps: Annotated[
        int, _option("--balance-steps", "Steps from one decision to the next.", min=1)
    ] = 10
    priority_below: Annotated[
        int, _option("--priority-below", "Only tasks below this priority may move.")
    ] = 2
    max_cpu_below: Annotated[
        float, _option("--max-cpu-below", "Only tasks whose maximum CPU is below this may move.")
    ] = 0.025
    rest_s: Annotated[
        float, _option("--rest-s", "A task that moved stays for so many seconds.", min=0)
    ] = 0
    warning: Annotated[
        float, _option("--warning", "No target gets fuller, of its capacity.", min=0)
    ] = 1.0
    most_moved: Annotated[
        float, _option("--most-moved", "Coarse moves no more of a machine's load.", min=0)
    ] = 0.8
    least_batch: Annotated[
        float, _option("--least-batch", "Fine moves no less to a target, of the capacity.", min=0)
    ] = 0.01
    targets: Annotated[
        int, _option("--targets", "Fine moves to so many of the least loaded machines.", min=1)
    ] = 2
    least_gap: Annotated[
        float, _option("--least-gap", "No moves between machines less far apart in load.", min=0)
    ] = 0
    least_gain: Annotated[
        float,
        _option(
            "--least-gain",
            "Priced moves nothing that evens out less for a GiB, in squared percents.",
            min=0,
        ),
    ] = 10.0
    budget_mib: Annotated[
        int | None,
        _option(
            "--budget-mib",
            "Memory that a decision in a cell may move.",
            min=0,
            show_default="no limit",
        ),
    ] = None
    link_gib_s: Annotated[
        float | None,
        _option(
            "--link-gib-s",
            "What a machine's network carries each way; moves then take time.",
            min=0.001,
            show_default="no limit",
        ),
    ] = None
    moving_speed: Annotated[
        float,
        _option("--moving-speed", "How fast a task runs while its pages follow.", min=0, max=1),
    ] = 0.5
    memory_gib: Annotated[
        float, _option("--memory-gib", "Memory of the largest machine of the trace.", min=0.001)
    ] = 64
    seed: Annotated[
        int, _option("--seed", "Decides where tasks are placed, and what runs.", min=0)
    ] = 0


Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A folder with task_events/ and task_usage/."),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="POLICY",
        show_default="all of the thesis",
        help="As run has it; repeatable.",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Runs of each policy, from --seed on.")]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FOLDER", show_default="none", help="Draw SVGs into it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def simulation_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with all of `SimulationOptions`, which it gets as one argument, `options`."""
    own = inspect.signature(command, eval_str=True)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != "options"]
    hints = get_type_hints(SimulationOptions, include_extras=True)
    added = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
            annotation=hints[one.name],
        )
        for one in fields(SimulationOptions)
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        options = SimulationOptions(**{one.name: given.pop(one.name) for one in added})
        command(**given, options=options)

    run.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*kept, *added)}
    return run


def make_setup(options: SimulationOptions, trace_machines: int) -> Setup:
    """The setup that a command's options ask for.

    Without a number of machines there are as many as in the trace. Raises UserError for a capacity
    that is none.
    """
    from scx_vsched.cluster.setup import Setup
    from scx_vsched.errors import UserError
    from scx_vsched.numa.policies import Limits

    try:
        capacity = None if options.capacity == "trace" else float(options.capacity)
    except ValueError:
        capacity = 0.0
    if capacity is not None and not _LEAST_CAPACITY <= capacity <= _MOST_CAPACITY:
        raise UserError(
            f"--capacity {options.capacity} is neither a share of the largest machine nor trace"
        )

    def same(kind: type) -> dict[str, Any]:
        """The fields that options and `kind` have in common."""
        names = {one.name for one in fields(kind)} & {one.name for one in fields(options)}
        return {name: getattr(options, name) for name in names - {"capacity", "machines"}}

    return Setup(
        machines=options.machines or trace_machines,
        capacity=capacity,
        machine_memory_bytes=round(options.memory_gib * _GIB),
        link_bytes_s=None if options.link_gib_s is None else options.link_gib_s * _GIB,
        limits=Limits(
            budget_bytes=None if options.budget_mib is None else options.budget_mib * _MIB,
            **same(Limits),
        ),
        **same(Setup),
    )
