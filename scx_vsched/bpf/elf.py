"""Finds the sections of a BPF object and says what is wrong with a file that is none.

A few lines of `struct` rather than pyelftools (which `inspect` uses): this is on the way of `run`,
and in an emulated guest the import alone takes a second.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from scx_vsched.bpf.model import META_SECTION
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ObjectError", "meta_text", "read_object", "sections"]

_HINT = "`scx_vsched build POLICY -o FILE` makes an object from a policy"
_HEADER = struct.Struct("=16sHHIQQQIHHHHHH")  # Elf64_Ehdr
_SECTION = struct.Struct("=IIQQQQIIQQ")  # Elf64_Shdr
_NOBITS = 8
_MACHINES = {
    3: "i386",
    22: "s390",
    40: "ARM",
    62: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}
_BPF = 247
_NATIVE = 1 if sys.byteorder == "little" else 2  # ELFDATA2LSB, ELFDATA2MSB


class ObjectError(UserError):
    """A file that should be one of our objects and is not."""


def read_object(path: Path) -> bytes:
    """The bytes of an object file; raises ObjectError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ObjectError(f"cannot read {path}: {error.strerror}") from None


def sections(data: bytes, path: Path) -> dict[str, bytes]:
    """Contents of the sections by name; raises ObjectError that says why it is no BPF object."""
    if data[:4] != b"\x7fELF":
        raise ObjectError(f"{path} is not a BPF object (no ELF file)", _HINT)
    if len(data) < _HEADER.size:
        raise _truncated(path, data, _HEADER.size)
    if data[4] != 2 or data[5] not in (1, 2):
        raise ObjectError(f"{path} is not a BPF object (no 64-bit ELF file)", _HINT)
    if data[5] != _NATIVE:
        raise ObjectError(
            f"{path} is for machines of the other byte order", "build it for this machine"
        )
    header = _HEADER.unpack_from(data)
    machine, table, entry_size, count, names_index = header[2], header[6], *header[11:14]
    if machine != _BPF:
        kind = _MACHINES.get(machine, f"machine {machine}")
        raise ObjectError(f"{path} is a program for {kind}, not a BPF object", _HINT)
    if not count or entry_size != _SECTION.size or names_index >= count:
        raise ObjectError(f"{path} is damaged: no usable section table", _HINT)
    if table + count * entry_size > len(data):
        raise _truncated(path, data, table + count * entry_size)
    table_bytes = data[table : table + count * entry_size]
    entries = list(_SECTION.iter_unpack(table_bytes))
    contents = []
    for _, kind, _, _, offset, size, *_ in entries:
        if kind != _NOBITS and offset + size > len(data):
            raise _truncated(path, data, offset + size)
        contents.append(b"" if kind == _NOBITS else data[offset : offset + size])
    names = contents[names_index]
    return {
        names[entry[0] :].split(b"\0", 1)[0].decode(errors="replace"): content
        for entry, content in zip(entries, contents, strict=True)
    }


def meta_text(data: bytes, path: Path) -> str:
    """The JSON that describes the object; raises ObjectError for an object that is not ours."""
    found = sections(data, path).get(META_SECTION)
    if found is None:
        raise ObjectError(f"{path} was not built by scx_vsched (no section {META_SECTION})", _HINT)
    try:
        return found.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError:
        raise ObjectError(f"{path} is damaged: section {META_SECTION} is no text", _HINT) from None


def _truncated(path: Path, data: bytes, wanted: int) -> ObjectError:
    return ObjectError(
        f"{path} is truncated: {len(data)} bytes, at least {wanted} wanted", "copy it again"
    )
