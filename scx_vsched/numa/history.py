"""The record of a balancer: a line of JSON for each look, after one that says what it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.numa.records import GroupState, MoveRecord, NodeState, Round

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.numa.settings import Settings

__all__ = ["History", "Recorder", "read_history"]

_KIND = "scx_vsched numa"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class History:
    """All rounds of a record; `incomplete` says that its last line was cut off."""

    policy: str
    rounds: tuple[Round, ...]
    incomplete: bool


class Recorder:
    """Writes the record; what was written stays readable whenever the writer ends."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Raises UserError where it cannot be written."""
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        self._path = path
        self._line({"record": _KIND, "version": _VERSION, "policy": str(settings.policy)})

    def add(self, found: Round) -> None:
        """Append one round; raises UserError where the disk is full."""
        self._line(asdict(found))

    def close(self) -> None:
        """No more rounds."""
        self._file.close()

    def _line(self, value: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(value) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from None


def read_history(path: Path) -> History:
    """The record in the file `path`; raises UserError where it is none or has no round."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        lines = []
    head = _object(lines[0]) if lines else None
    if head is None or head.get("record") != _KIND:
        raise UserError(
            f"{path} is no record of a balancer", "make one: scx_vsched run --numa-record FILE"
        )
    if head.get("version") != _VERSION:
        raise UserError(
            f"{path}: version is {head.get('version')}, and this scx_vsched reads {_VERSION}"
        )
    rounds: list[Round] = []
    cut = False
    for number, line in enumerate(lines[1:], start=2):
        raw = _object(line)
        try:
            if raw is None:
                raise TypeError
            rounds.append(_round(raw))
        except (TypeError, KeyError, ValueError):
            if number < len(lines):
                raise UserError(f"{path}, line {number}: no round of a balancer") from None
            cut = True  # its writer was killed
    if not rounds:
        raise UserError(f"{path} has no round yet")
    return History(str(head.get("policy")), tuple(rounds), cut)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _round(raw: dict[str, Any]) -> Round:
    return Round(
        float(raw["at_s"]),
        tuple(NodeState(**node) for node in raw["nodes"]),
        tuple(GroupState(**{**group, "pids": tuple(group["pids"])}) for group in raw["groups"]),
        tuple(MoveRecord(**{**move, "pids": tuple(move["pids"])}) for move in raw["moves"]),
        int(raw["waiting"]),
        int(raw["too_big"]),
    )
