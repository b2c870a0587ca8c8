"""The kernel's run-time statistics of loaded BPF programs: calls and nanoseconds.

Read with the bpf system call (commands and `struct bpf_prog_info` as in include/uapi/linux/bpf.h);
counted while the sysctl kernel.bpf_stats_enabled is 1.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ProgramTime", "counting", "counting_ns", "program_times", "spent"]

_SYS_BPF = 321  # x86-64
_PROG_LOAD, _PROG_TEST_RUN = 5, 10
_PROG_GET_NEXT_ID, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD = 11, 13, 15
_TYPE_STRUCT_OPS, _TYPE_SYSCALL = 27, 31
_F_SLEEPABLE = 1 << 4
_RETURN_0 = bytes.fromhex("b700000000000000 9500000000000000")  # r0 = 0; exit
_EMPTY_RUNS = 1000
_TEST_RUN_SIZE = 80
_INFO_SIZE = 224
_NAME_AT, _NAME_LEN = 64, 16
_RUN_AT = 192  # run_time_ns and run_cnt, 64 bits each
_SWITCH = Path("/proc/sys/kernel/bpf_stats_enabled")


@dataclass(frozen=True, slots=True)
class ProgramTime:
    """A struct_ops program: `name` has at most 15 characters, as the kernel keeps it."""

    name: str
    calls: int
    time_ns: int


def _bpf(command: int, attr: ctypes.Array[ctypes.c_char]) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(_SYS_BPF, command, attr, len(attr)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _ids() -> Iterator[int]:
    current = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("=III", current, 0, 0), 12)
        try:
            _bpf(_PROG_GET_NEXT_ID, attr)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        current = struct.unpack_from("=I", attr, 4)[0]
        yield current


def _info(fd: int) -> ctypes.Array[ctypes.c_char]:
    """struct bpf_prog_info of a program."""
    info = ctypes.create_string_buffer(_INFO_SIZE)
    attr = struct.pack("=IIQ", fd, _INFO_SIZE, ctypes.addressof(info))
    _bpf(_OBJ_GET_INFO_BY_FD, ctypes.create_string_buffer(attr, 16))
    return info


def program_times() -> dict[int, ProgramTime]:
    """Every struct_ops program in the kernel, by id."""
    found = {}
    for ident in _ids():
        try:
            fd = _bpf(
                _PROG_GET_FD_BY_ID,
                ctypes.create_string_buffer(struct.pack("=III", ident, 0, 0), 12),
            )
        except OSError:  # it went in the meantime
            continue
        try:
            info = _info(fd)
        finally:
            os.close(fd)
        if struct.unpack_from("=I", info, 0)[0] == _TYPE_STRUCT_OPS:
            name = info.raw[_NAME_AT : _NAME_AT + _NAME_LEN].split(b"\0", 1)[0].decode()
            time_ns, calls = struct.unpack_from("=QQ", info, _RUN_AT)
            found[ident] = ProgramTime(name, calls, time_ns)
    return found


def spent(before: dict[int, ProgramTime], after: dict[int, ProgramTime]) -> tuple[ProgramTime, ...]:
    """What each program that is in both did between the two readings, costliest first."""
    deltas = [
        ProgramTime(now.name, now.calls - before[i].calls, now.time_ns - before[i].time_ns)
        for i, now in after.items()
        if i in before
    ]
    return tuple(sorted(deltas, key=lambda each: each.time_ns, reverse=True))


@contextlib.contextmanager
def counting() -> Iterator[None]:
    """Count for the length of the block; the switch is left as it was."""
    before = _SWITCH.read_text()
    _SWITCH.write_text("1")
    try:
        yield
    finally:
        _SWITCH.write_text(before)


def counting_ns() -> float:
    """The time per call that the kernel counts of a program that does nothing, ns.

    What it counts of any other program includes that much. To be called while `counting`.
    """
    code, licence = ctypes.create_string_buffer(_RETURN_0), ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(code), ctypes.addressof(licence)
    # union bpf_attr: type, instructions, their address, licence, no log, flags
    attr = struct.pack(
        "=IIQQIIQII", _TYPE_SYSCALL, len(_RETURN_0) // 8, *addresses, 0, 0, 0, 0, _F_SLEEPABLE
    )
    fd = _bpf(_PROG_LOAD, ctypes.create_string_buffer(attr, len(attr)))
    try:
        run = ctypes.create_string_buffer(struct.pack("=I", fd), _TEST_RUN_SIZE)
        for _ in range(_EMPTY_RUNS):
            _bpf(_PROG_TEST_RUN, run)
        time_ns, calls = struct.unpack_from("=QQ", _info(fd), _RUN_AT)
    finally:
        os.close(fd)
    return float(time_ns / max(calls, 1))
