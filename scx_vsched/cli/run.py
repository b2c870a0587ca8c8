"""`scx_vsched run`: schedule this machine until interrupted."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

from scx_vsched.cli.numa_settings import numa_settings
from scx_vsched.cli.settings import (
    BackendOption,
    NoProbeOption,
    TopologyOption,
    complete_policy,
    parse_settings,
)
from scx_vsched.errors import UserError

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def run(
    *,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="NAME|FILE",
            autocompletion=complete_policy,
            show_default="core, with --numa numa",
            help="Built-in policy by name, or a policy file.",
        ),
    ] = None,
    object_path: Annotated[
        Path | None,
        typer.Option("--object", metavar="FILE", help="An object built before; needs no clang."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="FEATURE", help="Leave a feature out (repeatable)."),
    ] = None,
    backend: BackendOption = "clang",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a tunable (repeatable)."),
    ] = None,
    slice_us: Annotated[
        int | None, typer.Option("--slice-us", metavar="N", help="Short for --set slice_us=N.")
    ] = None,
    no_probe: NoProbeOption = False,
    topology: TopologyOption = None,
    domains: Annotated[
        Path | None,
        typer.Option(
            "--domains", metavar="FILE", help="The domains of a host, for a policy like credit2."
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Note why each task is where it is, for `monitor`."),
    ] = False,
    numa: Annotated[
        str | None,
        typer.Option(
            "--numa",
            metavar="POLICY",
            help="Balance the NUMA nodes: coarse, fine, priced, sorted, sorted:KEY-asc or "
            "sorted:KEY-desc with KEY of memory, cpu, request, accesses; no_migration only looks.",
        ),
    ] = None,
    numa_rules: Annotated[
        Path | None,
        typer.Option("--numa-rules", metavar="FILE", help="Which tasks are fixed, which move."),
    ] = None,
    numa_period: Annotated[
        float | None,
        typer.Option(
            "--numa-period", metavar="SEC", min=0.5, show_default="2", help="Between two looks."
        ),
    ] = None,
    numa_budget: Annotated[
        float | None,
        typer.Option(
            "--numa-budget",
            metavar="MIB/S",
            min=0.0,
            show_default="256",
            help="Memory that may move in a second.",
        ),
    ] = None,
    numa_keep_memory: Annotated[
        bool, typer.Option("--numa-keep-memory", help="Move tasks and leave their memory.")
    ] = False,
    numa_working_set: Annotated[
        bool,
        typer.Option(
            "--numa-working-set",
            help="Count memory in use only; costs tasks a little (clears referenced bits).",
        ),
    ] = False,
    numa_dry_run: Annotated[
        bool, typer.Option("--numa-dry-run", help="Only say what would move.")
    ] = False,
    numa_record: Annotated[
        Path | None,
        typer.Option("--numa-record", metavar="FILE", help="Record every look for `numa plot`."),
    ] = None,
    stats: Annotated[
        float | None,
        typer.Option("--stats", metavar="SEC", min=0.1, help="Show statistics every SEC seconds."),
    ] = None,
    monitor: Annotated[
        float | None,
        typer.Option(
            "--monitor",
            metavar="SEC",
            min=0.1,
            help="Show statistics of a scheduler that is already running; start none.",
        ),
    ] = None,
    stats_json: Annotated[
        bool, typer.Option("--stats-json", help="Statistics as lines of JSON.")
    ] = False,
    help_stats: Annotated[
        bool, typer.Option("--help-stats", help="Explain the statistics and exit.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Show what libbpf and the verifier say."),
    ] = False,
    exit_dump_len: Annotated[
        int | None,
        typer.Option(
            "--exit-dump-len", metavar="N", show_default="32768", help="Bytes of the debug dump."
        ),
    ] = None,
    timeout_ms: Annotated[
        int | None,
        typer.Option(
            "--timeout-ms",
            metavar="N",
            show_default="30000",
            help="Watchdog: how long a task may wait before the kernel ends the scheduler.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SEC", min=0.1, help="End after SEC seconds."),
    ] = None,
) -> None:
    """Schedule this machine until Ctrl-C gives the kernel's own scheduler back.

    Measures the vCPUs meanwhile, and schedules by what it finds.

    Ends with 0 when it was asked to, 1 when it could not start, 3 when the kernel ended it.
    """
    if object_path and (policy or without or backend != "clang"):
        raise UserError(
            "--object contradicts --policy, --without and --backend: an object is already built"
        )
    if no_probe and topology:
        raise UserError("--no-probe contradicts --topology: either says where the topology is from")
    if monitor:
        from scx_vsched.runtime.monitor import monitor as show  # noqa: PLC0415

        show(monitor, as_json=stats_json)
        return
    from scx_vsched.runtime.run import DEFAULT_POLICY, NODES_POLICY, RunOptions  # noqa: PLC0415
    from scx_vsched.runtime.run import run as run_scheduler  # noqa: PLC0415

    policy = policy or (NODES_POLICY if numa else DEFAULT_POLICY)
    if help_stats:
        print(_explain(policy, object_path))
        return
    balance = numa_settings(
        numa,
        rules=numa_rules,
        period_s=numa_period,
        budget_mib_s=numa_budget,
        keep_memory=numa_keep_memory,
        working_set=numa_working_set,
        dry_run=numa_dry_run,
        record=numa_record,
    )
    tunables = parse_settings(settings or ())
    if slice_us is not None:
        tunables["slice_us"] = slice_us
    raise typer.Exit(
        run_scheduler(
            RunOptions(
                policy=policy,
                object_path=object_path,
                without=tuple(without or ()),
                backend=backend,
                tunables=tunables,
                probe=not (no_probe or topology),
                topology_path=topology,
                domains_path=domains,
                explain=explain,
                numa=balance,
                stats_s=stats,
                stats_json=stats_json,
                verbose=verbose,
                exit_dump_len=exit_dump_len,
                timeout_ms=timeout_ms,
                duration_s=duration,
            )
        )
    )


def _explain(policy: str, object_path: Path | None) -> str:
    """What each counter of the policy or the object counts."""
    from scx_vsched.runtime.stats import help_text  # noqa: PLC0415

    if object_path:
        from scx_vsched.bpf.elf import read_object  # noqa: PLC0415
        from scx_vsched.bpf.loader import read_meta  # noqa: PLC0415

        meta = read_meta(read_object(object_path), object_path)
        return help_text([*meta.stats, *meta.histograms])
    from scx_vsched.bpf.render import describe  # noqa: PLC0415
    from scx_vsched.policies import resolve_policy  # noqa: PLC0415
    from scx_vsched.policy.compiler import compile_file  # noqa: PLC0415

    meta = describe(compile_file(resolve_policy(policy)))
    return help_text([*meta.stats, *meta.histograms])
