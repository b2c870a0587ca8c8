"""`scx_vsched check`: is this file a policy?"""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.settings import BackendOption  # noqa: TC001 - typer evaluates annotations

if TYPE_CHECKING:
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy files.")],
    backend: BackendOption = "clang",
) -> None:
    """Check policy files for mistakes, without compiling and without running them.

    Prints every mistake with its line; ends with 1 if there is one. Warnings are about what is
    correct and yet hardly meant: sums that always overflow, shifts beyond the width. With
    `--backend pythonbpf` it says which hooks that would compile, and why not the others.
    """
    from scx_vsched.policy.compiler import compile_file  # noqa: PLC0415
    from scx_vsched.policy.diagnostics import PolicyError  # noqa: PLC0415

    bad = False
    for file in files:
        try:
            program = compile_file(file)
        except PolicyError as error:
            print(error.message, file=sys.stderr)
            bad = True
        else:
            for warning in program.warnings:
                print(f"warning: {warning}", file=sys.stderr)
            print(f"{file}: policy {program.name} on mechanism {program.mechanism.name}")
            if backend == "pythonbpf":
                _print_fit(program)
    if bad:
        raise typer.Exit(1)


def _print_fit(program: PolicyProgram) -> None:
    """Which hooks pythonbpf would compile, and why it would leave the others to clang."""
    from scx_vsched.backend.build import take  # noqa: PLC0415
    from scx_vsched.bpf.render import hooks_in_use  # noqa: PLC0415

    taken = take(program, hooks_in_use(program))
    print(f"  by pythonbpf: {', '.join(taken.functions) or 'none'}")
    for name, reason in taken.left.items():
        print(f"  by clang: {name}: it {reason}")
