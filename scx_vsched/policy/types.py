"""The integer types of the policy language.

At run time a type is a callable that wraps a Python integer to its width, as C does on assignment;
for editors and mypy it is `int`, so that `self.slice_ns // 2` is a `u64` without a cast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

__all__ = ["INT_TYPES", "IntType", "s8", "s16", "s32", "s64", "u8", "u16", "u32", "u64"]


@dataclass(frozen=True, slots=True)
class IntType:
    """A two's complement integer of `bits` bits; calling it wraps a value to its range."""

    name: str
    bits: int
    signed: bool

    @property
    def min(self) -> int:
        """The smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The largest value."""
        return (1 << (self.bits - self.signed)) - 1

    def holds(self, value: int) -> bool:
        """Whether `value` is representable without wrapping."""
        return self.min <= value <= self.max

    def __call__(self, value: int) -> int:
        """`value` modulo 2**bits, in this type's range."""
        value = int(value) & ((1 << self.bits) - 1)
        return value - (1 << self.bits) if self.signed and value > self.max else value

    def __repr__(self) -> str:
        return self.name


INT_TYPES: dict[str, IntType] = {
    f"{'s' if signed else 'u'}{bits}": IntType(f"{'s' if signed else 'u'}{bits}", bits, signed)
    for bits in (8, 16, 32, 64)
    for signed in (False, True)
}

if TYPE_CHECKING:
    u8 = int
    u16 = int
    u32 = int
    u64 = int
    s8 = int
    s16 = int
    s32 = int
    s64 = int
else:
    u8, s8, u16, s16, u32, s32, u64, s64 = INT_TYPES.values()
