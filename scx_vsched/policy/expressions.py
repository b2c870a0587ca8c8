"""Checks and types expressions: Python's syntax tree in, typed IR out.

Constant subexpressions are folded on the way, bare numbers exactly and typed ones with wrap.
"""

from __future__ import annotations

import ast

from scx_vsched.policy import ir, semantics
from scx_vsched.policy.calls import check_call
from scx_vsched.policy.comparisons import check_compare
from scx_vsched.policy.conversions import (
    LITERAL,
    LITERAL_BITS,
    coerce,
    settle,
    unify,
)
from scx_vsched.policy.diagnostics import Reporter, span_of
from scx_vsched.policy.hardly_meant import warn_overflow, warn_shift
from scx_vsched.policy.names import check_attribute, check_name, check_view
from scx_vsched.policy.refusals import refuse_expression
from scx_vsched.policy.scope import (
    FunctionScope,
    Scope,
    code,
)

__all__ = ["Expressions"]

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}


class Expressions:
    """Checks the expressions of one function, or of the module with an empty function scope."""

    def __init__(self, scope: Scope, names: FunctionScope) -> None:
        self.scope = scope
        self.names = names
        self.reporter: Reporter = scope.reporter

    # ---- What a statement asks for ----

    def value(self, node: ast.expr, target: ir.ScalarType, role: str = "") -> ir.Expr:
        """The expression as a value of type `target`; `role` says who asks for it."""
        return coerce(self.reporter, node, self.any(node), target, role)

    def argument(self, node: ast.expr, parameter: ir.Parameter) -> ir.Expr | ir.ViewRef:
        """The expression as an argument for `parameter` of a function."""
        role = f"for `{parameter.name}`"
        if isinstance(parameter.type, ir.ViewType):
            return check_view(self, node, parameter.type, role)
        return self.value(node, parameter.type, role)

    def truth(self, node: ast.expr) -> ir.Expr:
        """The expression as a condition: a boolean, or an integer compared with 0."""
        found = self.any(node)
        if found.type == ir.BOOL:
            return found
        if isinstance(found, ir.Const):
            return ir.Const(found.span, ir.BOOL, found.value != 0)
        found = settle(self.reporter, node, found)
        zero = ir.Const(found.span, found.type, 0)
        return ir.Compare(found.span, ir.BOOL, ("!=",), (found, zero))

    def integer(self, node: ast.expr) -> ir.Expr:
        """The expression as an integer, which may still be a bare number."""
        found = self.any(node)
        if found.type == ir.BOOL:
            raise self.reporter.refuse(
                node,
                "a bool where an integer is expected",
                f"write `1 if {code(node)} else 0`",
            )
        return found

    def any(self, node: ast.expr) -> ir.Expr:
        """The expression, of whatever type; a bare number has the type LITERAL."""
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.Name():
                return check_name(self, node)
            case ast.Attribute():
                return check_attribute(self, node)
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                return self._logic(node)
            case ast.Compare():
                return check_compare(self, node)
            case ast.IfExp():
                return self._conditional(node)
            case ast.Call():
                return check_call(self, node)
            case _:
                raise refuse_expression(self.reporter, node)

    def _constant(self, node: ast.Constant) -> ir.Expr:
        if isinstance(node.value, bool):
            return ir.Const(span_of(node), ir.BOOL, node.value)
        if isinstance(node.value, int):
            return self._literal(node, node.value)
        raise refuse_expression(self.reporter, node)

    def _literal(self, node: ast.expr, value: int) -> ir.Const:
        if not LITERAL.holds(value):
            raise self.reporter.refuse(
                node,
                f"a constant of more than {LITERAL_BITS - 1} bits",
                "the widest types have 64 bits",
            )
        return ir.Const(span_of(node), LITERAL, value)

    # ---- Operators ----

    def _binary(self, node: ast.BinOp) -> ir.Expr:
        op = _BINARY.get(type(node.op))
        if op is None:
            raise refuse_expression(self.reporter, node)
        left, right = self.integer(node.left), self.integer(node.right)
        if op in {"//", "%"} and isinstance(right, ir.Const) and right.value == 0:
            raise self.reporter.refuse(
                node.right,
                f"`{op}` by a constant 0",
                f"the language defines it as {'0' if op == '//' else 'the left side'}; write that",
            )
        if op in {"<<", ">>"}:
            return self._shift(node, op, left, right)
        if (
            isinstance(left, ir.Const)
            and isinstance(right, ir.Const)
            and left.type == right.type == LITERAL
        ):
            return self._literal(node, semantics.exact(op, left.value, right.value))
        left, right = unify(self.reporter, node, [(node.left, left), (node.right, right)])
        found = ir.int_type(left)
        warn_overflow(self, node, op, left, right)
        if isinstance(left, ir.Const) and isinstance(right, ir.Const):
            value = semantics.binary(op, found, left.value, right.value)
            return ir.Const(span_of(node), found, value)
        return ir.Binary(span_of(node), found, op, left, right)

    def _shift(self, node: ast.BinOp, op: str, left: ir.Expr, right: ir.Expr) -> ir.Expr:
        literal = isinstance(left, ir.Const) and left.type == LITERAL
        if not (literal and isinstance(right, ir.Const)):
            left = settle(self.reporter, node.left, left)
        found = ir.int_type(left)
        if isinstance(right, ir.Const) and not 0 <= right.value < found.bits:
            raise self.reporter.refuse(
                node.right,
                "shift of a number out of range"
                if literal
                else f"shift of {found.name} out of range",
                f"the count must be 0 to {found.bits - 1}",
            )
        if isinstance(left, ir.Const) and isinstance(right, ir.Const):
            if literal:
                return self._literal(node, semantics.exact(op, left.value, right.value))
            warn_overflow(self, node, op, left, right)
            value = semantics.binary(op, found, left.value, right.value)
            return ir.Const(span_of(node), found, value)
        right = settle(self.reporter, node.right, right)
        warn_shift(self, node, left, right)
        warn_overflow(self, node, op, left, right)
        return ir.Binary(span_of(node), found, op, left, right)

    def _unary(self, node: ast.UnaryOp) -> ir.Expr:
        if isinstance(node.op, ast.Not):
            operand = self.truth(node.operand)
            if isinstance(operand, ir.Const):
                return ir.Const(span_of(node), ir.BOOL, not operand.value)
            return ir.Not(span_of(node), ir.BOOL, operand)
        operand = self.integer(node.operand)
        if isinstance(operand, ir.Const):
            value = {ast.USub: -operand.value, ast.Invert: ~operand.value}.get(
                type(node.op), operand.value
            )
            if operand.type == LITERAL:
                return self._literal(node, value)
            return ir.Const(span_of(node), operand.type, ir.int_type(operand)(value))
        operand = settle(self.reporter, node.operand, operand)
        if isinstance(node.op, ast.UAdd):
            return operand
        op: ir.UnaryOp = "-" if isinstance(node.op, ast.USub) else "~"
        return ir.Unary(span_of(node), operand.type, op, operand)

    def _logic(self, node: ast.BoolOp) -> ir.Expr:
        op: ir.LogicOp = "and" if isinstance(node.op, ast.And) else "or"
        operands = tuple(self.value(value, ir.BOOL, f"by `{op}`") for value in node.values)
        return ir.Logic(span_of(node), ir.BOOL, op, operands)

    def _conditional(self, node: ast.IfExp) -> ir.Expr:
        test = self.truth(node.test)
        then, otherwise = self.any(node.body), self.any(node.orelse)
        if (then.type == ir.BOOL) != (otherwise.type == ir.BOOL):
            raise self.reporter.refuse(
                node,
                f"one side is a {then.type.name}, the other a {otherwise.type.name}",
                "give both sides one type",
            )
        if {then.type, otherwise.type} not in ({ir.BOOL}, {LITERAL}):
            then, otherwise = unify(
                self.reporter, node, [(node.body, then), (node.orelse, otherwise)]
            )
        if isinstance(test, ir.Const):
            return then if test.value else otherwise
        return ir.Conditional(span_of(node), then.type, test, then, otherwise)
