"""The host's scheduler at work: every time a vCPU thread goes on or off a host CPU.

A BPF program on the tracepoints sched_switch and sched_wakeup; it goes away with this process. The
times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from scx_vsched.bpf.compile import compile_c
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.bpf.object import Object
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["EVENT", "OFF", "ON", "WOKEN", "SwitchTrace", "try_trace"]

# As in trace.bpf.c.
ON, WOKEN, OFF = 1, 2, 1 << 31
EVENT = np.dtype([("at_ns", "<u8"), ("tid", "<u4"), ("what", "<u4")])

_SYS_BPF, _RAW_TRACEPOINT_OPEN = 321, 17  # x86-64; enum bpf_cmd
_EVENTS = 1 << 22  # 64 MiB: a minute of twenty vCPUs that are switched 2000 times a second each


class SwitchTrace:
    """Logs the threads given from its start to `close`."""

    def __init__(self, tids: Iterable[int], capacity: int = _EVENTS) -> None:
        """Start logging.

        Raises:
            UserError: no clang to build the BPF program with, or the kernel refuses it.
        """
        self._object = Object(_built(), "vcpu_trace")
        self._links: list[int] = []
        self._capacity = capacity
        try:
            self._object.map("events").set_max_entries(capacity)
            self._object.load()
            for tid in tids:
                self._object.map("watched").write(tid.to_bytes(4, "little"), bytes(4))
            self._links += [_attach(each.fd, each.name) for each in self._object.programs.values()]
        except UserError:
            self.close()
            raise

    def events(self) -> NDArray[np.void]:
        """All events so far, records of `EVENT`, in the order of time."""
        room = self._object.map("used")
        with mmap.mmap(room.fd, mmap.PAGESIZE, prot=mmap.PROT_READ) as shared:
            count = min(struct.unpack_from("<Q", shared)[0], self._capacity)
        size = -(-self._capacity * EVENT.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        with mmap.mmap(self._object.map("events").fd, size, prot=mmap.PROT_READ) as shared:
            found = np.frombuffer(shared.read(count * EVENT.itemsize), EVENT)
        # A slot that was taken but not yet filled has no time.
        found = found[found["at_ns"] > 0]
        return found[np.argsort(found["at_ns"], kind="stable")]

    @property
    def full(self) -> bool:
        """Whether events were lost because there was no room left."""
        raw = self._object.map("used").read(0)
        return int.from_bytes(raw, "little") > self._capacity

    def close(self) -> None:
        """Stop; a second call does nothing."""
        while self._links:
            os.close(self._links.pop())
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@functools.cache
def _built() -> bytes:
    """The program as an object file."""
    source = Path(__file__).with_name("trace.bpf.c").read_text()
    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as scratch:
        built = Path(scratch) / "trace.bpf.o"
        compile_c(source, built)
        return built.read_bytes()


def _attach(program_fd: int, name: str) -> int:
    """Attach a loaded tracepoint program of type tp_btf; the descriptor that holds it there."""
    libc = ctypes.CDLL(None, use_errno=True)
    attr = ctypes.create_string_buffer(struct.pack("=QI4x", 0, program_fd), 16)
    link = int(libc.syscall(_SYS_BPF, _RAW_TRACEPOINT_OPEN, attr, 16))
    if link < 0:
        raise BpfError(f"cannot attach {name}", ctypes.get_errno())
    return link


def try_trace(tids: Iterable[int]) -> tuple[SwitchTrace | None, str]:
    """A running trace, or None and the reason where this host permits none."""
    with contextlib.suppress(FileNotFoundError):
        try:
            return SwitchTrace(tids), ""
        except UserError as error:
            return None, error.message
    return None, "the BPF program is not installed"
