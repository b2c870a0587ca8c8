"""What several subcommands ask of their arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AccelOption",
    "BackendOption",
    "NoProbeOption",
    "QuietOption",
    "SocketOption",
    "TopologyOption",
    "complete_policy",
    "parse_settings",
]

BackendOption = Annotated[
    Literal["clang", "pythonbpf"],
    typer.Option("--backend", help="What compiles the hooks; clang those that pythonbpf cannot."),
]
SocketOption = Annotated[
    Path | None,
    typer.Option(
        "--socket",
        metavar="PATH",
        show_default="/var/run/scx/root/stats",
        help="The running scheduler's socket.",
    ),
]
AccelOption = Annotated[
    str | None,
    typer.Option(
        "--accel", metavar="kvm|tcg", help="Force an accelerator; otherwise decided by trial."
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
NoProbeOption = Annotated[
    bool,
    typer.Option("--no-probe", help="Measure no vCPU: take what the machine claims on trust."),
]
TopologyOption = Annotated[
    Path | None,
    typer.Option(
        "--topology",
        metavar="FILE",
        help="Measure no vCPU: take a document of `scx_vsched probe` on trust.",
    ),
]


def parse_settings(settings: Iterable[str], option: str = "--set ") -> dict[str, int]:
    """Tunables given as NAME=VALUE after `option`; raises UserError for anything else."""
    values = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name.strip()] = int(value, 0)
        except ValueError:
            raise UserError(
                f"{option}{setting}: not NAME=INTEGER", f"for example: {option}slice_us=3000"
            ) from None
    return values


def complete_policy(incomplete: str) -> list[str]:
    """Policies with a name of their own that begin with what was typed, for the shell."""
    from scx_vsched.policies import (  # noqa: PLC0415
        builtin_policies,
        gallery_policies,
        xen_policies,
    )

    known = [*builtin_policies(), *gallery_policies(), *xen_policies()]
    return [name for name in known if name.startswith(incomplete)]
