"""The homes that a scheduler keeps, as `homes.Homes`: what it refuses is an OSError here too."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from scx_vsched.bpf.homes import Homes
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.bpf.loader import SchedulerObject

__all__ = ["SchedulerHomes"]


class SchedulerHomes:
    """Homes of processes in a scheduler's own table."""

    def __init__(self, obj: SchedulerObject) -> None:
        """Raises UserError for a scheduler that keeps none."""
        self._homes = Homes(obj)

    def set(self, tgid: int, node: int, *, fixed: bool = False, memory_bytes: int = 0) -> None:
        """Bind a process; see `scx_vsched.bpf.homes`."""
        with _as_os_error():
            self._homes.set(tgid, node, fixed=fixed, memory_bytes=memory_bytes)

    def remove(self, tgid: int) -> None:
        """Bind it no more."""
        with _as_os_error():
            self._homes.remove(tgid)

    def clear(self) -> None:
        """Bind none."""
        with _as_os_error():
            self._homes.clear()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except BpfError as error:
        raise OSError(error.errno, str(error)) from None
    except UserError as error:
        raise OSError(errno.EINVAL, error.message) from None
