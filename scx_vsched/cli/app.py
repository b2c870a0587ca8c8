"""The command line as typer sees it: one module per subcommand, imported when it is used."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from scx_vsched.cli.groups import Group

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app"]

_COMMANDS = (
    *("run", "monitor", "tune", "domain", "numa", "new", "check", "build", "inspect", "policies"),
    *("probe", "topology", "sim", "cluster", "vm", "lab"),
)
_GROUPS = frozenset(
    {"domain", "numa", "topology", "sim", "cluster", "vm", "lab"}
)  # those with subcommands of their own


class _LazyGroup(Group):
    """Imports a subcommand's module when it is asked for: `run` in a slow guest needs no other."""

    _listing = False  # the help wants a line of each, not its options

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As ever, without making commands out of the subcommands."""
        self._listing = True
        super().format_help(ctx, formatter)
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The subcommands in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The subcommand, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"scx_vsched.cli.{cmd_name}")
        if self._listing:
            return TyperCommand(cmd_name, help=_help_of(module.app))
        convert: Callable[[typer.Typer], Any] = (
            typer.main.get_group if cmd_name in _GROUPS else typer.main.get_command
        )
        command = convert(module.app)
        command.name = cmd_name
        return command


def _help_of(subcommand: typer.Typer) -> str:
    """What typer would show: a group's own words, a command's docstring."""
    if isinstance(subcommand.info.help, str):
        return subcommand.info.help
    return inspect.getdoc(subcommand.registered_commands[0].callback) or ""


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
