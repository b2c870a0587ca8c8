"""`scx_vsched domain`: the domains of the running scheduler, in the spirit of Xen's `xl`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.groups import Group
from scx_vsched.cli.settings import SocketOption, parse_settings
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.domains.client import Listed

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    help="Show and change the domains (VMs) that the running scheduler of a host knows.",
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Name = Annotated[
    str, typer.Argument(metavar="NAME", help="A cgroup's path below the root, or `host`.")
]


@app.command("list")
def list_command(*, as_json: _Json = False, socket: SocketOption = None) -> None:
    """List the domains with their settings."""
    from scx_vsched.domains.client import list_domains  # noqa: PLC0415

    _show(list_domains(_path(socket)), as_json)


@app.command("set")
def set_command(
    *,
    name: _Name,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE...", help="Its new settings.")
    ] = None,
    as_json: _Json = False,
    socket: SocketOption = None,
) -> None:
    """Change a domain's settings, in force at once; a cgroup that is no domain becomes one.

    All are changed, or none where one is out of bounds or the policy does not admit them.
    """
    from scx_vsched.domains.client import set_domain  # noqa: PLC0415

    values = parse_settings(settings or (), option="")
    found = set_domain(name, values, _path(socket))
    _show(dataclasses.replace(found, domains=tuple(d for d in found.domains if d.name == name)),
          as_json)  # fmt: skip


@app.command("remove")
def remove_command(*, name: _Name, as_json: _Json = False, socket: SocketOption = None) -> None:
    """A domain becomes an ordinary cgroup again: its tasks count where they did before."""
    from scx_vsched.domains.client import remove_domain  # noqa: PLC0415

    _show(remove_domain(name, _path(socket)), as_json)


def _path(socket: Path | None) -> Path:
    from scx_vsched.runtime.socket import SOCKET_PATH  # noqa: PLC0415

    return socket or SOCKET_PATH


def _show(found: Listed, as_json: bool) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(domain) for domain in found.domains], indent=2))
        return
    if not found.domains:
        raise UserError("there is no such domain any more")
    heads = [
        "domain",
        "id",
        *(f"{s.name} [{s.unit}]" if s.unit else s.name for s in found.settings),
    ]
    rows = [
        [d.name, str(d.number), *(str(d.settings[s.name]) for s in found.settings)]
        for d in found.domains
    ]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    for row in [heads, *rows]:
        first, *rest = (cell.ljust(w) if i == 0 else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        print("  ".join([first, *rest]).rstrip())
