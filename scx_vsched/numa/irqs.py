"""Interrupts and unbound workqueues follow the tasks, and go back where they were.

Source: Documentation/core-api/irq/irq-affinity.rst and Documentation/core-api/workqueue.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.numa.files import names_in, read, write

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from scx_vsched.numa.files import Skips

__all__ = ["Helpers", "put_back"]


class Helpers:
    """All interrupts and unbound workqueues; `before` is what files said before they were changed.

    Most interrupts of a machine are not its user's to move (timers, those of one queue per vCPU):
    the kernel refuses, which is counted.
    """

    def __init__(self, skips: Skips, proc: str = "/proc", sys: str = "/sys") -> None:
        self._skips = skips
        self._proc, self._sys = proc, sys
        self.before: dict[str, str] = {}

    def look(self) -> None:
        """Read what is there now, so that it can be saved before anything is changed."""
        for path in self._paths():
            if path not in self.before:
                try:
                    self.before[path] = read(path).strip()
                except OSError as error:
                    self._skips.note(_kind(path), error)

    def move(self, cpus: Collection[int]) -> int:
        """Let them use `cpus` only; how many took it."""
        taken = 0
        for path in self.before:
            text = _list(cpus) if path.endswith("_list") else _hex(cpus)
            try:
                write(path, text + "\n")
            except OSError as error:
                self._skips.note(_kind(path), error)
            else:
                taken += 1
        return taken

    def _paths(self) -> Iterator[str]:
        for name in sorted(names_in(f"{self._proc}/irq")):
            if name.isdigit():
                yield f"{self._proc}/irq/{name}/smp_affinity_list"
        yield f"{self._sys}/devices/virtual/workqueue/cpumask"


def put_back(before: Mapping[str, str], skips: Skips) -> int:
    """Write what files said before; how many took it."""
    done = 0
    for path, text in before.items():
        try:
            if read(path).strip() == text:
                done += 1
                continue
            write(path, text + "\n")
        except OSError as error:
            skips.note(_kind(path), error)
        else:
            done += 1
    return done


def _kind(path: str) -> str:
    return "interrupts" if path.endswith("_list") else "workqueues"


def _list(cpus: Collection[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


def _hex(cpus: Collection[int]) -> str:
    """A mask as the kernel writes it: hexadecimal words of 32 bits, the highest first."""
    mask = sum(1 << cpu for cpu in cpus)
    words = []
    while True:
        words.append(mask & 0xFFFFFFFF)
        mask >>= 32
        if not mask:
            break
    return ",".join(f"{word:08x}" for word in reversed(words))
