"""Reads of /proc and /sys that may fail at any moment: what they describe comes and goes."""

from __future__ import annotations

import errno
import os
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Skips", "names_in", "read", "reason", "write"]

_CHUNK = 1 << 16
_REASONS = {
    errno.ENOENT: "vanished",
    errno.ESRCH: "vanished",
    errno.EPERM: "not permitted",
    errno.EACCES: "not permitted",
    errno.ENOSYS: "not offered by the kernel",
}


class Skips(Counter[str]):
    """What was left out, counted by a few words that say why."""

    def note(self, what: str, error: OSError) -> None:
        """Count `what` with the reason for which it failed."""
        self[f"{what}: {reason(error)}"] += 1


def reason(error: OSError) -> str:
    """Why, in words that are the same for the same cause."""
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


def read(path: str) -> str:
    """All of a file; raises OSError. Bytes that are no text are kept as surrogates."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(file, _CHUNK):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def write(path: str, text: str) -> None:
    """Replace what a kernel's file says; raises OSError where the kernel refuses."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


def names_in(folder: str) -> Iterable[str]:
    """The names in a folder; none where it is gone or may not be looked into."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except OSError:
        return []
