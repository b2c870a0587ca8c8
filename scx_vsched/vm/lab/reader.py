"""Reads tables of a TOML file key by key, so that every mistake is named with its file and key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum
    from pathlib import Path

__all__ = ["Table"]

_MAX_RANGE = 4096


class Table:
    """A table at `where` ("" or "vcpu 3") of the file `path`; keys not asked for are mistakes."""

    def __init__(self, raw: dict[str, Any], path: Path, where: str) -> None:
        self._raw, self._path, self._where = raw, path, where
        self._asked: set[str] = set()

    def error(self, key: str, what: str) -> UserError:
        """The error to raise about `key`."""
        where = f"{self._where}, " if self._where else ""
        return UserError(f"{self._path}: {where}{key}: {what}")

    def has(self, key: str) -> bool:
        """Whether the table has `key`."""
        return key in self._raw

    def finish(self) -> None:
        """Refuse what nothing asked for: a key with a typing error must not be ignored."""
        for key in self._raw:
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise self.error(key, f"there is no such key; known: {known}")

    def _take(self, key: str) -> Any:
        self._asked.add(key)
        return self._raw.get(key)

    def integer(self, key: str, low: int, high: int) -> int:
        """The whole number `key`, which must be there, from `low` to `high`."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.error(key, f"must be a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """The number `key`, which must be there, from `low` to `high`."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"must be a number from {low:g} to {high:g}")
        if not low <= value <= high:
            raise self.error(key, f"{value:g} is not from {low:g} to {high:g}")
        return float(value)

    def microseconds(self, key: str) -> int | None:
        """The milliseconds `key` in whole microseconds; None where it is absent."""
        if not self.has(key):
            self._asked.add(key)
            return None
        return round(self.number(key, 0, 1e6) * 1000)

    def flag(self, key: str) -> bool:
        """The truth value `key`; absent is false."""
        value = self._take(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return bool(value)

    def text(self, key: str, default: str) -> str:
        """The string `key`."""
        value = self._take(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "must be a string")
        return default if value is None else value

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of strings `key`; absent is empty."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(key, "must be a list of strings")
        return tuple(value)

    def choice[E: StrEnum](self, key: str, kind: type[E], default: E) -> E:
        """One of the values of `kind`."""
        value = self.text(key, default.value)
        if value not in [each.value for each in kind]:
            raise self.error(key, f"must be one of {', '.join(each.value for each in kind)}")
        return kind(value)

    def numbers(self, key: str) -> tuple[int, ...]:
        """A number, a list of numbers or a string such as "0-3,8"; increasing, absent is empty."""
        value = self._take(key)
        if value is None:
            return ()
        if isinstance(value, int) and not isinstance(value, bool):
            value = [value]
        if isinstance(value, str):
            value = self._ranges(key, value)
        good = isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)
        if not good:
            raise self.error(key, 'must be a number, a list of numbers, or a range such as "0-3,8"')
        if len(set(value)) != len(value):
            raise self.error(key, "names a number twice")
        return tuple(sorted(value))

    def _ranges(self, key: str, text: str) -> list[int]:
        found: list[int] = []
        for part in text.split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
            if match is None:
                raise self.error(key, f'"{text}" is no list of numbers and ranges such as "0-3,8"')
            first, last = int(match[1]), int(match[2] or match[1])
            if last < first or last - first >= _MAX_RANGE:
                raise self.error(key, f'"{part.strip()}" is not a range')
            found += range(first, last + 1)
        return found

    def tables(self, key: str) -> Iterator[Table]:
        """The tables `[[key]]`, in order."""
        value = self._take(key)
        if value is None:
            return
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.error(key, f"must be written as [[{key}]]")
        for number, each in enumerate(value, 1):
            yield Table(each, self._path, f"[[{key}]] {number}")
