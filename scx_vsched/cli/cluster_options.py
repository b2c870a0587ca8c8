"""The options that `scx_vsched cluster run` and `compare` share, and the setup they make."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.cluster.setup import Setup

__all__ = [
    "AllocationRatio",
    "AsJson",
    "BalanceSteps",
    "BudgetMib",
    "Capacity",
    "CellSize",
    "Folder",
    "LeastBatch",
    "LeastGap",
    "Machines",
    "MaxCpuBelow",
    "MemoryGib",
    "MostMoved",
    "Plot",
    "PriorityBelow",
    "RestS",
    "Seed",
    "StepS",
    "WarningShare",
    "WorkloadMachines",
    "make_setup",
]

_GIB, _MIB = 1 << 30, 1 << 20
_LEAST_CAPACITY, _MOST_CAPACITY = 0.001, 100.0

Machines = Annotated[
    int | None,
    typer.Option("--machines", min=1, show_default="all of the trace", help="Simulated machines."),
]
WorkloadMachines = Annotated[
    int | None,
    typer.Option(
        "--workload-machines",
        min=1,
        show_default="as many as are simulated",
        help="Simulate what ran on so many of the trace's machines, chosen by the seed.",
    ),
]
Capacity = Annotated[
    str,
    typer.Option(
        "--capacity",
        metavar="SHARE|trace",
        help="CPU of a machine, of the trace's largest; trace: each machine's own.",
    ),
]
AllocationRatio = Annotated[
    float,
    typer.Option(
        "--allocation-ratio", min=0.01, help="CPU allocated to a task, of what it requested."
    ),
]
CellSize = Annotated[int, typer.Option("--cell-size", min=1, help="Machines of a GiantVM.")]
StepS = Annotated[float, typer.Option("--step-s", min=0.1, help="Seconds that a step takes.")]
BalanceSteps = Annotated[
    int, typer.Option("--balance-steps", min=1, help="Steps from one decision to the next.")
]
PriorityBelow = Annotated[
    int, typer.Option("--priority-below", help="Only tasks below this priority may move.")
]
MaxCpuBelow = Annotated[
    float,
    typer.Option("--max-cpu-below", help="Only tasks whose maximum CPU is below this may move."),
]
RestS = Annotated[
    float, typer.Option("--rest-s", min=0, help="A task that moved stays for so many seconds.")
]
WarningShare = Annotated[
    float, typer.Option("--warning", min=0, help="No target gets fuller, of its capacity.")
]
MostMoved = Annotated[
    float, typer.Option("--most-moved", min=0, help="Coarse moves no more of a machine's load.")
]
LeastBatch = Annotated[
    float,
    typer.Option("--least-batch", min=0, help="Fine moves no less to a target, of the capacity."),
]
LeastGap = Annotated[
    float,
    typer.Option("--least-gap", min=0, help="No moves between machines less far apart in load."),
]
BudgetMib = Annotated[
    int | None,
    typer.Option(
        "--budget-mib",
        min=0,
        show_default="no limit",
        help="Memory that a decision in a cell may move.",
    ),
]
MemoryGib = Annotated[
    float,
    typer.Option("--memory-gib", min=0.001, help="Memory of the largest machine of the trace."),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Decides where tasks are placed, and what runs.")
]

Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A folder with task_events/ and task_usage/."),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FOLDER", show_default="none", help="Draw SVGs into it."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def make_setup(options: Mapping[str, Any], trace_machines: int) -> Setup:
    """The setup that a command's options ask for, by their parameters' names.

    Without a number of machines there are as many as in the trace. Raises UserError for a capacity
    that is none.
    """
    from scx_vsched.cluster.setup import Setup
    from scx_vsched.errors import UserError
    from scx_vsched.numa.policies import Limits

    text, budget_mib = options["capacity"], options["budget_mib"]
    try:
        capacity = None if text == "trace" else float(text)
    except ValueError:
        capacity = 0.0
    if capacity is not None and not _LEAST_CAPACITY <= capacity <= _MOST_CAPACITY:
        raise UserError(f"--capacity {text} is neither a share of the largest machine nor trace")
    same = ("allocation_ratio", "cell_size", "step_s", "balance_steps", "priority_below")
    limits = ("warning", "most_moved", "least_batch", "least_gap")
    return Setup(
        machines=options["machines"] or trace_machines,
        capacity=capacity,
        machine_memory_bytes=round(options["memory_gib"] * _GIB),
        limits=Limits(
            **{name: options[name] for name in limits},
            budget_bytes=None if budget_mib is None else budget_mib * _MIB,
        ),
        **{name: options[name] for name in (*same, "max_cpu_below", "rest_s", "seed")},
    )
