"""How a command with subcommands lists them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["Group"]


class Group(TyperGroup):
    """Tells of each subcommand in a whole sentence, over several lines where it needs them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The section "Commands" of the help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        lines = [(name, command) for name, command in found if command and not command.hidden]
        if not lines:
            return
        rows = [(name, command.get_short_help_str(10**6)) for name, command in lines]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
