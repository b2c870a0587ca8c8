"""Domains of a loaded scheduler of the mechanism `host`: names for cgroups, and what each may have.

The tables and programs are those of templates/host/maps.h.j2 and domains.h.j2. Number 0 is whatever
is in no other domain. Not for use by several threads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scx_vsched.bpf.loader import SchedulerObject
    from scx_vsched.bpf.model import ObjectMeta, SettingMeta

__all__ = ["HOST", "MAX_DOMAINS", "STATE_MAP", "Domain", "Domains", "check_domain_settings"]

HOST = "host"
"""The name of domain 0."""

MAX_DOMAINS = 1024
STATE_MAP = ".bss.domains"
_REQUEST = struct.Struct("=QII")  # struct domain_request
_FORMATS = {
    "u8": "=B", "u16": "=H", "u32": "=I", "u64": "=Q",
    "s8": "=b", "s16": "=h", "s32": "=i", "s64": "=q",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain: its number, the id of its cgroup (0 for domain 0), and its settings."""

    number: int
    name: str
    cgroup: int
    settings: dict[str, int] = field(default_factory=dict)


def check_domain_settings(meta: ObjectMeta, name: str, values: Mapping[str, int]) -> None:
    """Raise UserError for a setting that the policy's domains lack, or a value out of bounds."""
    known = {setting.name: setting for setting in meta.settings}
    for key, value in values.items():
        if key not in known:
            raise UserError(
                f"domain {name}: domains of {meta.policy} have no setting {key}",
                f"they have: {', '.join(known) or 'none'}",
            )
        found = known[key]
        if not found.min <= value <= found.max:
            unit = f" {found.unit}" if found.unit else ""
            raise UserError(
                f"domain {name}: {key} = {value}{unit} is out of range: "
                f"{found.min} to {found.max}{unit}",
                f"{key}: {found.doc}",
            )


class Domains:
    """The domains of one loaded scheduler, by name; domain 0 is there from the beginning."""

    def __init__(
        self,
        obj: SchedulerObject,
        meta: ObjectMeta,
        written: Callable[[int, Mapping[str, int]], None] = lambda _number, _settings: None,
    ) -> None:
        """To be called after the object was loaded. `written` is told what is set of which number,
        for hooks that are computed elsewhere.
        """
        self._written = written
        self._obj = obj
        self.meta = meta
        self._found: dict[str, Domain] = {}
        size = meta.domain_size * MAX_DOMAINS
        self._state = obj.map(STATE_MAP).shared(size) if size else None
        self._run("define", Domain(0, HOST, 0))
        self._found[HOST] = Domain(0, HOST, 0, {s.name: s.default for s in meta.settings})
        self._write(self._found[HOST])

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __getitem__(self, name: str) -> Domain:
        return self._found[name]

    def all(self) -> tuple[Domain, ...]:
        """All domains, by number."""
        return tuple(sorted(self._found.values(), key=lambda domain: domain.number))

    def define(self, name: str, cgroup: int, values: Mapping[str, int]) -> Domain:
        """The cgroup with this id becomes the domain `name`, with defaults for other settings.

        Raises UserError for bad settings, or where the policy does not admit it; then there is no
        such domain.
        """
        check_domain_settings(self.meta, name, values)
        taken = {domain.number for domain in self._found.values()}
        number = next(n for n in range(MAX_DOMAINS + 1) if n not in taken)
        if number >= MAX_DOMAINS:
            raise UserError(f"domain {name}: there are {MAX_DOMAINS} domains already")
        settings = {s.name: values.get(s.name, s.default) for s in self.meta.settings}
        domain = Domain(number, name, cgroup, settings)
        self._found[name] = domain
        try:
            self._run("define", domain)
            self._write(domain)
            self._admit(domain)
        except UserError:
            self.drop(name)
            raise
        self._run("enter", domain)
        return domain

    def change(self, name: str, values: Mapping[str, int]) -> Domain:
        """Change settings of the domain `name`, all or none; raises UserError as `define` does."""
        check_domain_settings(self.meta, name, values)
        before = self._found[name]
        domain = Domain(before.number, name, before.cgroup, {**before.settings, **values})
        self._write(domain)
        try:
            self._admit(domain)
        except UserError:
            self._write(before)
            raise
        self._found[name] = domain
        self._program("vsched_domain_changed")
        return domain

    def drop(self, name: str) -> None:
        """The domain `name` is none any more: what is in its cgroup counts as it did before."""
        domain = self._found.pop(name)
        self._run("drop", domain)

    def _admit(self, domain: Domain) -> None:
        self._request(domain)
        if self._program("vsched_admit_domain") != 1:
            asked = ", ".join(f"{key}={value}" for key, value in domain.settings.items())
            raise UserError(
                f"domain {domain.name}: {self.meta.policy} does not admit it with {asked}",
                "together with the other domains it asks for more than this machine's CPUs have",
            )

    def _run(self, what: str, domain: Domain) -> None:
        self._request(domain)
        result = self._program(f"vsched_{what}_domain")
        if result:
            raise BpfError(f"cannot {what} the domain {domain.name}", abs(result))

    def _request(self, domain: Domain) -> None:
        numbers = [found.number for found in self._found.values()] or [0]
        raw = _REQUEST.pack(domain.cgroup, domain.number, max(numbers) + 1)
        self._obj.map("domain_requests").write(0, raw)

    def _write(self, domain: Domain) -> None:
        for setting in self.meta.settings:
            self._write_one(domain.number, setting, domain.settings[setting.name])
        self._written(domain.number, domain.settings)

    def _write_one(self, number: int, setting: SettingMeta, value: int) -> None:
        if self._state is not None:
            at = number * self.meta.domain_size + setting.offset
            struct.pack_into(_FORMATS[setting.type], self._state, at, value)

    def _program(self, name: str) -> int:
        """Run a program of the object; its result as a signed number."""
        result = self._obj.program(name).test_run().retval
        return result - (1 << 32) if result & 1 << 31 else result
