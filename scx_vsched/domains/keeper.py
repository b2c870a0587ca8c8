"""Keeps a running scheduler's domains as the user wants them, while cgroups come and go."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.domains import HOST, check_domain_settings
from scx_vsched.domains.cgroups import ROOT, expand, find
from scx_vsched.domains.config import DomainFile, check_name
from scx_vsched.errors import UserError
from scx_vsched.runtime.display import notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from scx_vsched.bpf.domains import Domains
    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.runtime.socket import Command

__all__ = ["Keeper"]


@dataclass(slots=True)
class _Told:
    """What was said already: cgroups that are missing, and domains that were refused, by id."""

    missing: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)


class Keeper:
    """What the user wants of domains, from a file and from commands; one thread or several.

    It outlives the scheduler, which the kernel may have loaded anew.
    """

    def __init__(
        self,
        meta: ObjectMeta,
        wanted: DomainFile,
        *,
        root: Path = ROOT,
        say: Callable[[str], None] = notice,
    ) -> None:
        self._meta = meta
        self._rules = {pattern: dict(values) for pattern, values in wanted.rules.items()}
        self._host = dict(wanted.host)
        self._root = root
        self._say = say
        self._lock = threading.Lock()
        self._domains: Domains | None = None
        self._told = _Told()

    @contextlib.contextmanager
    def following(self, domains: Domains) -> Iterator[None]:
        """Keep these domains for the length of the block.

        Raises UserError where the policy does not admit what the user wants.
        """
        with self._lock:
            if self._host:
                domains.change(HOST, self._host)
            for name, number in self._found().items():
                domains.define(name, number, self._settings(name))
            self._domains = domains
        try:
            yield
        finally:
            with self._lock:
                self._domains = None

    def sync(self) -> None:
        """Drop domains whose cgroup is gone, and define those whose cgroup has appeared."""
        with self._lock:
            domains = self._domains
            if domains is None:
                return
            found = self._found()
            for domain in domains.all():
                if domain.number and found.get(domain.name) != domain.cgroup:
                    domains.drop(domain.name)
                    self._say(f"domain {domain.name} is gone: its cgroup was removed")
            for name, number in found.items():
                if name in domains or self._told.refused.get(name) == number:
                    continue
                try:
                    domains.define(name, number, self._settings(name))
                    self._say(f"domain {name} is there")
                except UserError as error:
                    self._told.refused[name] = number
                    self._say(f"warning: {error.message}; its tasks count in domain {HOST}")

    def listed(self) -> list[dict[str, Any]]:
        """All domains, by number."""
        with self._lock:
            return [dataclasses.asdict(domain) for domain in self._at_work().all()]

    def set(self, name: str, values: Mapping[str, int]) -> None:
        """Change a domain, or make the cgroup of that name one; raises UserError."""
        with self._lock:
            domains = self._at_work()
            if name == HOST:
                domains.change(HOST, values)
                self._host |= values
                return
            name = check_name(name)
            check_domain_settings(self._meta, name, values)
            number = find(name, self._root)
            if name in domains and domains[name].cgroup == number:
                domains.change(name, values)
            else:
                if name in domains:
                    domains.drop(name)
                domains.define(name, number, {**self._settings(name), **values})
            self._rules[name] = {**self._rules.get(name, {}), **values}

    def remove(self, name: str) -> None:
        """The cgroup is no domain any more; raises UserError."""
        with self._lock:
            domains = self._at_work()
            if name == HOST or name not in domains:
                known = ", ".join(d.name for d in domains.all() if d.number) or "none"
                raise UserError(f"there is no domain {name} to remove", f"there are: {known}")
            covering = [rule for rule in self._rules if rule != name and name in self._expand(rule)]
            if covering:
                raise UserError(
                    f"domain {name} comes from the pattern {covering[0]}", "change the file"
                )
            self._rules.pop(name, None)
            domains.drop(name)

    def commands(self) -> dict[str, Command]:
        """What the scheduler's socket answers."""

        def listed(_: Mapping[str, Any]) -> dict[str, Any]:
            settings = [dataclasses.asdict(setting) for setting in self._meta.settings]
            return {"settings": settings, "domains": self.listed()}

        def changed(arguments: Mapping[str, Any]) -> dict[str, Any]:
            values = arguments.get("values") or {}
            if not isinstance(values, dict) or not all(
                isinstance(v, int) and not isinstance(v, bool) for v in values.values()
            ):
                raise UserError("settings are integers")
            self.set(str(arguments.get("name", "")), values)
            return listed({})

        def removed(arguments: Mapping[str, Any]) -> dict[str, Any]:
            self.remove(str(arguments.get("name", "")))
            return listed({})

        return {"domains": listed, "domain_set": changed, "domain_remove": removed}

    def _at_work(self) -> Domains:
        if self._domains is None:
            raise UserError("no scheduler is at work just now", "try again in a moment")
        return self._domains

    def _expand(self, pattern: str) -> dict[str, int]:
        return expand(pattern, self._root)

    def _found(self) -> dict[str, int]:
        """The cgroups that are wanted and there, with their ids; says once which are not."""
        found: dict[str, int] = {}
        for pattern in self._rules:
            matches = self._expand(pattern)
            found |= matches
            if matches:
                self._told.missing.discard(pattern)
            elif pattern not in self._told.missing:
                self._told.missing.add(pattern)
                try:
                    find(pattern, self._root)
                except UserError as error:
                    self._say(f"warning: {error.message}; {pattern} is a domain once it is there")
        return found

    def _settings(self, name: str) -> dict[str, int]:
        """What the rules say of a cgroup, the later ones last."""
        values: dict[str, int] = {}
        for pattern, settings in self._rules.items():
            if name == pattern or name in self._expand(pattern):
                values |= settings
        return values
