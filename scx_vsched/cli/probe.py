"""`scx_vsched probe`: measure what each vCPU really is."""

# ruff: noqa: PLC0415 - the command imports what it uses, so that --help stays quick

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def probe(
    *,
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch",
            "-w",
            metavar="SEC",
            min=0.1,
            help="Go on measuring, and show a new picture every SEC seconds until Ctrl-C.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration",
            metavar="SEC",
            min=0.1,
            show_default="2, or for ever with --watch",
            help="How long to measure; once enough is known, a single measurement ends earlier.",
        ),
    ] = None,
    vcpus: Annotated[
        str | None,
        typer.Option("--vcpus", metavar="LIST", help="Only these, such as 0-3,8."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a versioned document; a line each with --watch."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the document to FILE, too."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say where figures come from: both sources of capacity, samples, the cost.",
        ),
    ] = False,
) -> None:
    """Measure each vCPU's capacity, activity and place, once in a few seconds or all the time.

    Works in any guest and for any user; what cannot be measured without more rights is named.
    """
    from scx_vsched.runtime.probe import ProbeOptions, run_probe

    run_probe(
        ProbeOptions(
            watch_s=watch,
            duration_s=duration,
            vcpus=vcpus,
            as_json=as_json,
            output=output,
            explain=explain,
        )
    )
