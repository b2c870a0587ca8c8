"""`scx_vsched vm`: kernels, and virtual machines that run on them."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick
# ruff: noqa: PLR0917 - parameters are options

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli import vm_costs, vm_lab
from scx_vsched.cli.groups import Group
from scx_vsched.cli.settings import (
    AccelOption,
    BackendOption,
    NoProbeOption,
    QuietOption,
    TopologyOption,
    parse_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.vm.kernels import Kernel

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Verify, run and measure schedulers in virtual machines on any supported kernel.",
)

app.command("profiles")(vm_lab.profiles_command)
app.command("accuracy")(vm_lab.accuracy_command)
app.command("costs")(vm_costs.costs_command)

_Kernel = Annotated[
    str,
    typer.Option(
        "--kernel",
        "-k",
        metavar="KERNEL",
        help="Series (6.18), release, path of an image, newest, oldest or running.",
    ),
]
_Cpus = Annotated[
    str | None,
    typer.Option(
        "--cpus",
        help="vCPUs: a number, or QEMU's -smp (8,sockets=2,cores=2,threads=2); default 2.",
    ),
]
_Memory = Annotated[str | None, typer.Option("--memory", help="The guest's memory (default 2G).")]


@app.command("kernels")
def kernels_command(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch the series named as arguments from Debian.")
    ] = False,
    series: Annotated[
        list[str] | None, typer.Argument(metavar="[SERIES]...", help="Series to fetch: 6.18 7.3")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="With --fetch: every series that Debian has.")
    ] = False,
    directory: Annotated[
        list[Path] | None, typer.Option("--dir", help="Also look in this directory (repeatable).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: QuietOption = False,
) -> None:
    """List the kernels that a VM can boot; --fetch gets more."""
    from scx_vsched.errors import UserError
    from scx_vsched.vm import kernels
    from scx_vsched.vm.progress import step

    if fetch:
        from scx_vsched.vm.fetch import fetch as fetch_series

        wanted = kernels.SERIES[1:] if every else tuple(series or ())
        if not wanted:
            raise UserError("--fetch needs series to fetch", "for example: --fetch 6.18 7.3")
        for name in wanted:
            with step(f"Fetching Linux {name}", quiet) as say:
                fetch_series(name, say)
    elif series or every:
        raise UserError("series are named to fetch them", "for example: --fetch 6.18 7.3")
    found = kernels.find_kernels(directory or ())
    if as_json:
        print(json.dumps([_plain(kernel) for kernel in found], indent=2))
    else:
        _print_kernels(found)


def _plain(kernel: Kernel) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in asdict(kernel).items()
    }


def _print_kernels(found: list[Kernel]) -> None:
    from rich.console import Console
    from rich.table import Table

    words = {True: "yes", False: "no", None: "not known"}
    table = Table("series", "release", "sched_ext", "modules", "source", box=None)
    for kernel in found:
        modules = "in its directory" if kernel.modules_dir else "none"
        table.add_row(
            kernel.series, kernel.release, words[kernel.has_sched_ext], modules, kernel.source
        )
    Console().print(table if found else "no kernels found; fetch one: vm kernels --fetch 7.3")


@app.command(
    "run", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True}
)
def run_command(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...")],
    kernel: _Kernel = "newest",
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", help="Policy by name, or a policy file.")
    ] = None,
    object_path: Annotated[
        Path | None, typer.Option("--object", help="An object built before, instead of a policy.")
    ] = None,
    no_scheduler: Annotated[
        bool, typer.Option("--no-scheduler", help="Run under the kernel's own scheduler.")
    ] = False,
    tunables: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set a tunable.")
    ] = None,
    no_probe: NoProbeOption = False,
    topology: TopologyOption = None,
    cpus: _Cpus = None,
    memory: _Memory = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME|FILE",
            help="Shape the vCPUs while the command runs (see `vm profiles`).",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="With --profile: print JSON; the command's output goes to stderr."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SEC", min=1, help="Stop the VM after this long.")
    ] = 600,
    accel: AccelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run a command in a VM under the scheduler; exits with the command's exit code.

    As with `run`, the vCPUs are measured meanwhile, and scheduled by what is found. The guest
    sees this machine's file system, read-only. Statistics follow on standard error, and with
    --profile what the host really gave each vCPU.
    """
    from scx_vsched.errors import UserError
    from scx_vsched.vm.kernels import find_kernels, select
    from scx_vsched.vm.machine import Shape
    from scx_vsched.vm.progress import lines
    from scx_vsched.vm.run import run_in_vm

    if no_scheduler and (policy or object_path or tunables or no_probe or topology):
        raise UserError(
            "--no-scheduler contradicts --policy, --object, --set, --no-probe and --topology"
        )
    if no_probe and topology:
        raise UserError("--no-probe contradicts --topology: either says where the topology is from")
    if topology:
        from scx_vsched.topology.document import read_document

        read_document(topology)  # what is wrong with it shows before anything boots
    if policy and object_path:
        raise UserError("give --policy or --object, not both")
    if profile and cpus:
        raise UserError("give --profile or --cpus, not both", "the profile says which vCPUs")
    if as_json and not profile:
        raise UserError("--json needs --profile", "it prints what each vCPU of a profile got")
    shape, plan = Shape(cpus=cpus or "2", memory=memory or "2G"), None
    if profile:
        from scx_vsched.vm.lab.placing import plan_for

        plan = plan_for(profile)
        shape = plan.machine(memory)
    result = run_in_vm(
        select(find_kernels(), kernel),
        command,
        policy=None if no_scheduler else policy or (None if object_path else "core"),
        object_path=object_path,
        tunables=parse_settings(tunables or ()),
        probe=not (no_probe or topology),
        topology=topology,
        shape=shape,
        accelerator=accel,
        timeout_s=timeout,
        say=lines(quiet),
        plan=plan,
        output=sys.stderr.buffer if as_json else None,
    )
    note = lines(quiet)
    vm_lab.print_truth(result, as_json)
    if result.stats is not None:
        note(f"statistics ({result.outcome.where}):")
        for name, value in result.stats.items():
            note(f"  {name:<24} {value:>14,}")
    if result.exit_info is not None:
        print(f"the scheduler left: {result.exit_info['summary']}", file=sys.stderr)
        if result.exit_info["dump"]:
            print(result.exit_info["dump"], file=sys.stderr)
        raise typer.Exit(result.exit_code or 1)
    raise typer.Exit(result.exit_code)


@app.command("verify")
def verify_command(
    kernels: Annotated[
        str, typer.Option("--kernels", metavar="LIST", help="Kernels, with commas between them.")
    ] = "6.12,6.18,newest",
    every: Annotated[
        bool, typer.Option("--all", help="Every supported series, and the gallery's policies too.")
    ] = False,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch series that are missing.")] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", "-p", help="Policy by name, or a file (repeatable)."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", help="Record to compare with (default: tests/vm/baseline.json)."
        ),
    ] = None,
    backend: BackendOption = "clang",
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write what was measured to the record.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the tables to this file.")
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option("--from", help="Add to what was verified before: a file of --json."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    accel: AccelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Load every policy with every combination of features on each kernel.

    Those of the gallery, which differ in their hooks alone, with all features and with none.
    Fails when an object does not load or work, or when a program costs the verifier much more than
    recorded.
    """
    from rich.console import Console

    from scx_vsched.policies import builtin_policies, gallery_policies, xen_policies
    from scx_vsched.vm import baseline as record
    from scx_vsched.vm import verify_report
    from scx_vsched.vm.kernels import SERIES
    from scx_vsched.vm.paths import PACKAGE_ROOT
    from scx_vsched.vm.progress import step
    from scx_vsched.vm.verify import instructions, verify

    path = baseline or PACKAGE_ROOT / "tests" / "vm" / "baseline.json"
    recorded = record.load_baseline(path)
    named = [*builtin_policies(), *xen_policies(), *(gallery_policies() if every else ())]
    reports = verify_report.load_reports(before) if before else []
    with step("Verifying", quiet) as say:
        chosen = _chosen_kernels(SERIES if every else tuple(kernels.split(",")), fetch, say)
        found = verify(policy or named, chosen, backend=backend, accelerator=accel, say=say)
    reports = verify_report.joined(reports, found)
    measured = instructions(reports)
    comparison = record.compare(recorded, measured)
    if update_baseline:
        record.save_baseline(path, {**recorded, **measured})
    if markdown is not None:
        markdown.write_text(verify_report.as_markdown(reports, _VERIFY_HEADING))
    if as_json:
        print(json.dumps(verify_report.as_data(reports, comparison), indent=2))
    else:
        # Wide enough for nine kernels where nobody's terminal sets the width.
        width = None if sys.stdout.isatty() else 200
        Console(width=width).print(verify_report.as_table(reports))
        for line in verify_report.summary(reports, comparison):
            print(line)
    grown = comparison.regressions and not update_baseline
    raise typer.Exit(0 if all(report.ok for report in reports) and not grown else 1)


_VERIFY_HEADING = """# What the verifier says

Written by `scx_vsched vm verify --all --fetch --markdown docs/verify.md`. Each cell: instructions
that the kernel's verifier processed for all programs of the object, and the time that loading it
took in a VM.
"""


def _chosen_kernels(
    specs: tuple[str, ...], fetch: bool, say: Callable[[str], None]
) -> list[Kernel]:
    from scx_vsched.errors import UserError
    from scx_vsched.vm import kernels
    from scx_vsched.vm.fetch import fetch as fetch_series

    chosen: dict[str, Kernel] = {}
    for spec in specs:
        try:
            kernel = kernels.select(kernels.find_kernels(), spec)
        except UserError:
            if not fetch or spec not in kernels.SERIES[1:]:
                raise
            kernel = fetch_series(spec, say)
        chosen.setdefault(kernel.release, kernel)
    return list(chosen.values())


@app.command("bench")
def bench_command(
    kernels: Annotated[
        str,
        typer.Option("--kernels", "-k", metavar="LIST", help="Kernels, with commas between them."),
    ] = "newest",
    policy: Annotated[
        str, typer.Option("--policy", "-p", help="Policy by name, or a file.")
    ] = "core",
    rounds: Annotated[
        int, typer.Option("--rounds", min=2, help="Rounds at most, of each workload.")
    ] = 24,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="Length of one measurement.")
    ] = 3.0,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", help="hackbench, sysbench cpu or compile (repeatable)."),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Measure the vCPUs beside the scheduler, at its cost, instead of taking the VM's "
            "claims.",
        ),
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the report to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    accel: AccelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure what the scheduler costs, and its throughput against the default scheduler.

    Both sides alternate in one boot until it is decided whether ours is 3 % worse.
    """
    from scx_vsched.vm.bench import bench
    from scx_vsched.vm.bench_report import as_markdown
    from scx_vsched.vm.progress import step

    with step("Measuring", quiet) as say:
        reports = [
            bench(
                kernel,
                policy,
                rounds=rounds,
                seconds=seconds,
                workloads=workload or (),
                probe=probe,
                accelerator=accel,
                say=say,
            )
            for kernel in _chosen_kernels(tuple(kernels.split(",")), False, say)
        ]
    text = as_markdown(reports)
    if markdown is not None:
        markdown.write_text(text)
    if as_json:
        print(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        print(text, end="")
