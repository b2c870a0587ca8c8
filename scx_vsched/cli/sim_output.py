"""What the commands of `scx_vsched sim` write: steps before a failure, traces, pictures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.sim.run import Outcome

__all__ = ["FAILED", "TRACE_LIMIT", "draw_timeline", "stop_if_failed", "write", "write_trace"]

FAILED = 4  # exit status when an invariant did not hold
TRACE_LIMIT = 200_000  # steps kept for a trace or a picture
_TOLD = 40  # steps shown before a failure


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


def write_trace(path: Path, outcome: Outcome) -> None:
    """The trace for Perfetto or chrome://tracing."""
    from scx_vsched.sim.timeline import chrome_trace  # noqa: PLC0415

    trace = chrome_trace(outcome.trace, len(outcome.vcpus), outcome.now_ns)
    write(path, json.dumps(trace))


def draw_timeline(path: Path, outcome: Outcome, title: str, last_ms: float) -> None:
    """The last `last_ms` of the run as SVG."""
    from scx_vsched.sim.svg import timeline_svg  # noqa: PLC0415
    from scx_vsched.sim.timeline import timeline  # noqa: PLC0415

    end = outcome.now_ns
    spans = timeline(outcome.trace, len(outcome.vcpus), end)
    write(path, timeline_svg(spans.cut(end - round(last_ms * 1e6), end), title))
