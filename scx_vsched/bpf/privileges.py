"""Gives up a capability of the calling thread for a while."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAP_SYS_ADMIN", "without_capability"]

CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h, like the next
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct; a pid of 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """struct __user_cap_data_struct"""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextlib.contextmanager
def without_capability(number: int) -> Iterator[None]:
    """Run the block without the effective capability `number` below 32, if the thread has it.

    It stays permitted, so that nothing can keep it from coming back afterwards.
    """
    libc = ctypes.CDLL(None)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()
    if libc.capget(ctypes.byref(header), sets) or not sets[0].effective & 1 << number:
        yield
        return
    before = sets[0].effective
    sets[0].effective = before & ~(1 << number)
    libc.capset(ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective = before
        libc.capset(ctypes.byref(header), sets)
