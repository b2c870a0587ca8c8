"""Moves the memory of a process to a node: migrate_pages(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KernelMemory", "MemoryMover"]

# include/uapi/asm-generic/unistd.h, and arch/x86/entry/syscalls/syscall_64.tbl.
_NUMBERS = {"x86_64": 256, "aarch64": 238, "riscv64": 238}
_WORD_BITS = 8 * ctypes.sizeof(ctypes.c_ulong)


class MemoryMover(Protocol):
    """Moves memory between nodes."""

    def move(self, pid: int, sources: Iterable[int], target: int) -> int:
        """Move what `pid` has on `sources`; the number of pages that stayed. Raises OSError."""


class KernelMemory:
    """The kernel's migrate_pages. With CAP_SYS_NICE it moves shared pages too."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = _NUMBERS.get(platform.machine())

    def move(self, pid: int, sources: Iterable[int], target: int) -> int:
        """Raises OSError: ESRCH, EPERM, ENOSYS where the kernel has no NUMA, and others."""
        if self._number is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        nodes = [node for node in sources if node != target]
        if not nodes:
            return 0
        size = max(*nodes, target) + 1
        stayed = int(
            self._libc.syscall(
                ctypes.c_long(self._number),
                ctypes.c_int(pid),
                ctypes.c_ulong(size + 1),  # the kernel takes one bit less than it is told
                ctypes.byref(_mask(nodes, size)),
                ctypes.byref(_mask([target], size)),
            )
        )
        if stayed < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return stayed


def _mask(nodes: Iterable[int], size: int) -> ctypes.Array[ctypes.c_ulong]:
    words = (ctypes.c_ulong * (size // _WORD_BITS + 1))()
    for node in nodes:
        words[node // _WORD_BITS] |= 1 << node % _WORD_BITS
    return words
