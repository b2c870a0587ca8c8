"""Reads BTF, the type information in a BPF object, without libbpf.

Only what the project asks of it: members of structures with their offsets, variables of a section,
sizes, names. The format is described in the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Btf", "BtfError", "BtfKind", "BtfType", "Member"]

MAGIC = 0xEB9F
POINTER_SIZE = 8


class BtfError(ValueError):
    """The data is not BTF, or not of a version that this reads."""


class BtfKind(enum.IntEnum):
    """BTF_KIND_* of include/uapi/linux/btf.h."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Bytes that follow the common header of a type: a fixed part, and one part per `vlen`.
_TRAILERS = {
    BtfKind.INT: (4, 0),
    BtfKind.ARRAY: (12, 0),
    BtfKind.STRUCT: (0, 12),
    BtfKind.UNION: (0, 12),
    BtfKind.ENUM: (0, 8),
    BtfKind.FUNC_PROTO: (0, 8),
    BtfKind.VAR: (4, 0),
    BtfKind.DATASEC: (0, 12),
    BtfKind.DECL_TAG: (4, 0),
    BtfKind.ENUM64: (0, 12),
}
_MODIFIERS = {
    BtfKind.TYPEDEF,
    BtfKind.VOLATILE,
    BtfKind.CONST,
    BtfKind.RESTRICT,
    BtfKind.TYPE_TAG,
}


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a structure or a variable of a section; offset in bytes, `type` is a type id."""

    name: str
    type: int
    offset: int


@dataclass(frozen=True, slots=True)
class BtfType:
    """A type: `value` is its size or the id of the type that it refers to, as its kind has it."""

    id: int
    kind: BtfKind
    name: str
    value: int
    members: tuple[Member, ...] = ()
    array: tuple[int, int] = (0, 0)  # element type and number of elements
    at: int = 0  # its first byte in the section


class Btf:
    """The types in a `.BTF` section of this machine's byte order."""

    def __init__(self, data: bytes) -> None:
        """Parse `data`; raises BtfError."""
        try:
            self._parse(data)
        except (struct.error, ValueError, IndexError) as error:
            raise BtfError(f"damaged BTF: {error}") from None

    def _parse(self, data: bytes) -> None:
        magic, version, _, header, type_at, type_len, str_at, str_len = struct.unpack_from(
            "=HBBIIIII", data
        )
        if magic != MAGIC or version != 1:
            raise ValueError(f"magic {magic:#x}, version {version}")
        self._strings = data[header + str_at : header + str_at + str_len]
        types = data[header + type_at : header + type_at + type_len]
        self.types = [BtfType(0, BtfKind.VOID, "void", 0)]
        at = 0
        while at < len(types):
            name, info, value = struct.unpack_from("=III", types, at)
            kind, count = BtfKind((info >> 24) & 0x1F), info & 0xFFFF
            fixed, each = _TRAILERS.get(kind, (0, 0))
            trailer = types[at + 12 : at + 12 + fixed + each * count]
            place = header + type_at + at
            made = self._make(info, self.string(name), value, trailer, place)
            self.types.append(made)
            at += 12 + fixed + each * count

    def _make(self, info: int, name: str, value: int, trailer: bytes, at: int) -> BtfType:
        kind = BtfKind((info >> 24) & 0x1F)
        members: tuple[Member, ...] = ()
        array = (0, 0)
        if kind in (BtfKind.STRUCT, BtfKind.UNION):
            # With the flag, the upper byte of an offset is a bit field's width.
            mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
            members = tuple(
                Member(self.string(named), of, (bits & mask) // 8)
                for named, of, bits in struct.iter_unpack("=III", trailer)
            )
        elif kind is BtfKind.DATASEC:
            members = tuple(
                Member(self.types[of].name if of < len(self.types) else "", of, offset)
                for of, offset, _ in struct.iter_unpack("=III", trailer)
            )
        elif kind is BtfKind.ARRAY:
            element, _, count = struct.unpack("=III", trailer)
            array = (element, count)
        return BtfType(len(self.types), kind, name, value, members, array, at)

    def string(self, offset: int) -> str:
        """The string at `offset` of the string section."""
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def find(self, kind: BtfKind, name: str) -> BtfType | None:
        """The first type of that kind and name."""
        return next((t for t in self.types if t.kind is kind and t.name == name), None)

    def section(self, name: str) -> dict[str, Member]:
        """The variables and functions in the section `name` by name; empty without such one."""
        found = self.find(BtfKind.DATASEC, name)
        return {member.name: member for member in found.members} if found else {}

    def resolve(self, type_id: int) -> BtfType:
        """The type behind typedefs and qualifiers (and behind a variable)."""
        for _ in range(64):  # a cycle of modifiers is damaged BTF
            found = self.types[type_id]
            if found.kind not in _MODIFIERS and found.kind is not BtfKind.VAR:
                return found
            type_id = found.value
        raise BtfError(f"type {type_id} refers to itself")

    def size(self, type_id: int) -> int:
        """Size of a type in bytes."""
        found = self.resolve(type_id)
        if found.kind is BtfKind.PTR:
            return POINTER_SIZE
        if found.kind is BtfKind.ARRAY:
            return self.size(found.array[0]) * found.array[1]
        return found.value

    def pointed(self, type_id: int) -> BtfType:
        """What a pointer points to."""
        return self.resolve(self.resolve(type_id).value)

    def __iter__(self) -> Iterator[BtfType]:
        return iter(self.types)
