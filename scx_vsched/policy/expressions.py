"""Checks and types expressions: Python's syntax tree in, typed IR out.

Constant subexpressions are folded on the way, bare numbers exactly and typed ones with wrap.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy import ir, semantics
from scx_vsched.policy.calls import check_call
from scx_vsched.policy.conversions import (
    LITERAL,
    LITERAL_BITS,
    coerce,
    settle,
    unify,
)
from scx_vsched.policy.diagnostics import Refused, Reporter, span_of
from scx_vsched.policy.refusals import refuse_expression
from scx_vsched.policy.scope import (
    BUILTIN_CALLS,
    FunctionScope,
    Scope,
    closest,
    code,
)
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import field_info

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
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
            return self._view(node, parameter.type, role)
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
                return self._name(node)
            case ast.Attribute():
                return self._attribute(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                return self._logic(node)
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp():
                return self._conditional(node)
            case ast.Call():
                return check_call(self, node)
            case _:
                raise refuse_expression(self.reporter, node)

    # ---- Names ----

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

    def _name(self, node: ast.Name) -> ir.Expr:
        name, names, span = node.id, self.names, span_of(node)
        if name in names.views:
            first = next(iter(field_info(names.views[name])))
            raise self.reporter.refuse(
                node,
                f"`{name}` is a {names.views[name]}, not a value",
                f"read one of its fields, as in `{name}.{first}`",
            )
        if name in names.scalars:
            return ir.Local(span, names.scalars[name], name)
        if name in names.stored:
            return self._local(node)
        if name in self.scope.constants:
            constant = self.scope.constants[name]
            return ir.Const(span, constant.type, constant.value)
        if name in self.scope.broken:
            raise Refused
        if name in self.scope.functions or name in INT_TYPES or name in BUILTIN_CALLS:
            raise self.reporter.refuse(
                node, f"`{name}` is not a value", f"call it, as in `{name}(…)`"
            )
        if name == "self" and names.is_method:
            raise self.reporter.refuse(
                node, "`self` is not a value", "write `self.` and a tunable's or hook's name"
            )
        known = {*names.views, *names.scalars, *names.stored, *self.scope.constants, *BUILTIN_CALLS}
        known |= {*self.scope.functions, *self.scope.imported}
        if name in {*self.scope.tunables, *self.scope.methods} and names.is_method:
            raise self.reporter.refuse(node, f"unknown name `{name}`", f"write `self.{name}`")
        raise self.reporter.refuse(node, f"unknown name `{name}`", closest(name, known))

    def _local(self, node: ast.Name) -> ir.Expr:
        name = node.id
        if name not in self.names.assigned:
            if self.names.locals.get(name, ir.BOOL) is None:
                raise Refused
            raise self.reporter.refuse(
                node,
                f"`{name}` may have no value here",
                "assign it on every path that leads here, for instance before the `if` or `for`",
            )
        found = self.names.locals[name]
        if found is None:
            raise Refused
        return ir.Local(span_of(node), found, name)

    def _attribute(self, node: ast.Attribute) -> ir.Expr:
        owner = node.value
        if not isinstance(owner, ast.Name):
            raise self.reporter.refuse(
                node,
                f"`.{node.attr}` of something that is neither a view nor `self`",
                "only views (as in `task.nice`) and `self` have attributes",
            )
        if owner.id == "self" and self.names.is_method:
            return self._tunable(node)
        view = self.names.views.get(owner.id)
        if view is None:
            self.any(owner)  # reports an unknown name in its own words
            raise self.reporter.refuse(
                node, f"`{owner.id}` has no attributes", "only views and `self` have attributes"
            )
        fields = field_info(view)
        if node.attr not in fields:
            raise self.reporter.refuse(
                node,
                f"a {view} has no field `{node.attr}`",
                closest(node.attr, fields) or f"its fields are {', '.join(fields)}",
            )
        return ir.Field(span_of(node), fields[node.attr].type or ir.BOOL, view, owner.id, node.attr)

    def _tunable(self, node: ast.Attribute) -> ir.Expr:
        tunable = self.scope.tunables.get(node.attr)
        if tunable is not None:
            return ir.TunableRef(span_of(node), tunable.int_type, node.attr)
        if node.attr in self.scope.broken:
            raise Refused
        if node.attr in self.scope.methods:
            raise self.reporter.refuse(
                node, f"`self.{node.attr}` is not a value", f"call it: `self.{node.attr}(…)`"
            )
        if node.attr in self.scope.constants:
            raise self.reporter.refuse(
                node, f"`{node.attr}` is a constant of the module", f"write `{node.attr}`"
            )
        known = {*self.scope.tunables, *self.scope.methods}
        raise self.reporter.refuse(
            node,
            f"the policy has no tunable `{node.attr}`",
            closest(node.attr, known)
            or f"define it in the class: `{node.attr} = tunable(…, min=…, max=…)`",
        )

    def _view(self, node: ast.expr, target: ir.ViewType, role: str) -> ir.ViewRef:
        view = self.names.views.get(node.id) if isinstance(node, ast.Name) else None
        if view is None or not isinstance(node, ast.Name):
            of_type = [name for name, v in self.names.views.items() if v == target.name]
            raise self.reporter.refuse(
                node,
                f"a {target.name} is expected {role}".rstrip(),
                f"pass `{of_type[0]}`" if of_type else f"no parameter here is a {target.name}",
            )
        if view != target.name:
            raise self.reporter.refuse(node, f"a {view} where a {target.name} is expected {role}")
        return ir.ViewRef(span_of(node), target, node.id)

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
            value = semantics.binary(op, found, left.value, right.value)
            return ir.Const(span_of(node), found, value)
        return ir.Binary(span_of(node), found, op, left, settle(self.reporter, node.right, right))

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

    def _compare(self, node: ast.Compare) -> ir.Expr:
        nodes = [node.left, *node.comparators]
        ops = []
        for operator in node.ops:
            op = _COMPARE.get(type(operator))
            if op is None:
                raise refuse_expression(self.reporter, node)
            ops.append(op)
        operands = [self.any(operand) for operand in nodes]
        for i, op in enumerate(ops):
            self._check_pair(node, op, nodes[i : i + 2], operands[i : i + 2])
        operands = [
            self._compared(nodes[i], operand, operands[max(0, i - 1) : i + 2])
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
        self, node: ast.Compare, op: str, nodes: list[ast.expr], operands: list[ir.Expr]
    ) -> None:
        booleans = [operand.type == ir.BOOL for operand in operands]
        if all(booleans) and op not in {"==", "!="}:
            raise self.reporter.refuse(
                node, f"booleans have no order, `{op}` cannot compare them", "use `==` or `!=`"
            )
        if any(booleans) and not all(booleans):
            flag, other = (0, 1) if booleans[0] else (1, 0)
            raise self.reporter.refuse(
                node,
                "a bool compared with an integer",
                f"write `{code(nodes[flag])}` alone, or compare "
                f"`{code(nodes[other])}` with `(1 if {code(nodes[flag])} else 0)`",
            )

    def _compared(self, node: ast.expr, operand: ir.Expr, around: Sequence[ir.Expr]) -> ir.Expr:
        """A bare number among the operands takes a typed neighbour's type, and must fit all."""
        if operand.type != LITERAL:
            return operand
        targets = [n.type for n in around if n.type not in (ir.BOOL, LITERAL)]
        for target in reversed(targets):
            found = coerce(self.reporter, node, operand, target)
        return found if targets else settle(self.reporter, node, operand)

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
