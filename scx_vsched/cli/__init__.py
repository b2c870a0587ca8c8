"""The `scx_vsched` command: one module per subcommand, imported when it is used.

A `UserError` ends a command with one message and its exit code; usage errors end with 2, an
interrupt with 130. Anything else that escapes is a defect and shows a traceback.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "main"]

_COMMANDS = ("run", "build", "check", "inspect", "policies", "vm")


class _LazyGroup(TyperGroup):
    """Imports a subcommand's module when it is asked for: `run` in a slow guest needs no other."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The subcommands in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The subcommand, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"scx_vsched.cli.{cmd_name}")
        convert: Callable[[typer.Typer], Any] = (
            typer.main.get_group if cmd_name == "vm" else typer.main.get_command
        )
        command = convert(module.app)
        command.name = cmd_name
        return command


def _version(wanted: bool) -> None:
    if wanted:
        from scx_vsched.version import VERSION  # noqa: PLC0415

        print(f"scx_vsched {VERSION}")
        raise typer.Exit


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="CPU schedulers for virtual machines, generated from Python policies.",
)


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line and end the process with its exit status."""
    try:
        app(prog_name="scx_vsched")
    except UserError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
