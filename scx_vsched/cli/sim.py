"""`scx_vsched sim`: the scheduler's own code on simulated machines, the same run every time."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scx_vsched.cli import sim_fidelity, sim_fuzz, sim_roundtrips, sim_techniques
from scx_vsched.cli.groups import Group
from scx_vsched.cli.settings import parse_settings
from scx_vsched.cli.sim_output import (
    TRACE_LIMIT,
    PictureMs,
    PicturePath,
    Progress,
    Sanitize,
    TracePath,
    show,
    stop_if_failed,
)

if TYPE_CHECKING:
    from scx_vsched.sim.machine import Machine

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    help="Run schedulers on simulated machines: any size, any host, the same run for the same "
    "seed.",
)
app.command("fuzz")(sim_fuzz.fuzz_command)
app.command("replay")(sim_fuzz.replay_command)
app.command("record")(sim_fuzz.record_command)
app.command("fidelity")(sim_fidelity.fidelity_command)
app.command("techniques")(sim_techniques.techniques_command)
app.command("roundtrips")(sim_roundtrips.roundtrips_command)

_Profile = Annotated[
    str,
    typer.Argument(
        metavar="PROFILE", help="A profile, a file of one, a record, or a size: 8, 8x2, 64/16."
    ),
]
_Workload = Annotated[
    str,
    typer.Argument(
        metavar="WORKLOAD", help="A built-in workload, a TOML file, or a recorded trace (.txt)."
    ),
]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random follows from it.")]
_LONGEST_S = 10_000  # what the engine counts in nanoseconds stays far from its limits
_Seconds = Annotated[
    float,
    typer.Option("--seconds", min=0.001, max=_LONGEST_S, help="Simulated time measured."),
]
_Warmup = Annotated[
    float, typer.Option("--warmup", min=0, max=_LONGEST_S, help="Seconds before measuring.")
]
_Contended = Annotated[
    bool,
    typer.Option(
        "--contended", help="A rival takes the rest of each vCPU's period, as in the paper."
    ),
]
_Honest = Annotated[
    bool, typer.Option("--honest", help="Tell the scheduler each vCPU's true capacity.")
]
_Probe = Annotated[
    bool,
    typer.Option(
        "--probe", help="Probers watch the vCPUs and tell the scheduler, as they do in a guest."
    ),
]
_Steal = Annotated[bool, typer.Option("--steal", help="The guest sees how long it was kept away.")]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Set a tunable (repeatable)."),
]
_Kernel = Annotated[
    str, typer.Option("--kernel", metavar="SERIES", help="Whose kfuncs: 6.12, 7.1.13 or 7.x.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _machine(profile: str, contended: bool, honest: bool, steal: bool) -> Machine:
    from dataclasses import replace  # noqa: PLC0415

    from scx_vsched.sim.profile import machine_named  # noqa: PLC0415

    machine = machine_named(profile, contended=contended, honest=honest)
    return replace(machine, steal_visible=steal)


@app.command()
def run(
    *,
    profile: _Profile,
    workload: _Workload,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="POLICY",
            help="A built-in policy, a file, or `default` for the kernel's own scheduler.",
        ),
    ] = "core",
    seed: _Seed = 1,
    seconds: _Seconds = 10.0,
    warmup: _Warmup = 1.0,
    contended: _Contended = False,
    honest: _Honest = False,
    probe: _Probe = False,
    steal: _Steal = False,
    settings: _Set = None,
    kernel: _Kernel = "7.x",
    as_json: _Json = False,
    trace: TracePath = None,
    picture: PicturePath = None,
    picture_ms: PictureMs = 100.0,
    sanitize: Sanitize = False,
    cpython: Annotated[
        bool,
        typer.Option("--cpython", help="Compute the hooks in CPython, for a debugger to step."),
    ] = False,
) -> None:
    """Run a workload on a machine under a scheduler.

    Exit status 4 means that an invariant was broken; the steps before it are printed.
    """
    from scx_vsched.sim.report import plain, summary  # noqa: PLC0415
    from scx_vsched.sim.run import Options  # noqa: PLC0415
    from scx_vsched.sim.sanitize import start_again  # noqa: PLC0415
    from scx_vsched.sim.scheduler import prepare  # noqa: PLC0415
    from scx_vsched.sim.workload_file import load_workload  # noqa: PLC0415

    if sanitize:
        start_again()
    machine = _machine(profile, contended, honest, steal)
    load = load_workload(workload, machine)
    scheduler = prepare(
        policy,
        tunables=parse_settings(settings or ()),
        kernel=kernel,
        sanitize=sanitize,
        cpython=cpython,
    )
    options = Options(
        seed=seed,
        end_ns=round((seconds + warmup) * 1e9),
        warmup_ns=round(warmup * 1e9),
        trace_limit=TRACE_LIMIT if trace or picture else 0,
        probe=probe,
    )
    started = time.process_time()
    outcome = scheduler.run(machine, load, options)
    took_s = time.process_time() - started
    title = f"{load.name} on {machine.name} under {scheduler.name}, seed {seed}"
    if as_json:
        about = {"machine": machine.name, "workload": load.name, "policy": scheduler.name}
        print(json.dumps(about | {"seed": seed} | plain(outcome, seconds), indent=2))
    else:
        print(title)
        for line in summary(outcome, seconds):
            print(f"  {line}")
        rate = outcome.records / max(took_s, 1e-9) / 1e6
        print(f"  {outcome.records:,} scheduling events in {took_s:.2f} s: {rate:.1f} million/s")
        print(f"  digest {outcome.digest}")
    show(outcome, title, trace, picture, picture_ms)
    stop_if_failed(outcome)


@app.command()
def compare(
    *,
    profile: _Profile,
    workload: _Workload,
    policies: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="POLICY", help="Compared with the first (repeatable)."),
    ] = None,
    seed: _Seed = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 5,
    seconds: _Seconds = 10.0,
    warmup: _Warmup = 1.0,
    contended: _Contended = False,
    honest: _Honest = False,
    probe: _Probe = False,
    steal: _Steal = False,
    kernel: _Kernel = "7.x",
    as_json: _Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a table.")] = False,
) -> None:
    """Compare schedulers on the same seeds: ratios with their 95 % intervals.

    Without --policy the kernel's default scheduler is compared with the policy `core`.
    """
    from scx_vsched.sim.compare import as_markdown  # noqa: PLC0415
    from scx_vsched.sim.compare import compare as compare_runs  # noqa: PLC0415
    from scx_vsched.sim.run import Options  # noqa: PLC0415
    from scx_vsched.sim.scheduler import prepare  # noqa: PLC0415
    from scx_vsched.sim.workload_file import load_workload  # noqa: PLC0415

    machine = _machine(profile, contended, honest, steal)
    load = load_workload(workload, machine)
    schedulers = [prepare(name, kernel=kernel) for name in policies or ["default", "core"]]
    options = Options(
        seed=seed,
        end_ns=round((seconds + warmup) * 1e9),
        warmup_ns=round(warmup * 1e9),
        probe=probe,
    )
    found = compare_runs(
        schedulers,
        machine,
        load,
        options,
        seeds,
        jobs=len(os.sched_getaffinity(0)),
        tell=Progress("runs"),
    )
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "measure": row.measure.name,
                "unit": row.measure.unit,
                "better": row.measure.better,
                "medians": dict(zip([s.name for s in schedulers], row.medians, strict=True)),
                "ratios": {
                    s.name: {"value": r.value, "low": r.low, "high": r.high}
                    for s, r in zip(schedulers, row.ratios, strict=True)
                    if r.rounds > 1 or s is not schedulers[0]
                },
            }
            for row in found
        ]
        print(json.dumps({"machine": machine.name, "workload": load.name, "rows": rows}, indent=2))
        return
    if markdown:
        print("\n".join(as_markdown(load.name, schedulers, found)))
        return
    print(f"{load.name} on {machine.name}: {seeds} seeds of {seconds:g} s")
    for row in found:
        first = f"{row.medians[0]:,.1f} {row.measure.unit}"
        print(f"  {row.measure.name}: {schedulers[0].name} {first}")
        for scheduler, median, ratio in zip(
            schedulers[1:], row.medians[1:], row.ratios[1:], strict=True
        ):
            print(f"    {scheduler.name} {median:,.1f} {row.measure.unit}, ratio {ratio}")
