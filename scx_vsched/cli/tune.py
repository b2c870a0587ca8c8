"""`scx_vsched tune`: change tunables of the scheduler that is running."""

from __future__ import annotations

from typing import Annotated

import typer

from scx_vsched.cli.settings import SocketOption, parse_settings

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def tune(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Tunables and their new values."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    socket: SocketOption = None,
) -> None:
    """Change tunables of the running scheduler, in force at once; without any, list them.

    All are changed, or none where one is unknown, out of bounds or frozen.
    """
    import dataclasses  # noqa: PLC0415
    import json  # noqa: PLC0415

    from scx_vsched.runtime.socket import SOCKET_PATH  # noqa: PLC0415
    from scx_vsched.runtime.tuning import tune_running  # noqa: PLC0415

    values = parse_settings(settings or (), option="")
    found = tune_running(values, socket or SOCKET_PATH)
    if as_json:
        print(json.dumps([dataclasses.asdict(tunable) for tunable in found], indent=2))
        return
    names = [tunable.name for tunable in found]
    width = max(map(len, names), default=0)
    for tunable in found:
        if values and tunable.name not in values:
            continue
        note = ", frozen" if tunable.frozen else ""
        print(
            f"{tunable.name:<{width}} = {tunable.value:<8} {tunable.unit:<6}"
            f"({tunable.min} to {tunable.max}, default {tunable.default}{note}) {tunable.doc}"
        )
