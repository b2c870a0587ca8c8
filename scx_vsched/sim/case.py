"""A case: everything that a run depends on, as one JSON document that replays anywhere."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.sim.machine import Machine  # noqa: TC001 - these annotations are evaluated
from scx_vsched.sim.run import Options  # noqa: TC001
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Workload  # noqa: TC001

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.sim.run import Outcome

__all__ = ["Case", "load_case", "run_case"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A run, and what went wrong in it when it was written down."""

    machine: Machine
    workload: Workload
    options: Options
    policy: str = "core"
    kernel: str = "7.x"
    without: tuple[str, ...] = ()
    tunables: Mapping[str, int] = field(default_factory=dict)
    expect: str = ""  # the name of the failure, empty for none

    def to_json(self) -> str:
        """A document that `from_json` reads."""
        return json.dumps({"format": FORMAT} | _plain(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> Case:
        """The case in `text`; raises UserError, with `name`, for anything else."""
        try:
            raw = json.loads(text)
            if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
                raise UserError(f"{name} is not a case of the simulator", "`sim fuzz` writes them")
            made = _build(cls, raw)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{name} is damaged: {error}") from None
        return typing.cast("Case", made)


def _plain(value: Any) -> Any:
    """`value` for JSON; members that have their default are left out."""
    if dataclasses.is_dataclass(value):
        members = {}
        for member in dataclasses.fields(value):
            found = getattr(value, member.name)
            default = member.default
            if member.default_factory is not dataclasses.MISSING:
                default = member.default_factory()
            if found != default:
                members[member.name] = _plain(found)
        return members
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The annotations of the dataclass `kind`, evaluated: that takes longer than all the rest."""
    return typing.get_type_hints(kind)


def _build(kind: Any, raw: Any) -> Any:
    """`raw` JSON as the annotated type `kind`: dataclasses, tuples, mappings, plain values."""
    if isinstance(kind, types.UnionType):
        return None if raw is None else _build(typing.get_args(kind)[0], raw)
    origin = typing.get_origin(kind)
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_build(inner, item) for item in raw)
    if origin is not None and issubclass(origin, Mapping):
        return {str(key): int(value) for key, value in raw.items()}
    if dataclasses.is_dataclass(kind):
        hints = _hints(typing.cast("type", kind))
        unknown = set(raw) - set(hints)
        if unknown:
            raise ValueError(f"unknown key {min(unknown)!r}")
        return typing.cast("Any", kind)(
            **{key: _build(hints[key], value) for key, value in raw.items()}
        )
    if kind is float:
        return float(raw)
    if not isinstance(raw, kind):
        raise ValueError(f"{raw!r} is not {kind.__name__}")
    return raw


def load_case(path: Path) -> Case:
    """The case in the file `path`; raises UserError where there is none."""
    try:
        return Case.from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def run_case(case: Case, *, sanitize: bool = False, trace_limit: int = 0) -> Outcome:
    """Runs the case; the outcome's trace holds the last `trace_limit` steps, 256 for 0."""
    scheduler = prepare(
        case.policy,
        tunables=case.tunables,
        without=case.without,
        kernel=case.kernel,
        sanitize=sanitize,
    )
    options = dataclasses.replace(case.options, trace_limit=trace_limit)
    return scheduler.run(case.machine, case.workload, options)
