"""The language's arithmetic where pythonbpf's differs, in steps that it has: see arith.h.

pythonbpf divides as C does, compares signed with unsigned numbers as C does, and knows neither
`min`, `max`, `abs` nor `~`. BPF before its fourth version divides unsigned numbers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.backend.text import U64, Value
from scx_vsched.policy.ir import BOOL
from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from scx_vsched.backend.text import Writer
    from scx_vsched.policy.ir import ScalarType

__all__ = [
    "absolute",
    "bit_count",
    "compare",
    "divide",
    "extremum",
    "invert",
    "lowest_bit",
    "shift",
]

S64, U32 = INT_TYPES["s64"], INT_TYPES["u32"]
_SWAPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def divide(w: Writer, op: str, left: Value, right: Value) -> Value:
    """`left // right` or `left % right`, rounded down; 0 and `left` where `right` is 0."""
    kind = _int(left)
    quotient = _signed_quotient(w, left, right) if kind.signed else _quotient(w, left, right)
    if op == "//":
        return w.convert(quotient, kind)
    product = w.op(quotient, "*", w.convert(right, U64))
    return w.convert(w.op(w.convert(left, U64), "-", product), kind)


def _quotient(w: Writer, left: Value, right: Value) -> Value:
    dividend, divisor = w.hidden(w.convert(left, U64)), w.convert(right, U64)
    found = w.let(U64, "0")
    with w.block(f"if {w.test(divisor, '!=', w.const(0, U64))}"):
        w.set(found, w.op(dividend, "//", divisor))
    return found


def _signed_quotient(w: Writer, left: Value, right: Value) -> Value:
    """As a u64 that wraps to it."""
    zero, nothing = w.const(0, S64), w.const(0, U64)
    negative, magnitude = [], []
    for value in (left, right):
        below = w.test(w.convert(value, S64), "<", zero)
        size = w.let(U64, value.name)
        with w.block(f"if {below}"):
            w.set(size, w.op(nothing, "-", size))
        negative.append(below)
        magnitude.append(size)
    dividend, divisor = w.hidden(magnitude[0]), magnitude[1]
    found = w.let(U64, "0")
    with w.block(f"if {w.test(divisor, '!=', nothing)}"):
        w.set(found, w.op(dividend, "//", divisor))
        with w.block(f"if {w.test(negative[0], '!=', negative[1])}"):
            with w.block(f"if {w.test(w.op(found, '*', divisor), '!=', dividend)}"):
                w.set(found, w.op(found, "+", w.const(1, U64)))
            w.set(found, w.op(nothing, "-", found))
    return found


def shift(w: Writer, op: str, left: Value, right: Value) -> Value:
    """`left << right` or `left >> right`, the count modulo the width."""
    kind = _int(left)
    count = w.op(w.let(U32, right.name), "&", w.const(kind.bits - 1, U32))
    # of the left side's type: pythonbpf gives a shift the type in which both sides meet
    return w.op(left, op, w.convert(count, kind))


def invert(w: Writer, value: Value) -> Value:
    """`~value`."""
    kind = _int(value)
    return w.op(value, "^", w.const(-1 if kind.signed else kind.max, kind))


def absolute(w: Writer, value: Value) -> Value:
    """`abs(value)`, wrapped."""
    kind = _int(value)
    if not kind.signed:
        return value
    found, zero = w.let(kind, value.name), w.const(0, kind)
    with w.block(f"if {w.test(value, '<', zero)}"):
        w.set(found, w.op(zero, "-", value))
    return found


def extremum(w: Writer, op: str, values: list[Value]) -> Value:
    """`min` or `max` of values of one type."""
    found = w.let(values[0].type, values[0].name)
    for value in values[1:]:
        with w.block(f"if {w.test(value, '<' if op == 'min' else '>', found)}"):
            w.set(found, value)
    return found


def compare(w: Writer, op: str, left: Value, right: Value) -> Value:
    """`left op right` of the numbers, whatever their types."""
    common = _common(left.type, right.type)
    if common is not None:
        return w.test(w.convert(left, common), op, w.convert(right, common))
    if not _int(left).signed:
        left, op, right = right, _SWAPPED[op], left
    # an s64 or narrower with a u64: a negative number is less than all
    found = w.let(BOOL, str(op in {"<", "<=", "!="}))
    wide = w.convert(left, S64)
    with w.block(f"if {w.test(wide, '>=', w.const(0, S64))}"):
        w.set(found, w.test(w.let(U64, wide.name), op, right))
    return found


def _common(left: ScalarType, right: ScalarType) -> ScalarType | None:
    """A type that holds all values of both, or None."""
    if left == right:
        return left
    if not isinstance(left, IntType) or not isinstance(right, IntType):
        raise TypeError(f"{left.name} compared with {right.name}")
    for kind in (left, right, S64):
        if all(kind.holds(end) for t in (left, right) for end in (t.min, t.max)):
            return kind
    return None


def bit_count(w: Writer, mask: Value) -> Value:
    """How many bits of a u64 are set, as a u32."""

    def both(value: Value, op: str, number: int) -> Value:
        return w.op(value, op, w.const(number, U64))

    mask = w.op(mask, "-", both(both(mask, ">>", 1), "&", 0x5555555555555555))
    pairs = 0x3333333333333333
    mask = w.op(both(mask, "&", pairs), "+", both(both(mask, ">>", 2), "&", pairs))
    mask = both(w.op(mask, "+", both(mask, ">>", 4)), "&", 0x0F0F0F0F0F0F0F0F)
    return w.convert(both(both(mask, "*", 0x0101010101010101), ">>", 56), U32)


def lowest_bit(w: Writer, mask: Value) -> Value:
    """The number of the lowest bit set in a u64, as a u32; 64 where none is."""
    lowest = w.op(mask, "&", w.op(w.const(0, U64), "-", mask))
    return bit_count(w, w.op(lowest, "-", w.const(1, U64)))


def _int(value: Value) -> IntType:
    if not isinstance(value.type, IntType):
        raise TypeError(f"{value} is no integer")
    return value.type
