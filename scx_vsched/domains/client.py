"""Asks the running scheduler of a host for its domains, and changes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.domains import Domain
from scx_vsched.bpf.model import SettingMeta
from scx_vsched.errors import UserError
from scx_vsched.runtime.socket import SOCKET_PATH, StatsClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Listed", "list_domains", "remove_domain", "set_domain"]


@dataclass(frozen=True, slots=True)
class Listed:
    """The domains of a scheduler at work, and what can be set of each."""

    settings: tuple[SettingMeta, ...]
    domains: tuple[Domain, ...]


def list_domains(path: Path = SOCKET_PATH) -> Listed:
    """All domains; raises UserError where no scheduler of a host is at work."""
    return _ask(path, "domains", {})


def set_domain(name: str, values: Mapping[str, int], path: Path = SOCKET_PATH) -> Listed:
    """Change a domain, or make a cgroup one; raises UserError."""
    return _ask(path, "domain_set", {"name": name, "values": dict(values)})


def remove_domain(name: str, path: Path = SOCKET_PATH) -> Listed:
    """Make a domain an ordinary cgroup again; raises UserError."""
    return _ask(path, "domain_remove", {"name": name})


def _ask(path: Path, what: str, arguments: Mapping[str, Any]) -> Listed:
    with StatsClient(path) as client:
        try:
            answer = client.request(what, arguments)
        except EOFError:
            raise UserError("the scheduler ended meanwhile") from None
        except UserError as error:
            if "unknown command" in error.message:
                raise UserError(
                    "the scheduler at work has no domains",
                    "start one of a host: scx_vsched run --policy credit2 --domains FILE",
                ) from None
            raise
    try:
        return Listed(
            tuple(SettingMeta(**setting) for setting in answer["settings"]),
            tuple(Domain(**domain) for domain in answer["domains"]),
        )
    except (TypeError, KeyError):
        raise UserError(f"the scheduler on {path} answers in another way") from None
