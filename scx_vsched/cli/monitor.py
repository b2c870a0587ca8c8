"""`scx_vsched monitor`: what a running scheduler does, and why."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

from scx_vsched.cli.settings import SocketOption  # noqa: TC001 - likewise
from scx_vsched.errors import UserError

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def monitor(
    *,
    explain: Annotated[
        int | None,
        typer.Option("--explain", metavar="PID", min=1, help="Say why this task is where it is."),
    ] = None,
    openmetrics: Annotated[
        bool, typer.Option("--openmetrics", help="Print all as OpenMetrics, once.")
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="[ADDRESS:]PORT",
            help="Serve OpenMetrics over HTTP until interrupted; without ADDRESS to this machine.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and exit.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SEC", min=0.1, help="Seconds between looks.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    socket: SocketOption = None,
) -> None:
    """Watch a running scheduler: its vCPUs, harvests, biased placements, hidden vCPUs, decisions.

    Decisions are noted where it was started with `scx_vsched run --explain`.
    """
    from scx_vsched.runtime.socket import SOCKET_PATH

    path = socket or SOCKET_PATH
    if sum((explain is not None, openmetrics, listen is not None)) > 1:
        raise UserError("--explain, --openmetrics and --listen: give one of them")
    if explain is not None:
        _explain(path, explain, as_json)
    elif openmetrics or listen is not None:
        _export(path, listen)
    elif as_json:
        _print_json(path, interval, once)
    else:
        from scx_vsched.runtime.view import watch

        watch(path, interval, once=once)


def _explain(path: Path, pid: int, as_json: bool) -> None:
    import json

    from scx_vsched.runtime.explaining import as_lines
    from scx_vsched.runtime.socket import StatsClient

    with StatsClient(path) as client:
        try:
            found = client.request("explain", {"pid": pid})
        except EOFError:
            raise UserError("the scheduler ended meanwhile") from None
    print(json.dumps(found, indent=2) if as_json else "\n".join(as_lines(found)))


def _export(path: Path, listen: str | None) -> None:
    from functools import partial

    from scx_vsched.runtime.metrics import as_openmetrics, read_all, serve

    read = partial(read_all, path)
    if listen is None:
        print(as_openmetrics(read), end="")
        return
    server, thread = serve(read, listen)
    host, port = server.server_address[:2]
    print(f"serving OpenMetrics on http://{host}:{port}/metrics; Ctrl-C ends it", flush=True)
    try:
        thread.join()
    finally:
        server.shutdown()


def _print_json(path: Path, interval: float, once: bool) -> None:
    import json

    from scx_vsched.runtime.view import looks

    for look in looks(path, interval):
        print(json.dumps(look.plain()), flush=True)
        if once:
            return
