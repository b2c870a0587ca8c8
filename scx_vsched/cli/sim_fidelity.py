"""`scx_vsched sim fidelity`: the simulator beside recorded measurements in VMs."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

__all__ = ["fidelity_command"]


def fidelity_command(
    *,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            "--record",
            metavar="FILE",
            help="Take over what a VM printed, of the profile that names the file (repeatable).",
        ),
    ] = None,
) -> None:
    """Simulate what was measured in VMs, and print both as a table in Markdown."""
    from scx_vsched.sim.fidelity import compare_with_vms, markdown, measured, met, record
    from scx_vsched.sim.profile import read_text

    for path in recorded or ():
        record(path.stem, read_text(str(path)))
    pairs = measured()
    rows = list(compare_with_vms(pairs))
    print("\n".join(markdown(rows)))
    print(f"\n{len(met(rows))} of {len(pairs)} pairs are met with certainty.")
