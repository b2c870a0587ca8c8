"""A running emulator, asked through its monitor (QMP) which thread of the host runs which vCPU."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

try:
    from qemu.qmp import ConnectError, QMPClient, QMPError
except ImportError as error:
    raise UserError("qemu.qmp is not installed", "run tools/setup, or: pip install qemu.qmp") from (
        error
    )

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Emulator", "ask", "monitor_options", "monitor_socket"]

# Nobody listens at first, which is no error.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

# The answer comes once the machine is set up, which takes a moment on a busy host.
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Emulator:
    """A QEMU at work: its process id, and the thread id of each vCPU by index, in that order."""

    pid: int
    threads: Mapping[int, int]


@contextlib.contextmanager
def monitor_socket() -> Iterator[Path]:
    """Where a monitor may listen for the length of the block; nobody else can get at it.

    In a directory of its own, because the path of a socket may have 107 bytes only.
    """
    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as directory:
        yield Path(directory) / "monitor"


def monitor_options(socket: Path) -> list[str]:
    """QEMU's options for a monitor at `socket`."""
    return ["-qmp", f"unix:{socket},server=on,wait=off"]


def ask(socket: Path) -> Emulator | None:
    """The emulator whose monitor listens at `socket`; None where there is none yet, or no more."""
    if not socket.exists():
        return None
    try:
        threads = asyncio.run(asyncio.wait_for(_vcpu_threads(socket), _ANSWER_S))
        return Emulator(_process_of(next(iter(threads.values()))), threads)
    except (ConnectError, QMPError, OSError, TimeoutError, StopIteration):
        return None


async def _vcpu_threads(socket: Path) -> dict[int, int]:
    client = QMPClient("scx_vsched")
    await client.connect(str(socket))
    try:
        # qapi/machine.json: cpu-index and thread-id of each CpuInfoFast
        vcpus = await client.execute("query-cpus-fast")
    finally:
        await client.disconnect()
    assert isinstance(vcpus, list)  # noqa: S101 - by its schema
    return {int(vcpu["cpu-index"]): int(vcpu["thread-id"]) for vcpu in vcpus}


def _process_of(thread: int) -> int:
    """The process that `thread` belongs to; OSError when it is gone."""
    for line in Path(f"/proc/{thread}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "Tgid":
            return int(value)
    raise ProcessLookupError(thread)
