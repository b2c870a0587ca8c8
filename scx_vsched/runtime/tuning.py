"""Tunables of a scheduler that is at work, over its statistics socket.

The request `tunables` is answered by a list of them with the values in force; `tune`, with names
and values as arguments, changes some and is answered by that list. All are changed or none.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.runtime.socket import SOCKET_PATH, StatsClient

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.runtime.reading import Reading
    from scx_vsched.runtime.socket import Command

__all__ = ["RunningTunable", "tune_commands", "tune_running"]


@dataclass(frozen=True, slots=True)
class RunningTunable:
    """A tunable of a scheduler at work, with the value in force."""

    name: str
    value: int
    default: int
    min: int
    max: int
    unit: str
    doc: str
    frozen: bool


def tune_commands(meta: ObjectMeta, reading: Reading) -> dict[str, Command]:
    """What the scheduler's side of the socket answers."""

    def listed(_: Mapping[str, Any]) -> list[dict[str, Any]]:
        values = reading.tunables()
        return [
            dataclasses.asdict(
                RunningTunable(
                    t.name, values[t.name], t.default, t.min, t.max, t.unit, t.doc, t.frozen
                )
            )
            for t in meta.tunables
        ]

    def tune(arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        reading.tune({name: _number(name, value) for name, value in arguments.items()})
        return listed({})

    return {"tunables": listed, "tune": tune}


def _number(name: str, value: object) -> int:
    # clients of scx_stats send text
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"the value of {name} is not an integer")
    return value


def tune_running(values: Mapping[str, int], path: Path = SOCKET_PATH) -> tuple[RunningTunable, ...]:
    """Change tunables of the scheduler at work, and return all of them.

    Raises UserError where none is, or it refuses.
    """
    with StatsClient(path) as client:
        try:
            answer = client.request("tune" if values else "tunables", values)
        except EOFError:
            raise UserError("the scheduler ended meanwhile") from None
    try:
        return tuple(RunningTunable(**tunable) for tunable in answer)
    except TypeError:
        raise UserError(
            f"the scheduler on {path} does not say its tunables", "is it one of scx_vsched?"
        ) from None
