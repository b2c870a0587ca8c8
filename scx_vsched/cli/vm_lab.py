"""The lab's part of `scx_vsched vm`: profiles of vCPUs, and how well probers see them."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.settings import AccelOption, QuietOption  # noqa: TC001 - likewise

if TYPE_CHECKING:
    from scx_vsched.vm.run import RunResult

__all__ = ["accuracy_command", "print_truth", "profiles_command"]


def print_truth(result: RunResult, as_json: bool) -> None:
    """What the host gave each vCPU of a shaped VM; asked for, and hence never quiet."""
    if result.truth is None:
        return
    from scx_vsched.vm.lab.report import as_data, as_lines

    if as_json:
        data = {"exit_code": result.exit_code, "where": result.outcome.where}
        print(json.dumps(data | as_data(result.truth), indent=2))
    else:
        print("\n".join(as_lines(result.truth)), file=sys.stderr)


def profiles_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the built-in profiles of vCPUs for `vm run --profile`."""
    from scx_vsched.vm.lab.profile import builtin_profiles, load_profile

    found = {name: load_profile(name) for name in builtin_profiles()}
    if as_json:
        print(json.dumps({name: asdict(profile) for name, profile in found.items()}, indent=2))
        return
    for name, profile in found.items():
        print(f"{name:<15} {len(profile.shapes):>3} vCPUs  {profile.description}")


class Part(StrEnum):
    """Parts of the measurement, each a VM of its own but for the last."""

    BUSY = "busy"
    IDLE = "idle"
    STACKS = "stacks"
    OVERHEAD = "overhead"
    HERE = "here"


def _check_writable(path: Path | None) -> None:
    """Refuse at once what would fail after minutes of measuring."""
    from scx_vsched.errors import UserError

    if path is not None and (path.is_dir() or not os.access(path.resolve().parent, os.W_OK)):
        raise UserError(f"cannot write {path}", "name a file in a directory that exists")


def accuracy_command(
    *,
    kernel: Annotated[
        str,
        typer.Option("--kernel", "-k", metavar="KERNEL", help="Series, release, path or newest."),
    ] = "newest",
    part: Annotated[
        list[Part] | None,
        typer.Option("--part", help="Only this part (repeatable)."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, help="How long to probe under each pattern.")
    ] = 8,
    probes: Annotated[
        int, typer.Option("--probes", min=1, help="Probes of each stacked topology.")
    ] = 10,
    unstacked_probes: Annotated[
        int, typer.Option("--unstacked-probes", min=1, help="Probes where nothing is stacked.")
    ] = 50,
    overhead_seconds: Annotated[
        float,
        typer.Option("--overhead-seconds", min=1, help="How long each measurement of overhead."),
    ] = 60,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Put the tables between this page's marks."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw estimates over truth (.svg, .png).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the JSON to this file.")
    ] = None,
    again: Annotated[
        Path | None,
        typer.Option("--from", help="Add to what was measured before: a file of --output."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    accel: AccelOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare what probers say of shaped vCPUs with what the host gave them.

    Takes about fifteen minutes, four VMs, root, and a host that has little else to do. The part
    `here` is what probers cost on this machine itself.
    """
    from scx_vsched.vm.kernels import find_kernels, select
    from scx_vsched.vm.lab import accuracy, accuracy_plot, accuracy_records, accuracy_report
    from scx_vsched.vm.progress import step

    before = accuracy_records.load(again) if again else None
    for path in (output, plot, markdown):
        _check_writable(path)
    with step("Measuring", quiet) as say:
        measurement = accuracy.Measurement(select(find_kernels(), kernel), accel, say)
        for each in Part if part is None else part:
            if each is Part.STACKS:
                measurement.stacks(probes, unstacked_probes)
            elif each is Part.OVERHEAD:
                measurement.overheads(overhead_seconds)
            elif each is Part.HERE:
                measurement.overheads_here(overhead_seconds)
            else:
                measurement.shares(each is Part.BUSY, seconds)
            found = measurement.result if before is None else before.joined(measurement.result)
            if output is not None:  # after each part: the next one takes minutes and may fail
                output.write_text(json.dumps(found.as_data(), indent=1) + "\n")
    if plot is not None:
        accuracy_plot.draw(found, plot)
    link = ""
    if plot is not None and markdown is not None:
        link = str(plot.resolve().relative_to(markdown.resolve().parent, walk_up=True))
    section = accuracy_report.as_markdown(found, link)
    if markdown is not None:
        page = markdown.read_text() if markdown.exists() else ""
        markdown.write_text(accuracy_report.insert(page, section))
    print(json.dumps(found.as_data(), indent=1) if as_json else section)
    raise typer.Exit(0 if accuracy_report.reached(found) else 1)
