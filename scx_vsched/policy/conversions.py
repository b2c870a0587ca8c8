"""The typing rules of the policy language: how types meet, and when a value may change type.

- A bare number adapts to the type that it meets; left alone it is an s64.
- Two integers of one signedness meet in the wider type; of two signednesses in the signed type if
  that is strictly wider, and not at all otherwise.
- A value changes type by itself only if every value of its type survives; `u32(x)` wraps.
- Booleans and integers never mix.
"""

from __future__ import annotations

import ast
import dataclasses
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.scope import code
from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.policy.diagnostics import Reporter

__all__ = [
    "LITERAL",
    "LITERAL_BITS",
    "S64",
    "coerce",
    "common_type",
    "settle",
    "unify",
    "wrap",
]

LITERAL_BITS = 128
"""Constant expressions are computed exactly, up to this size."""

LITERAL = IntType("number", LITERAL_BITS, signed=True)
"""The type of a bare number that has not met a typed value yet; never leaves the front end."""

S64 = INT_TYPES["s64"]


def common_type(a: IntType, b: IntType) -> IntType | None:
    """The type in which `a` and `b` meet without loss, or None."""
    if a.signed == b.signed:
        return a if a.bits >= b.bits else b
    signed, unsigned = (a, b) if a.signed else (b, a)
    return signed if signed.bits > unsigned.bits else None


def coerce(
    reporter: Reporter, node: ast.expr, expr: ir.Expr, target: ir.ScalarType, role: str = ""
) -> ir.Expr:
    """`expr`, the value of `node`, as a `target`; refuses what would lose values.

    `role` says where the target type comes from, for the message.
    """
    where = f" {role}" if role else ""
    if expr.type == target:
        return expr
    if isinstance(target, ir.BoolType):
        raise reporter.refuse(
            node,
            f"{_article(expr.type)} where a bool is expected{where}",
            f"write `{_operand(node)} != 0`",
        )
    if expr.type == ir.BOOL:
        raise reporter.refuse(
            node,
            f"a bool where {_article(target)} is expected{where}",
            f"write `1 if {code(node)} else 0`",
        )
    if expr.type == LITERAL:
        return _adapt(reporter, node, expr, target)
    source = ir.int_type(expr)
    if common_type(source, target) != target:
        raise reporter.refuse(
            node,
            f"{_article(source)} may not fit {_article(target)}{where}",
            f"write `{target.name}({code(node)})` to wrap it",
        )
    if isinstance(expr, ir.Const):
        return dataclasses.replace(expr, type=target)
    return ir.Convert(expr.span, target, expr, explicit=False)


def settle(reporter: Reporter, node: ast.expr, expr: ir.Expr) -> ir.Expr:
    """`expr` with a bare number made an s64."""
    return coerce(reporter, node, expr, S64) if expr.type == LITERAL else expr


def unify(
    reporter: Reporter, node: ast.expr, parts: Sequence[tuple[ast.expr, ir.Expr]]
) -> list[ir.Expr]:
    """Integer operands brought to the type in which they meet."""
    typed = [(part, ir.int_type(expr)) for part, expr in parts if expr.type != LITERAL]
    target = typed[0][1] if typed else S64
    for part, found in typed[1:]:
        meeting = common_type(target, found)
        if meeting is None:
            signed, unsigned = (typed[0][0], part) if target.signed else (part, typed[0][0])
            raise reporter.refuse(
                node,
                f"{target.name} and {found.name} do not mix: neither holds all values of the other",
                f"convert one of them: `u64({code(signed)})` or `s64({code(unsigned)})`",
            )
        target = meeting
    return [coerce(reporter, part, expr, target) for part, expr in parts]


def wrap(expr: ir.Expr, target: IntType) -> ir.Expr:
    """`target(expr)`: an integer or a boolean wrapped to `target`."""
    if expr.type == target:
        return expr
    if isinstance(expr, ir.Const):
        return dataclasses.replace(expr, type=target, value=target(expr.value))
    if isinstance(expr, ir.Conditional) and expr.type == LITERAL:
        return dataclasses.replace(
            expr,
            type=target,
            then=wrap(expr.then, target),
            otherwise=wrap(expr.otherwise, target),
        )
    return ir.Convert(expr.span, target, expr, explicit=True)


def _adapt(reporter: Reporter, node: ast.expr, expr: ir.Expr, target: IntType) -> ir.Expr:
    if isinstance(expr, ir.Conditional):
        arms = (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node, node)
        return dataclasses.replace(
            expr,
            type=target,
            then=_adapt(reporter, arms[0], expr.then, target),
            otherwise=_adapt(reporter, arms[1], expr.otherwise, target),
        )
    if not isinstance(expr, ir.Const):
        raise TypeError(f"{ir.text(expr)} is no bare number")
    if not target.holds(expr.value):
        if target == S64 and INT_TYPES["u64"].holds(expr.value):
            hint = "a bare number is an s64; write `u64(…)` or annotate the variable with u64"
        elif expr.value < 0 and not target.signed:
            hint = f"{target.name} holds no negative numbers; convert the other side with `s64(…)`"
        else:
            hint = f"{target.name} holds {target.min} to {target.max}"
        raise reporter.refuse(node, f"{_number(expr.value)} does not fit {_article(target)}", hint)
    return dataclasses.replace(expr, type=target)


def _operand(node: ast.expr) -> str:
    simple = isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Constant)
    return code(node) if simple else f"({code(node)})"


def _number(value: int) -> str:
    return str(value) if abs(value) < 1 << 70 else f"a number of {abs(value).bit_length()} bits"


def _article(found: ir.ScalarType) -> str:
    vowel = found.name[0] == "s" and found.name[1:].isdigit()
    return f"{'an' if vowel else 'a'} {found.name}"
