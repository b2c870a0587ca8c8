"""`scx_vsched vm costs`: a table of what policies cost."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

from scx_vsched.cli.settings import AccelOption, QuietOption  # noqa: TC001 - likewise

__all__ = ["costs_command"]


def costs_command(
    *,
    kernels: Annotated[
        str,
        typer.Option("--kernels", "-k", metavar="LIST", help="Kernels, with commas between them."),
    ] = "newest",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            "-p",
            show_default="the gallery's and Xen's",
            help="Policy by name, or a file (repeatable).",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="Length of one measurement.")
    ] = 6.0,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the report to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    accel: AccelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure what the operations of policies cost, beside those of `core`.

    Fails when an enqueue and a dispatch cost more than twice those of `core`.
    """
    from scx_vsched.policies import gallery_policies, xen_policies
    from scx_vsched.vm.costs import LIMIT, as_markdown, costs
    from scx_vsched.vm.kernels import find_kernels, select
    from scx_vsched.vm.progress import step

    chosen = [select(find_kernels(), spec) for spec in kernels.split(",")]
    names = policy or [*gallery_policies(), *xen_policies()]
    with step("Measuring", quiet) as say:
        reports = [
            costs(kernel, names, seconds=seconds, accelerator=accel, say=say) for kernel in chosen
        ]
    text = as_markdown(reports)
    if markdown is not None:
        markdown.write_text(text)
    print(json.dumps([asdict(each) for each in reports], indent=2) if as_json else text.rstrip())
    dear = [
        f"{cost.policy} on {report.where} costs {report.times(cost):.2f} times as much as core"
        for report in reports
        for cost in report.policies
        if report.times(cost) > LIMIT
    ]
    for line in dear:
        typer.echo(line, err=True)
    raise typer.Exit(1 if dear else 0)
