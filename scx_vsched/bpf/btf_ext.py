"""Reads `.BTF.ext`: which source line an instruction comes from, and the CO-RE relocations.

The format is described in the kernel's Documentation/bpf/btf.rst; offsets of instructions are in
bytes from the start of their section.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.bpf.btf import MAGIC, Btf, BtfError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CoreKind", "CoreRelocation", "LineInfo", "core_relocations", "line_infos"]

_HEADER = struct.Struct("=HBBIIIIIII")
_COLUMN_BITS = 10


class CoreKind(enum.IntEnum):
    """enum bpf_core_relo_kind of include/uapi/linux/bpf.h."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


@dataclass(frozen=True, slots=True)
class LineInfo:
    """Instructions from `offset` on come from `line` of `file`."""

    section: str
    offset: int
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class CoreRelocation:
    """An instruction at `offset` that libbpf adapts to the kernel's `type`."""

    section: str
    offset: int
    type: str
    kind: CoreKind


def line_infos(data: bytes, btf: Btf) -> tuple[LineInfo, ...]:
    """All line records of the section's bytes; raises BtfError."""
    return tuple(
        LineInfo(section, offset, btf.string(file), line >> _COLUMN_BITS)
        for section, (offset, file, _, line) in _records(data, btf, 6)
    )


def core_relocations(data: bytes, btf: Btf) -> tuple[CoreRelocation, ...]:
    """All CO-RE relocations of the section's bytes; raises BtfError."""
    try:
        return tuple(
            CoreRelocation(section, offset, btf[of].name, CoreKind(kind))
            for section, (offset, of, _, kind) in _records(data, btf, 8)
        )
    except (IndexError, ValueError) as error:
        raise BtfError(f"damaged .BTF.ext: {error}") from None


def _records(data: bytes, btf: Btf, index: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Section and first four words of each record of the part whose offset is header[index]."""
    try:
        header = _HEADER.unpack_from(data)
        if header[0] != MAGIC:
            raise BtfError(f"damaged .BTF.ext: magic {header[0]:#x}")
        start, length = header[3] + header[index], header[index + 1]
        part = data[start : start + length]
        if not part:
            return
        (size,) = struct.unpack_from("=I", part)
        at = 4
        while at < len(part):
            name, count = struct.unpack_from("=II", part, at)
            at += 8
            for _ in range(count):
                yield btf.string(name), struct.unpack_from("=IIII", part, at)
                at += size
    except (struct.error, ValueError) as error:
        raise BtfError(f"damaged .BTF.ext: {error}") from None
