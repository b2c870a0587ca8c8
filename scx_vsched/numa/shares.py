"""What a process shares with others: writable mappings, pipes, UNIX sockets.

Shared mappings are those marked `s` in /proc/PID/maps, by device and inode: files, memory of
memfd and /dev/shm, anonymous memory shared by a fork, System V segments. A futex between processes
lies in such a mapping. A mapping counts where somebody may write to it: a library or a database
that all only read causes no traffic. Source: Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.numa.files import names_in, read

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Mapped", "Shares", "parse_maps", "read_shares"]

type Key = tuple[str, str]
"""A thing that can be shared: its kind, and its number there."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A shared mapping: its key, and whether this process may write to it."""

    key: Key
    writable: bool


@dataclass(frozen=True, slots=True)
class Shares:
    """What a process shares: mappings by their first address, pipes and sockets by direction."""

    mapped: Mapping[int, Mapped]
    reads: frozenset[Key] = frozenset()
    writes: frozenset[Key] = frozenset()


def read_shares(pid: int, proc: str = "/proc", peers: Mapping[str, str] | None = None) -> Shares:
    """What process `pid` shares; raises OSError where it is gone or not ours to look at.

    `peers` says which UNIX socket is connected to which, by inode: both are one channel.
    """
    mapped = parse_maps(read(f"{proc}/{pid}/maps"))
    reads, writes = set(), set()
    folder = f"{proc}/{pid}/fd"
    for name in names_in(folder):
        try:
            path = f"{folder}/{name}"
            target = os.readlink(path)  # noqa: PTH115 - fast
            kind, colon, inode = target.partition(":[")
            if not colon or kind not in {"pipe", "socket"}:
                continue
            mode = os.lstat(path).st_mode  # the link's own, by how the file was opened
        except OSError:
            continue  # closed meanwhile
        number = inode.rstrip("]")
        if kind == "socket":
            peer = peers.get(number) if peers else None
            if peer is None:
                continue
            number = min(number, peer, key=int)
        if mode & stat.S_IRUSR:
            reads.add((kind, number))
        if mode & stat.S_IWUSR:
            writes.add((kind, number))
    return Shares(mapped, frozenset(reads), frozenset(writes))


def parse_maps(text: str) -> dict[int, Mapped]:
    """The shared mappings in /proc/PID/maps by their first address; devices are left out."""
    found: dict[int, Mapped] = {}
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 5 or not fields[1].endswith("s"):
            continue
        span, rights, _, device, inode = fields[:5]
        if inode == "0" or _is_device(fields[5] if len(fields) > 5 else ""):
            continue
        start = int(span.partition("-")[0], 16)
        found[start] = Mapped((f"memory {device}", inode), "w" in rights)
    return found


def _is_device(path: str) -> bool:
    """Whether it is a device's memory rather than memory that has a path below /dev.

    Anonymous memory that is shared goes by the name of /dev/zero.
    """
    return path.startswith("/dev/") and not path.startswith(("/dev/shm/", "/dev/zero"))  # noqa: S108
