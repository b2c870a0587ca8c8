"""`scx_vsched new`: files to begin a policy with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="In lower case: my_policy.")],
    directory: Annotated[
        Path | None,
        typer.Option("--directory", "-C", metavar="DIR", show_default=".", help="Where to."),
    ] = None,
) -> None:
    """Write a commented policy to start from, and its test.

    Both work as they are: check, test, simulate, build or run the policy, then change it.
    """
    from scx_vsched.policy.starter import write_starter  # noqa: PLC0415

    policy, test = write_starter(name, directory or Path())
    print(f"{policy}: a policy; `scx_vsched check {policy}` says what is wrong with it")
    print(f"{test}: its test; `python -m pytest {test}` runs it")
