"""What the verifier needed when it was last recorded, and what has grown since.

The file holds instructions processed by kernel series, policy, features and program. They are the
same on every machine, unlike times, so a growth is a fact about our code or the kernel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Change", "Comparison", "Key", "compare", "load_baseline", "save_baseline"]

_FORMAT = 1
TOLERANCE = 0.10
"""A program may grow by this share, …"""
SLACK_INSNS = 200
"""… and by this many instructions in any case: clang's choices move small programs about."""

type Key = tuple[str, str, str, str]
"""Kernel series, policy, features ("cgroups+smt" or "none"), program."""


@dataclass(frozen=True, slots=True)
class Change:
    """A program whose cost differs from the record, in verifier instructions."""

    key: Key
    before: int
    now: int

    def __str__(self) -> str:
        return f"{' '.join(self.key)}: {self.before:,} → {self.now:,} instructions"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Programs that grew beyond the tolerance, and those the record does not know."""

    regressions: tuple[Change, ...]
    new: tuple[Key, ...]


def compare(recorded: Mapping[Key, int], now: Mapping[Key, int]) -> Comparison:
    """Judge the instructions in `now` by those `recorded`."""
    grown = [
        Change(key, recorded[key], insns)
        for key, insns in sorted(now.items())
        if key in recorded and insns - recorded[key] > max(SLACK_INSNS, recorded[key] * TOLERANCE)
    ]
    return Comparison(tuple(grown), tuple(sorted(key for key in now if key not in recorded)))


def load_baseline(path: Path) -> dict[Key, int]:
    """The record in `path`, empty if there is none.

    Raises:
        UserError: the file is not such a record.
    """
    try:
        raw = json.loads(path.read_text())
        if raw["format"] != _FORMAT:
            raise ValueError
        return {
            (series, policy, features, program): int(insns)
            for series, policies in raw["insns"].items()
            for policy, sets in policies.items()
            for features, programs in sets.items()
            for program, insns in programs.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is not a record of verifier costs", "write a new one with --update-baseline"
        ) from None


def save_baseline(path: Path, recorded: Mapping[Key, int]) -> None:
    """Write the record, sorted, so that a change of it reads as a difference in review."""
    tree: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for (series, policy, features, program), insns in sorted(recorded.items()):
        sets = tree.setdefault(series, {}).setdefault(policy, {})
        sets.setdefault(features, {})[program] = insns
    text = json.dumps({"format": _FORMAT, "insns": tree}, indent=1)
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
