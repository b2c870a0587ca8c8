"""What the commands of `scx_vsched sim` write: steps before a failure, traces, pictures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from scx_vsched.sim.run import Outcome

__all__ = [
    "FAILED",
    "TRACE_LIMIT",
    "PictureMs",
    "PicturePath",
    "Progress",
    "Sanitize",
    "TracePath",
    "show",
    "stop_if_failed",
    "write",
]

FAILED = 4  # exit status when an invariant did not hold
TRACE_LIMIT = 200_000  # steps kept for a trace or a picture
_TOLD = 40  # steps shown before a failure
_TELL_EVERY_S = 2.0

# Options of the commands that run something.
TracePath = Annotated[
    Path | None,
    typer.Option("--trace", metavar="FILE", help="Write a trace for Perfetto (its end)."),
]
PicturePath = Annotated[
    Path | None, typer.Option("--timeline", metavar="FILE", help="Draw the end as SVG.")
]
PictureMs = Annotated[
    float, typer.Option("--timeline-ms", min=0.01, max=1e7, help="How much of the end to draw.")
]
Sanitize = Annotated[
    bool,
    typer.Option(
        "--sanitize",
        help="Fail at undefined behaviour and at accesses beyond what was allocated, too.",
    ),
]


class Progress:
    """Says on a terminal every two seconds how many of how many `what` are done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and now - self._told > _TELL_EVERY_S:
            self._told = now
            typer.echo(f"{done:,} of {of:,} {self._what}", err=True)


def stop_if_failed(outcome: Outcome) -> None:
    """Tells of the invariant that did not hold and the steps up to it, and ends the command."""
    failure = outcome.failure
    if not failure:
        return
    for record in outcome.trace[-_TOLD:]:
        vcpu = "" if record.vcpu is None else f" vCPU {record.vcpu}"
        pid = "" if record.pid is None else f" task {record.pid}"
        text = f"{record.at_ns:>14} {record.kind:<11}{vcpu}{pid} ({record.why or record.detail})"
        typer.echo(text, err=True)
    typer.echo(f"{failure.at_ns:>14} {failure.name}: {failure.message}", err=True)
    raise typer.Exit(FAILED)


def write(path: Path, text: str) -> None:
    """Writes a file; UserError where that is not possible."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def show(
    outcome: Outcome, title: str, trace: Path | None, picture: Path | None, last_ms: float
) -> None:
    """Writes the trace for Perfetto or chrome://tracing, and draws the last `last_ms` as SVG."""
    from scx_vsched.sim.timeline import chrome_trace, timeline  # noqa: PLC0415

    vcpus, end = len(outcome.vcpus), outcome.now_ns
    if trace:
        write(trace, json.dumps(chrome_trace(outcome.trace, vcpus, end)))
    if picture:
        from scx_vsched.sim.svg import timeline_svg  # noqa: PLC0415

        spans = timeline(outcome.trace, vcpus, end)
        write(picture, timeline_svg(spans.cut(end - round(last_ms * 1e6), end), title))
