"""What the compiler knows about values without running anything: intervals of integers.

Used to bound loops: `for i in range(min(task.nice, 8))` makes at most 8 trips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.policy.program import Tunable

__all__ = ["Interval", "exact", "interval", "most_bits", "trips"]


_WIDEST = 64


@dataclass(frozen=True, slots=True)
class Interval:
    """The integers from `low` to `high`, both included."""

    low: int
    high: int


def interval(
    expr: ir.Expr, locals_: Mapping[str, Interval], tunables: Mapping[str, Tunable]
) -> Interval:
    """Bounds of an integer expression's value; at worst those of its type.

    `locals_` holds the bounds of locals where more is known than their type.
    """
    kind = ir.int_type(expr)
    whole = Interval(kind.min, kind.max)

    def of(operand: ir.Expr) -> Interval:
        if operand.type == ir.BOOL:
            return Interval(0, 1)
        return interval(operand, locals_, tunables)

    match expr:
        case ir.Const(value=value):
            return Interval(value, value)
        case ir.Local(name=name):
            return locals_.get(name, whole)
        case ir.TunableRef(name=name):
            return Interval(tunables[name].min, tunables[name].max)
        case ir.Conditional(then=then, otherwise=otherwise):
            return _hull(of(then), of(otherwise))
        case ir.Extremum(op=op, operands=operands):
            parts = [of(operand) for operand in operands]
            pick = min if op == "min" else max
            return Interval(pick(p.low for p in parts), pick(p.high for p in parts))
        case ir.Binary(op=op, left=left, right=right):
            found = _binary(op, of(left), of(right), kind.bits)
        case ir.Unary(op=op, operand=operand):
            part = of(operand)
            offset = 1 if op == "~" else 0
            found = Interval(-part.high - offset, -part.low - offset)
        case ir.Abs(operand=operand):
            part = of(operand)
            ends = abs(part.low), abs(part.high)
            found = Interval(0 if part.low <= 0 <= part.high else min(ends), max(ends))
        case ir.Convert(operand=operand):
            found = of(operand)
        case _:
            return whole
    # A result outside of the type wraps to anywhere in it.
    return found if found and whole.low <= found.low and found.high <= whole.high else whole


def most_bits(mask: ir.Expr) -> int:
    """How many bits of an integer expression can be set at most."""
    match mask:
        case ir.Const(value=value) if value >= 0:
            return value.bit_count()
        case ir.Binary(op="&", left=left, right=right):
            return min(most_bits(left), most_bits(right))
        case ir.Convert(operand=operand) if isinstance(operand.type, IntType) and (
            not operand.type.signed
        ):
            return most_bits(operand)
        case _:
            return ir.int_type(mask).bits


def exact(op: str, a: Interval, b: Interval) -> Interval | None:
    """Bounds of what `+ - * <<` give before they wrap; None where they are not known."""
    if op == "<<":
        shifts = b.low == b.high and 0 <= b.low < _WIDEST
        return Interval(a.low << b.low, a.high << b.low) if shifts else None
    return _binary(op, a, b, _WIDEST) if op in {"+", "-", "*"} else None


def trips(start: Interval, stop: Interval, step: int) -> Interval:
    """How many trips `range(start, stop, step)` can make, least and most."""
    if step > 0:
        spans = stop.low - start.high, stop.high - start.low
    else:
        spans = start.low - stop.high, start.high - stop.low
    least, most = (max(0, -(-span // abs(step))) for span in spans)
    return Interval(least, most)


def _hull(a: Interval, b: Interval) -> Interval:
    return Interval(min(a.low, b.low), max(a.high, b.high))


def _corners(values: list[int]) -> Interval:
    return Interval(min(values), max(values))


def _binary(op: str, a: Interval, b: Interval, bits: int) -> Interval | None:
    """Bounds of the exact result, or None where nothing better than the type's is known."""
    count = b.low % bits if b.low == b.high else None
    match op:
        case "+":
            return Interval(a.low + b.low, a.high + b.high)
        case "-":
            return Interval(a.low - b.high, a.high - b.low)
        case "*":
            return _corners([x * y for x in (a.low, a.high) for y in (b.low, b.high)])
        case "//" if b.low > 0:
            return _corners([x // y for x in (a.low, a.high) for y in (b.low, b.high)])
        case "//" if b.low >= 0 and a.low >= 0:
            return Interval(0, a.high)  # x // 0 is 0
        case "%" if b.low > 0:
            return Interval(0, min(a.high, b.high - 1) if a.low >= 0 else b.high - 1)
        case "%" if b.low >= 0 and a.low >= 0:
            return Interval(0, a.high)  # x % 0 is x
        case "&" if a.low >= 0 or b.low >= 0:
            return Interval(0, min(i.high for i in (a, b) if i.low >= 0))
        case "|" | "^" if a.low >= 0 and b.low >= 0:
            return Interval(0, (1 << max(a.high.bit_length(), b.high.bit_length())) - 1)
        case ">>" if count is not None:
            return Interval(a.low >> count, a.high >> count)
        case "<<" if count is not None:
            return Interval(a.low << count, a.high << count)
    return None
