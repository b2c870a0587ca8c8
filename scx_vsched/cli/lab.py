"""`scx_vsched lab`: schedulers side by side in shaped VMs, and reports of it."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.groups import Group
from scx_vsched.cli.settings import AccelOption, QuietOption  # noqa: TC001 - likewise

if TYPE_CHECKING:
    from scx_vsched.lab.document import Document

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    help="Compare schedulers in VMs whose vCPUs the host shapes.",
)

_Markdown = Annotated[
    Path | None, typer.Option("--markdown", metavar="FILE", help="Write the report to this file.")
]
_Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Write the report with its plots: one page, no other file."
    ),
]


def _check_writable(*paths: Path | None) -> None:
    """Refuse at once what would fail after minutes of measuring."""
    from scx_vsched.errors import UserError

    for path in paths:
        if path is not None and (path.is_dir() or not os.access(path.resolve().parent, os.W_OK)):
            raise UserError(f"cannot write {path}", "name a file in a directory that exists")


def _write(document: Document, markdown: Path | None, html: Path | None) -> None:
    from scx_vsched.lab.report import as_markdown

    if markdown is not None:
        markdown.write_text(as_markdown(document), encoding="utf-8")
    if html is not None:
        from scx_vsched.lab.page import as_html

        html.write_text(as_html(document), encoding="utf-8")


@app.command("run")
def run_command(
    *,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            metavar="NAME|FILE",
            show_default="rcvm",
            help="Profile of vCPUs (repeatable; see `vm profiles`).",
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="Profiles with workloads that suit them: bounds, programs."),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option("--workload", "-w", metavar="NAME", help="Workload (repeatable)."),
    ] = None,
    scheduler: Annotated[
        list[str] | None,
        typer.Option(
            "--scheduler",
            "-s",
            metavar="NAME",
            help="core, bvs, ivh, rwc or all (repeatable), beside the default.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each.")] = 5,
    turn: Annotated[
        int,
        typer.Option(
            "--turn",
            min=1,
            help="Rounds of a scheduler before the next one's turn: fewer changes take less time.",
        ),
    ] = 1,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="Length of one measurement.")
    ] = 3.0,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Short measurements and no timelines: whether it works."),
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Trace for timelines, too.")
    ] = True,
    kernel: Annotated[
        str,
        typer.Option("--kernel", "-k", metavar="KERNEL", help="Series, release, path or newest."),
    ] = "newest",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep the JSON here, as it comes."),
    ] = None,
    markdown: _Markdown = None,
    html: _Html = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SEC",
            min=1,
            help="Stop each VM after this long.",
            show_default="twice what it should take",
        ),
    ] = None,
    accel: AccelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure schedulers in turn, in one boot of each profile.

    Ends with 1 when a profile could not be completed; what was measured is kept and marked.
    """
    from scx_vsched.lab.document import as_data, save
    from scx_vsched.lab.report import as_markdown
    from scx_vsched.lab.run import run_lab
    from scx_vsched.lab.suites import entries
    from scx_vsched.lab.tasks import Settings, estimate_s, prepare
    from scx_vsched.vm.kernels import find_kernels, select
    from scx_vsched.vm.progress import lines, step

    _check_writable(output, markdown, html)
    settings = Settings(
        rounds=rounds,
        turn=turn,
        seconds=min(seconds, 1.0) if quick else seconds,
        warmup=0.2 if quick else 0.5,
        learn_s=2.0 if quick else 6.0,
        timeout_s=timeout,
        accelerator=accel,
    )
    wanted = entries(suite, profile or (), workload or (), scheduler or (), pictures and not quick)
    tasks, document = prepare(wanted, settings)
    document = replace(document, command=shlex.join(["scx_vsched", *sys.argv[1:]]))
    note = lines(quiet)
    for name, program, command in document.missing:
        note(f"{name} is skipped: {program} is not installed ({command})")
    for text in dict.fromkeys(task.plan.note for task in tasks if task.plan.note):
        note(text)

    def keep(found: Document) -> None:
        if output is not None:
            save(found, output)

    minutes = sum(estimate_s(task, settings) for task in tasks) / 60
    with step(f"Measuring, about {minutes:.0f} minutes", quiet) as say:
        document = run_lab(
            select(find_kernels(), kernel), tasks, document, settings, keep=keep, say=say
        )
    _write(document, markdown, html)
    print(json.dumps(as_data(document)) if as_json else as_markdown(document), end="")
    raise typer.Exit(1 if any(found.error for found in document.profiles) else 0)


@app.command("report")
def report_command(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A file of `lab run -o`.")],
    markdown: _Markdown = None,
    html: _Html = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="DIR", help="Write each picture there, as an SVG file."),
    ] = None,
) -> None:
    """Make a report of a run: Markdown on standard output, or files."""
    from scx_vsched.errors import UserError
    from scx_vsched.lab.document import load
    from scx_vsched.lab.page import plots_of
    from scx_vsched.lab.report import as_markdown

    if plots is not None and not plots.is_dir():
        raise UserError(f"{plots} is no directory", f"make it: mkdir {plots}")
    _check_writable(markdown, html)
    document = load(result)
    _write(document, markdown, html)
    if plots is not None:
        for plot in plots_of(document):
            (plots / plot.file_name).write_text(plot.svg, encoding="utf-8")
    if markdown is None and html is None and plots is None:
        print(as_markdown(document), end="")


@app.command("compare")
def compare_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="A file of `lab run -o`.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    every: Annotated[
        bool, typer.Option("--all", help="Show measures that do not differ clearly, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show how the second run differs from the first, measure by measure."""
    from scx_vsched.lab.compare import as_markdown, compare
    from scx_vsched.lab.document import load

    found = compare(load(first), load(second))
    if as_json:
        rows = [
            {
                "profile": each.profile,
                "workload": each.first.workload,
                "measure": each.first.measure,
                "unit": each.first.unit,
                "scheduler": each.first.scheduler,
                "first": each.first.median,
                "second": each.second.median,
                "times_better": each.times,
                "clear": each.clear,
            }
            for each in found
        ]
        print(json.dumps(rows, indent=2))
        return
    print(as_markdown(found, every), end="")
