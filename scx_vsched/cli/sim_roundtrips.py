"""`scx_vsched sim roundtrips`: how long domains wait for each other under Xen's schedulers."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import Annotated

import typer

__all__ = ["roundtrips_command"]


def roundtrips_command(
    *,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="Simulated time, each.")
    ] = 30,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Everything random follows from it.")
    ] = 1,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Draw the tails: SVG or PNG.")
    ] = None,
) -> None:
    """Round trips between two domains while a third is busy: a table in Markdown."""
    from scx_vsched.sim.roundtrips import LOADS, VARIANTS, draw, markdown, measure

    found = [measure(variant, load, seconds, seed) for load in LOADS for variant in VARIANTS]
    print(markdown(found))
    if picture:
        draw(found, picture)
