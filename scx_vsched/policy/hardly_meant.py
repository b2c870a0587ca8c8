"""Warns of arithmetic that wraps as the language says, and was hardly meant to.

Two cases are certain enough to be told: a result that no value of the operands keeps within the
type, and one of tunables and constants alone that some allowed setting takes beyond it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.bounds import Interval, exact, interval

if TYPE_CHECKING:
    import ast

    from scx_vsched.policy.expressions import Expressions

__all__ = ["warn_overflow", "warn_shift"]


def warn_overflow(
    check: Expressions, node: ast.BinOp, op: str, left: ir.Expr, right: ir.Expr
) -> None:
    """Warns where `left op right` leaves its type, always or for some setting of a tunable."""
    kind = ir.int_type(left)
    found = exact(op, _bounds(check, left), _bounds(check, right))
    if found is None or (kind.min <= found.low and found.high <= kind.max):
        return
    if found.low > kind.max or found.high < kind.min:
        check.reporter.warn(
            node,
            f"this always overflows {kind.name}: {_range(found)}, and {kind.name} holds "
            f"{kind.min} to {kind.max}",
            f"convert an operand to a wider type first, or write `{kind.name}(…)` of the result "
            "in a wider one",
        )
    elif _settings_alone(left) and _settings_alone(right) and not _constant(left, right):
        check.reporter.warn(
            node,
            f"this overflows {kind.name} at some allowed setting: {_range(found)}",
            "lower the tunable's `max`, or divide before you multiply",
        )


def warn_shift(check: Expressions, node: ast.BinOp, left: ir.Expr, right: ir.Expr) -> None:
    """Warns where the count of a shift is beyond the width whatever its value."""
    kind, found = ir.int_type(left), _bounds(check, right)
    if isinstance(right, ir.Const) or (found.low < kind.bits and found.high >= 0):
        return
    check.reporter.warn(
        node.right,
        f"a {kind.name} is shifted by {_range(found)}, always beyond its width",
        f"counts are taken modulo {kind.bits}",
    )


def _bounds(check: Expressions, expr: ir.Expr) -> Interval:
    return interval(expr, check.names.intervals, check.scope.tunables)


def _settings_alone(expr: ir.Expr) -> bool:
    return all(
        isinstance(part, ir.Const | ir.TunableRef | ir.Binary | ir.Convert | ir.Extremum)
        for part in ir.walk(expr)
    )


def _constant(*parts: ir.Expr) -> bool:
    return all(isinstance(part, ir.Const) for part in parts)


def _range(found: Interval) -> str:
    if found.low == found.high:
        return f"it is {found.low}"
    return f"{found.low} to {found.high}"
