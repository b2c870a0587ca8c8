"""`scx_vsched numa`: nodes of this machine, and the balancer that moves tasks between them."""

from __future__ import annotations

import json
import sys
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

from scx_vsched.cli.groups import Group
from scx_vsched.cli.settings import SocketOption  # noqa: TC001 - typer evaluates annotations
from scx_vsched.errors import UserError

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    help="Show, plan and draw the balance of this machine's NUMA nodes (see `run --numa`).",
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("status")
def status_command(
    *,
    as_json: _Json = False,
    socket: SocketOption = None,
) -> None:
    """Show nodes, loads, memory, and who was moved when and why."""
    from scx_vsched.numa.client import ask_status, status_text  # noqa: PLC0415
    from scx_vsched.runtime.socket import SOCKET_PATH  # noqa: PLC0415

    status = ask_status(socket or SOCKET_PATH)
    print(json.dumps(status, indent=2) if as_json else status_text(status))


@app.command("plan")
def plan_command(
    *,
    policy: Annotated[
        str, typer.Argument(metavar="POLICY", help="As for `run --numa`.")
    ] = "sorted",
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Who is fixed and who moves.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="S", min=0.2, help="How long to look before planning."),
    ] = 2.0,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure the vCPUs meanwhile; else steal must do.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Say what the balancer would move now, and move nothing. Needs no scheduler.

    Without root only your own processes can be looked into.
    """
    from scx_vsched.numa.client import status_text  # noqa: PLC0415
    from scx_vsched.numa.dry import plan_once  # noqa: PLC0415
    from scx_vsched.numa.rules import Rules, read_rules  # noqa: PLC0415
    from scx_vsched.numa.settings import Settings, balancer_policy  # noqa: PLC0415

    settings = Settings(
        policy=balancer_policy(policy),
        rules=read_rules(rules) if rules else Rules(),
        period_s=seconds,
        dry_run=True,
    )
    status = plan_once(settings, probe=probe)
    if as_json:
        print(json.dumps(status, indent=2))
        return
    print(status_text(status))
    if not status["moves"]:
        print("nothing would move")


@app.command("restore")
def restore_command() -> None:
    """Put back what a balancer left behind that was killed: affinities of IRQs, tasks, workqueues.

    The next `run --numa` does the same.
    """
    from scx_vsched.numa.saved import restore  # noqa: PLC0415

    done = restore()
    if done is None:
        print("there is nothing to put back")
        return
    print(f"put back {done.files} files and {done.processes} processes")
    for what, number in sorted(done.skips.items()):
        print(f"skipped {number}: {what}")


@app.command("plot")
def plot_command(
    *,
    record: Annotated[
        Path, typer.Argument(metavar="RECORD", help="What `run --numa-record` wrote.")
    ],
    output: Annotated[Path, typer.Argument(metavar="FILE.svg", help="The picture to write.")],
) -> None:
    """Draw the nodes' loads over time, where each group was, and the moves."""
    from scx_vsched.numa.history import read_history  # noqa: PLC0415
    from scx_vsched.numa.plot import draw_history  # noqa: PLC0415
    from scx_vsched.topology.plot import save  # noqa: PLC0415

    history = read_history(record)
    save(draw_history(history), output)
    print(f"{output}: {len(history.rounds)} rounds")
    if history.incomplete:
        print("the record's last line was cut off and is left out")


@app.command("bench")
def bench_command(
    *,
    kernel: Annotated[
        str, typer.Option("--kernel", "-k", help="The kernel to boot, as for `vm run`.")
    ] = "6.12",
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="How often each balancer has its turn.")
    ] = 3,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.md", help="Write the table there, too."),
    ] = None,
) -> None:
    """Compare balancers in a VM of four nodes that hosts take in turn. About 4 minutes a round."""
    from scx_vsched.vm.kernels import find_kernels, select  # noqa: PLC0415
    from scx_vsched.vm.numa_bench import run_bench  # noqa: PLC0415
    from scx_vsched.vm.numa_report import bench_table  # noqa: PLC0415

    bench = run_bench(
        select(find_kernels(), kernel),
        rounds=rounds,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    text = f"{bench_table(bench)}\n{bench.where}, {rounds} rounds of {bench.seconds:g} s.\n"
    print(text)
    if output:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {output}: {error.strerror}") from None
