"""Reads a file of domains: TOML with a table for each cgroup, by its path below the root.

[host]                           # domain 0: whatever is in no other domain
weight = 512

[domain."machine.slice/*"]       # each of them a domain of its own
weight = 256

[domain."machine.slice/db.scope"]
cap = 150
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.domains import HOST, check_domain_settings
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scx_vsched.bpf.model import ObjectMeta

__all__ = ["DomainFile", "check_name", "read_domains"]


@dataclass(frozen=True, slots=True)
class DomainFile:
    """Settings by the cgroup's path or a pattern of paths, in the file's order, and domain 0's."""

    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    host: dict[str, int] = field(default_factory=dict)


def check_name(name: str) -> str:
    """`name` as a path below the cgroups' root; raises UserError for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part]
    if not parts or "\0" in name or {".", ".."} & set(parts):
        raise UserError(
            f"{name!r} is no path of a cgroup", "write it as below /sys/fs/cgroup, for example vm1"
        )
    return "/".join(parts)


def read_domains(path: Path, meta: ObjectMeta) -> DomainFile:
    """The domains in the file `path`, for the policy that `meta` describes.

    Raises UserError for whatever is wrong in it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    if unknown := set(raw) - {"host", "domain"}:
        raise UserError(
            f"{path}: unknown table {sorted(unknown)[0]!r}", 'there are [host] and [domain."PATH"]'
        )
    tables = raw.get("domain", {})
    if not isinstance(tables, dict):
        raise UserError(f"{path}: `domain` is no table", 'write [domain."vm1"]')
    try:
        rules = {check_name(name): _settings(meta, name, table) for name, table in tables.items()}
        return DomainFile(rules, _settings(meta, HOST, raw.get("host", {})))
    except UserError as error:
        raise UserError(f"{path}: {error.message}", error.hint) from None


def _settings(meta: ObjectMeta, name: str, table: Any) -> dict[str, int]:
    if not isinstance(table, dict):
        raise UserError(f"{name} is no table of settings", f'write [domain."{name}"] above them')
    values: Mapping[str, Any] = {
        key: int(value) if isinstance(value, bool) else value for key, value in table.items()
    }
    for key, value in values.items():
        if not isinstance(value, int):
            raise UserError(
                f"domain {name}: {key} = {value!r} is not an integer",
                f'a path with a "/" or "." stands in quotes: [domain."{name}/{key}"]'
                if isinstance(value, dict)
                else "",
            )
    check_domain_settings(meta, name, values)
    return dict(values)
