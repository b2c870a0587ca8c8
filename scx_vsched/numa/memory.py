"""How much memory of a process is on which node, and how much of it was in use lately.

What would follow the process is what only it has, anonymous pages, and what its group shares.
The page cache of files that it merely maps stays. Source: Documentation/filesystems/proc.rst
(numa_maps, smaps_rollup, clear_refs).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.numa.files import read, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.numa.files import Skips
    from scx_vsched.numa.shares import Key, Mapped

__all__ = ["Memory", "read_memory", "referenced_part"]

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by node: of the process alone, and of each mapping that it shares."""

    own: Mapping[int, int] = field(default_factory=dict)
    shared: Mapping[Key, Mapping[int, int]] = field(default_factory=dict)


def read_memory(
    pid: int, mapped: Mapping[int, Mapped], home: int, skips: Skips, proc: str = "/proc"
) -> Memory:
    """The memory of process `pid`; `mapped` are its shared mappings.

    Where the kernel does not tell by node, everything counts as on `home`. What cannot be read is
    counted in `skips` and taken for none.
    """
    try:
        return _by_node(read(f"{proc}/{pid}/numa_maps"), mapped)
    except OSError as error:
        skips.note("numa_maps", error)
    except ValueError:
        skips["numa_maps: unreadable"] += 1
    try:
        rollup = _rollup(read(f"{proc}/{pid}/smaps_rollup"))
    except (OSError, ValueError):
        return Memory()
    size = rollup.get("Pss_Anon", rollup.get("Pss", 0)) + rollup.get("Pss_Shmem", 0)
    return Memory({home: size} if size else {})


def _by_node(text: str, mapped: Mapping[int, Mapped]) -> Memory:
    own: Counter[int] = Counter()
    shared: dict[Key, Counter[int]] = {}
    for line in text.splitlines():
        address, _, *words = line.split()
        values = dict(word.partition("=")[::2] for word in words)
        page = int(values.get("kernelpagesize_kB", 4)) * _KIB
        pages = {int(n[1:]): int(v) for n, v in values.items() if n[:1] == "N" and n[1:].isdigit()}
        at = mapped.get(int(address, 16))
        if at is not None:
            seen = shared.setdefault(at.key, Counter())
            seen.update({node: count * page for node, count in pages.items()})
        elif "anon" in values:
            # A private mapping of a file has both; its pages' nodes are not told apart.
            total = sum(pages.values())
            part = min(1.0, int(values["anon"]) / total) if total else 0.0
            own.update({node: round(count * part) * page for node, count in pages.items()})
    return Memory(dict(own), {key: dict(sizes) for key, sizes in shared.items()})


def _rollup(text: str) -> dict[str, int]:
    """Sizes in bytes by name."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            found[name] = int(words[0]) * _KIB
    return found


def referenced_part(pid: int, proc: str = "/proc") -> float | None:
    """Which part of its resident memory the process used since the last call, 0 to 1.

    Clears the marks by which the kernel knows, and so costs the process a fault in the TLB for each
    page that it uses again. None where the kernel does not tell.
    """
    try:
        rollup = _rollup(read(f"{proc}/{pid}/smaps_rollup"))
        write(f"{proc}/{pid}/clear_refs", "1")
    except (OSError, ValueError):
        return None
    resident = rollup.get("Rss", 0)
    return min(1.0, rollup.get("Referenced", 0) / resident) if resident else None
