"""Which tasks are fixed, which move, which nobody looks at: a TOML file, or the defaults.

fixed_below_nice = 0              # nicer than that moves (the default)

[[rule]]                          # the first rule that fits decides
comm = "memcached"                # shell patterns; every key that is there must fit
cgroup = "latency.slice/*"
then = "fixed"

[[rule]]
uid = 1000
nice = [10, 19]                   # from, to
then = "moves"

What no rule names is fixed if its nice value is below `fixed_below_nice` or it has a real-time
class, for then somebody cares about its latency; all else moves.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scx_vsched.numa.processes import Process

__all__ = ["Rule", "Rules", "Verdict", "read_rules"]

_KEYS = ("comm", "cgroup", "uid", "nice", "then")
_NICEST, _RUDEST = 19, -20


class Verdict(StrEnum):
    """What may be done with a process."""

    FIXED = "fixed"
    MOVES = "moves"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits a process when everything that is not None does; `nice` is from, to."""

    then: Verdict
    comm: str | None = None
    cgroup: str | None = None
    uid: int | None = None
    nice: tuple[int, int] | None = None

    def fits(self, process: Process) -> bool:
        """Whether this rule speaks of `process`."""
        return (
            (self.comm is None or fnmatchcase(process.comm, self.comm))
            and (self.cgroup is None or _within(process.cgroup, self.cgroup))
            and (self.uid is None or process.uid == self.uid)
            and (self.nice is None or self.nice[0] <= process.nice <= self.nice[1])
        )


def _within(cgroup: str, pattern: str) -> bool:
    """Whether `pattern` names the cgroup or one above it."""
    parts = cgroup.split("/")
    return any(
        fnmatchcase("/".join(parts[: depth + 1]), pattern.strip("/")) for depth in range(len(parts))
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules in their order, and what holds where none fits."""

    rules: tuple[Rule, ...] = ()
    fixed_below_nice: int = 0

    def judge(self, process: Process) -> tuple[Verdict, str]:
        """The verdict, and why in a few words."""
        for number, rule in enumerate(self.rules, start=1):
            if rule.fits(process):
                return rule.then, f"rule {number}"
        if process.real_time:
            return Verdict.FIXED, "real-time class"
        if process.nice < self.fixed_below_nice:
            return Verdict.FIXED, f"nice {process.nice}"
        return Verdict.MOVES, ""


def read_rules(path: Path) -> Rules:
    """The rules in the file `path`; raises UserError for whatever is wrong in it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    try:
        if unknown := sorted(set(raw) - {"fixed_below_nice", "rule"}):
            raise UserError(
                f"unknown key {unknown[0]!r}", "there are fixed_below_nice and [[rule]]"
            )
        tables = raw.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise UserError("`rule` is no list of tables", "write [[rule]] above each")
        below = raw.get("fixed_below_nice", 0)
        _check_nice("fixed_below_nice", below)
        return Rules(tuple(_rule(n, table) for n, table in enumerate(tables, start=1)), below)
    except UserError as error:
        raise UserError(f"{path}: {error.message}", error.hint) from None


def _rule(number: int, table: Mapping[str, Any]) -> Rule:
    where = f"rule {number}"
    if unknown := sorted(set(table) - set(_KEYS)):
        raise UserError(f"{where}: unknown key {unknown[0]!r}", f"there are {', '.join(_KEYS)}")
    then = table.get("then")
    if then not in set(Verdict):
        raise UserError(
            f"{where}: then = {then!r}" if then is not None else f"{where} says nothing: no `then`",
            f"one of {', '.join(Verdict)}",
        )
    if len(table) == 1:
        raise UserError(f"{where} fits everything", "name a comm, a cgroup, a uid or a nice value")
    for key in ("comm", "cgroup"):
        if not isinstance(table.get(key, ""), str):
            raise UserError(f"{where}: {key} = {table[key]!r} is no text")
    uid = table.get("uid")
    if uid is not None and (not isinstance(uid, int) or isinstance(uid, bool) or uid < 0):
        raise UserError(f"{where}: uid = {uid!r} is no number of a user")
    return Rule(
        Verdict(then), table.get("comm"), table.get("cgroup"), uid, _nice(where, table.get("nice"))
    )


def _nice(where: str, value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    ends = value if isinstance(value, list) else [value, value]
    if len(ends) != 2:
        raise UserError(f"{where}: nice = {value!r}", "a number, or [from, to]")
    for end in ends:
        _check_nice(f"{where}: nice", end)
    if ends[0] > ends[1]:
        raise UserError(f"{where}: nice = {value!r} is empty", "write [from, to], smaller first")
    return ends[0], ends[1]


def _check_nice(what: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not _RUDEST <= value <= _NICEST:
        raise UserError(f"{what} = {value!r} is no nice value", f"{_RUDEST} to {_NICEST}")
