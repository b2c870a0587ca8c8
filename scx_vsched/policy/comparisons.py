"""Checks comparisons, which are exact whatever the types of the two sides."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy import ir, semantics
from scx_vsched.policy.conversions import LITERAL, coerce, settle
from scx_vsched.policy.diagnostics import span_of
from scx_vsched.policy.refusals import refuse_expression
from scx_vsched.policy.scope import code

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.policy.expressions import Expressions

__all__ = ["check_compare"]

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def check_compare(check: Expressions, node: ast.Compare) -> ir.Expr:
    """A comparison, chained or not, of integers or of booleans."""
    nodes = [node.left, *node.comparators]
    ops = []
    for operator in node.ops:
        op = _COMPARISONS.get(type(operator))
        if op is None:
            raise refuse_expression(check.reporter, node)
        ops.append(op)
    operands = [check.any(operand) for operand in nodes]
    for i, op in enumerate(ops):
        _check_pair(check, node, op, nodes[i : i + 2], operands[i : i + 2])
    operands = [
        _compared(check, nodes[i], operand, operands[max(0, i - 1) : i + 2])
        for i, operand in enumerate(operands)
    ]
    if all(isinstance(operand, ir.Const) for operand in operands):
        values = [operand.value for operand in operands if isinstance(operand, ir.Const)]
        result = all(
            semantics.COMPARISONS[op](values[i], values[i + 1]) for i, op in enumerate(ops)
        )
        return ir.Const(span_of(node), ir.BOOL, result)
    return ir.Compare(span_of(node), ir.BOOL, tuple(ops), tuple(operands))


def _check_pair(
    check: Expressions, node: ast.Compare, op: str, nodes: list[ast.expr], operands: list[ir.Expr]
) -> None:
    booleans = [operand.type == ir.BOOL for operand in operands]
    if all(booleans) and op not in {"==", "!="}:
        raise check.reporter.refuse(
            node, f"booleans have no order, `{op}` cannot compare them", "use `==` or `!=`"
        )
    if any(booleans) and not all(booleans):
        flag, other = (0, 1) if booleans[0] else (1, 0)
        raise check.reporter.refuse(
            node,
            "a bool compared with an integer",
            f"write `{code(nodes[flag])}` alone, or compare "
            f"`{code(nodes[other])}` with `(1 if {code(nodes[flag])} else 0)`",
        )


def _compared(
    check: Expressions, node: ast.expr, operand: ir.Expr, around: Sequence[ir.Expr]
) -> ir.Expr:
    """A bare number among the operands takes a typed neighbour's type, and must fit all."""
    if operand.type != LITERAL:
        return operand
    targets = [n.type for n in around if n.type not in (ir.BOOL, LITERAL)]
    for target in reversed(targets):
        found = coerce(check.reporter, node, operand, target)
    return found if targets else settle(check.reporter, node, operand)
