"""Reads BTF, the type information in a BPF object, without libbpf.

Only what the project asks of it: members of structures with their offsets, variables of a section,
sizes, names. The format is described in the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

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


_HEAD = struct.Struct("=III")  # struct btf_type: name_off, info, size or type
# Bytes that follow the common header of a type: a fixed part, and one part per `vlen`.
_TRAILERS = [(0, 0)] * len(BtfKind)
_TRAILERS[BtfKind.INT] = (4, 0)
_TRAILERS[BtfKind.ARRAY] = (12, 0)
_TRAILERS[BtfKind.STRUCT] = (0, 12)
_TRAILERS[BtfKind.UNION] = (0, 12)
_TRAILERS[BtfKind.ENUM] = (0, 8)
_TRAILERS[BtfKind.FUNC_PROTO] = (0, 8)
_TRAILERS[BtfKind.VAR] = (4, 0)
_TRAILERS[BtfKind.DATASEC] = (0, 12)
_TRAILERS[BtfKind.DECL_TAG] = (4, 0)
_TRAILERS[BtfKind.ENUM64] = (0, 12)
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
    place: int = 0  # its first byte in the section


class Btf(Sequence[BtfType]):
    """The types in a `.BTF` section of this machine's byte order, by id.

    Each is read when it is first asked for: the loader needs a handful of a thousand, and in an
    emulated guest reading all takes a tenth of a second.
    """

    def __init__(self, data: bytes) -> None:
        """Find where each type begins; raises BtfError, as later reading does for damaged data."""
        self._types: dict[int, BtfType] = {0: BtfType(0, BtfKind.VOID, "void", 0)}
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
        self._first = header + type_at
        self._data = data[self._first : self._first + type_len]
        self._starts = [-1]  # of each type in the data
        self._heads = [(0, 0, 0)]  # name's offset, info, size or type
        at = 0
        while at < len(self._data):
            head = _HEAD.unpack_from(self._data, at)
            fixed, each = _TRAILERS[(head[1] >> 24) & 0x1F]
            self._starts.append(at)
            self._heads.append(head)
            at += _HEAD.size + fixed + each * (head[1] & 0xFFFF)
        if at != len(self._data):
            raise ValueError("the last type is cut short")

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> BtfType: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[BtfType]: ...

    def __getitem__(self, index: int | slice) -> BtfType | Sequence[BtfType]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index not in self._types:
            try:
                self._types[index] = self._read(index)
            except (struct.error, ValueError) as error:
                raise BtfError(f"damaged BTF: {error}") from None
        return self._types[index]

    def _read(self, index: int) -> BtfType:
        name, info, value = self._heads[index]
        kind = BtfKind((info >> 24) & 0x1F)
        fixed, each = _TRAILERS[kind]
        at = self._starts[index] + _HEAD.size
        trailer = self._data[at : at + fixed + each * (info & 0xFFFF)]
        members: tuple[Member, ...] = ()
        array = (0, 0)
        if kind in (BtfKind.STRUCT, BtfKind.UNION):
            # With the flag, the upper byte of an offset is a bit field's width.
            mask = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
            members = tuple(
                Member(self.string(at), of, (bits & mask) // 8)
                for at, of, bits in struct.iter_unpack("=III", trailer)
            )
        elif kind is BtfKind.DATASEC:
            members = tuple(
                Member(self.string(self._heads[of][0]) if of < len(self) else "", of, offset)
                for of, offset, _ in struct.iter_unpack("=III", trailer)
            )
        elif kind is BtfKind.ARRAY:
            element, _, count = struct.unpack("=III", trailer)
            array = (element, count)
        place = self._first + self._starts[index]
        return BtfType(index, kind, self.string(name), value, members, array, place)

    def string(self, offset: int) -> str:
        """The string at `offset` of the string section."""
        return self._strings[offset : self._strings.index(b"\0", offset)].decode()

    def find(self, kind: BtfKind, name: str) -> BtfType | None:
        """The first type of that kind and name."""
        for index, (at, info, _) in enumerate(self._heads):
            if (info >> 24) & 0x1F == kind and self.string(at) == name:
                return self[index]
        return None

    def section(self, name: str) -> dict[str, Member]:
        """The variables and functions in the section `name` by name; empty without such one."""
        found = self.find(BtfKind.DATASEC, name)
        return {member.name: member for member in found.members} if found else {}

    def resolve(self, type_id: int) -> BtfType:
        """The type behind typedefs and qualifiers (and behind a variable)."""
        for _ in range(64):  # a cycle of modifiers is damaged BTF
            found = self[type_id]
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
