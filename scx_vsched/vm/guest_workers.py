"""In the guest: processes that compute in memory of their own, forked by one without threads.

Python takes seconds to start under TCG, and a process with threads must not fork; so a small one is
forked before there are any, and forks the others when it is told to.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Nursery", "done"]

_MIB = 1 << 20
_CHUNK = 1 << 16
_COUNT = struct.Struct("=Q")
_TELL_EVERY = 8  # chunks


class Nursery:
    """Forks workers; to be made before the first thread."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(dir="/dev/shm")
        ask, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._ask)
            os.close(self._answers)
            _serve(ask, answer)
        os.close(ask)
        os.close(answer)

    @contextlib.contextmanager
    def workers(self, sizes_mib: Sequence[tuple[int, bool]]) -> Iterator[list[Path]]:
        """A worker for each (memory, whether it computes); files that hold what each has done."""
        files = [Path(self._folder) / str(number) for number in range(len(sizes_mib))]
        orders = [
            {"file": str(file), "mib": size, "busy": busy}
            for file, (size, busy) in zip(files, sizes_mib, strict=True)
        ]
        self._order(orders)
        try:
            yield files
        finally:
            self._order([])

    def _order(self, orders: list[dict[str, Any]]) -> None:
        os.write(self._ask, json.dumps(orders).encode() + b"\n")
        os.read(self._answers, 1)

    def close(self) -> None:
        """End it."""
        os.close(self._ask)
        os.waitpid(self._pid, 0)


def done(file: Path) -> int:
    """Chunks that the worker of that file has done."""
    with contextlib.suppress(OSError, struct.error):
        return int(_COUNT.unpack(file.read_bytes())[0])
    return 0


def _serve(ask: int, answer: int) -> None:
    """Fork what is asked for, and end it when nothing is; ends the process."""
    children: list[int] = []
    try:
        with os.fdopen(ask) as lines:
            for line in lines:
                orders = json.loads(line)
                for order in orders:
                    pid = os.fork()
                    if pid == 0:
                        os.closerange(3, 256)
                        _work(order)
                    children.append(pid)
                if not orders:
                    for child in children:
                        os.kill(child, signal.SIGKILL)
                        os.waitpid(child, 0)
                    children.clear()
                os.write(answer, b"x")
    finally:
        os._exit(0)


def _work(order: dict[str, Any]) -> None:
    """Compute checksums of its memory for ever, and say how many; ends the process."""
    try:
        file = os.open(order["file"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        memory = memoryview(bytearray(os.urandom(_CHUNK) * (order["mib"] * _MIB // _CHUNK)))
        count = 0
        while True:
            at = count * _CHUNK % len(memory)
            zlib.crc32(memory[at : at + _CHUNK])
            count += 1
            if count % _TELL_EVERY == 0:
                os.pwrite(file, _COUNT.pack(count), 0)
            if not order["busy"]:
                time.sleep(3600)
    finally:
        os._exit(1)
