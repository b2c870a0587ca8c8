"""`scx_vsched sim techniques`: what each technique is worth, as tables."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["techniques_command"]


def techniques_command(
    *,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds.")] = 3,
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, help="Simulated time measured, each.")
    ] = 8,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only the table of that title; repeatable.")
    ] = None,
) -> None:
    """Measure each technique alone, and all, on simulated machines: tables in Markdown.

    The default scheduler and the policy core stand beside them. Takes some minutes.
    """
    from scx_vsched.sim.techniques import Settings, markdown

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    print(markdown(Settings(seeds, seconds), only or (), say))
