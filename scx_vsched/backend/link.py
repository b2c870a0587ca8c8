"""Joins BPF objects with libbpf's static linker."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import TYPE_CHECKING

from scx_vsched.bpf.btf import Btf, BtfKind
from scx_vsched.bpf.elf import read_object, sections
from scx_vsched.bpf.libbpf import BpfError, Log, library, logging_to
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

__all__ = ["link"]


def link(objects: Sequence[Path], out: Path, static: Collection[str] = ()) -> None:
    """Makes `out` of `objects`, replacing it only on success; functions of `static` become so.

    Raises UserError where libbpf has no linker (the copy inside pylibbpf has none) or `out` cannot
    be written, BpfError with libbpf's words where the objects do not fit.
    """
    found = library()
    calls = found.calls
    if not hasattr(calls, "bpf_linker__new"):
        raise UserError(
            f"{found.path} has no linker, which joins pythonbpf's hooks with the mechanism",
            "install libbpf as a shared library (Debian: apt install libbpf1)",
        )
    calls.bpf_linker__new.restype = ctypes.c_void_p
    calls.bpf_linker__new.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
    calls.bpf_linker__add_file.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    calls.bpf_linker__finalize.argtypes = (ctypes.c_void_p,)
    calls.bpf_linker__free.argtypes = (ctypes.c_void_p,)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    log = Log()
    try:
        with logging_to(log):
            linker = calls.bpf_linker__new(os.fsencode(partial), None)
            if not linker:
                raise UserError(f"cannot write {out}: {os.strerror(ctypes.get_errno())}")
            try:
                for path in objects:
                    _check(calls.bpf_linker__add_file(linker, os.fsencode(path), None), log)
                _check(calls.bpf_linker__finalize(linker), log)
            finally:
                calls.bpf_linker__free(linker)
        partial.write_bytes(_with_static(read_object(partial), partial, static))
        partial.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _with_static(data: bytes, path: Path, names: Collection[str]) -> bytes:
    """The object with these functions static in its types: the verifier looks into their calls.

    libbpf does so for hidden ones when it loads them, but not once it was asked for the types.
    """
    section = sections(data, path)[".BTF"]
    patched = bytearray(section)
    for found in Btf(section):
        if found.kind is BtfKind.FUNC and found.name in names:
            struct.pack_into("=I", patched, found.place + 4, BtfKind.FUNC << 24)  # BTF_FUNC_STATIC
    return data.replace(section, bytes(patched), 1)


def _check(status: int, log: Log) -> None:
    if status < 0:
        said = f": {log.lines[-1]}" if log.lines else ""
        raise BpfError(f"libbpf did not link pythonbpf's hooks{said}", -status, log.lines)
