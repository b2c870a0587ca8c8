"""Values of a map's structure by the names of its members, as the object's BTF has them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scx_vsched.bpf.btf import BtfKind

if TYPE_CHECKING:
    from scx_vsched.bpf.btf import Btf

__all__ = ["Layout"]

_SIZES = (1, 2, 4, 8)


class Layout:
    """How to read a structure; its integers only, nested structures by "outer.member"."""

    def __init__(self, btf: Btf, type_id: int) -> None:
        """Of the structure `type_id`."""
        self._members = dict(_members(btf, type_id, "", 0))

    def read(self, raw: bytes) -> dict[str, int]:
        """Each member's value."""
        return {
            name: int.from_bytes(raw[at : at + size], sys.byteorder, signed=signed)
            for name, (at, size, signed) in self._members.items()
        }


def _members(
    btf: Btf, type_id: int, prefix: str, at: int
) -> list[tuple[str, tuple[int, int, bool]]]:
    found: list[tuple[str, tuple[int, int, bool]]] = []
    for member in btf.resolve(type_id).members:
        of, offset = btf.resolve(member.type), at + member.offset
        if of.kind in {BtfKind.INT, BtfKind.ENUM} and of.value in _SIZES:
            found.append((prefix + member.name, (offset, of.value, _is_signed(btf, member.type))))
        elif of.kind is BtfKind.STRUCT:
            found += _members(btf, member.type, f"{prefix}{member.name}.", offset)
        elif of.kind is BtfKind.ARRAY:
            element, count = of.array
            size = btf.size(element)
            for number in range(count):
                inner = f"{prefix}{member.name}[{number}]."
                found += _members(btf, element, inner, offset + number * size)
    return found


def _is_signed(btf: Btf, type_id: int) -> bool:
    """By the name of the type, s8 to s64: this project's C uses no other signed ones in maps."""
    found = btf[type_id]
    while found.kind in {BtfKind.CONST, BtfKind.VOLATILE, BtfKind.TYPEDEF}:
        if found.kind is BtfKind.TYPEDEF and found.name.startswith("s"):
            return True
        found = btf[found.value]
    return False
