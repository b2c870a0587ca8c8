"""Checks calls: `min`, `max`, `abs`, conversions such as `u32(x)`, hooks and helpers."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.conversions import LITERAL, settle, unify, wrap
from scx_vsched.policy.diagnostics import Refused, span_of
from scx_vsched.policy.intrinsics import INTRINSICS, Intrinsic
from scx_vsched.policy.references import refuse_bare_state
from scx_vsched.policy.scope import Signature, closest, code
from scx_vsched.policy.types import INT_TYPES

if TYPE_CHECKING:
    from scx_vsched.policy.expressions import Expressions

__all__ = ["check_call", "check_statement_call"]

# What people try, and what to write instead.
_INSTEAD = {
    "bool": "compare: `x != 0`",
    "int": "name the width: `s64(x)`",
    "float": "integers only; scale by 1024, say, and divide with `//` at the end",
    "round": "add half of the divisor before `//`",
    "pow": "multiply, or shift for powers of two",
    "divmod": "use `//` and `%`",
    "sum": "add in a `for` loop",
    "any": "combine with `or`",
    "all": "combine with `and`",
    "range": "`range` only stands in a `for` statement",
    "vcpus_of": "`vcpus_of` only stands in a `for` statement",
    "print": "a hook has no output; test it in CPython instead",
    "len": "the language has no containers",
}


def check_call(check: Expressions, node: ast.Call) -> ir.Expr:
    """The call as typed IR."""
    found = _checked(check, node)
    if isinstance(found, ir.Perform | ir.Record | ir.Effect):
        raise check.reporter.refuse(
            node, "this call gives no value", "write it on a line of its own"
        )
    return found


def check_statement_call(check: Expressions, node: ast.Call) -> ir.Stmt | None:
    """The call as a statement: for what it changes; None where it can change nothing."""
    found = _checked(check, node)
    if isinstance(found, ir.Call):
        return ir.Perform(found.span, found.function, found.arguments)
    return found if isinstance(found, ir.Perform | ir.Record | ir.Effect) else None


type _Found = ir.Expr | ir.Perform | ir.Record | ir.Effect


def _checked(check: Expressions, node: ast.Call) -> _Found:
    reporter = check.reporter
    for keyword in node.keywords:
        raise reporter.refuse(keyword.value, "arguments are passed by position", "drop the name")
    for argument in node.args:
        if isinstance(argument, ast.Starred):
            raise reporter.refuse(argument, "`*` in a call", "pass each argument by itself")
    match node.func:
        case ast.Attribute(
            value=ast.Attribute(value=ast.Name(id="self"), attr=name), attr=method
        ) if check.names.is_method and name in check.scope.counters:
            return _record(check, node, name, method)
        case ast.Attribute(value=ast.Name(id="self"), attr=name) if check.names.is_method:
            return _method(check, node, name)
        case ast.Name(id=name) if name in check.names.variables:
            raise reporter.refuse(node.func, f"`{name}` is a variable, not a function")
        case ast.Name(id="min" | "max" as name):
            return _extremum(check, node, "min" if name == "min" else "max")
        case ast.Name(id="abs"):
            return _abs(check, node)
        case ast.Name(id=name) if name in INT_TYPES:
            return _conversion(check, node, name)
        case ast.Name(id=name) if name in INTRINSICS and name not in check.scope.functions:
            return _intrinsic(check, node, INTRINSICS[name])
        case ast.Name(id=name) if name in check.scope.functions:
            return _function(check, node, check.scope.functions[name])
        case ast.Name(id=name):
            return _unknown(check, node, name)
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="self"), attr=name)) if (
            name in check.scope.broken
        ):
            raise Refused
        case ast.Attribute(value=ast.Name(id=owner)) if owner in check.names.views:
            raise reporter.refuse(node, f"`{owner}` has fields, no methods", "drop the parentheses")
        case _:
            raise reporter.refuse(
                node, "a call of something that is not a function", "call hooks and helpers by name"
            )


def _arguments(check: Expressions, node: ast.Call, name: str, count: int) -> list[ast.expr]:
    if len(node.args) != count:
        raise check.reporter.refuse(
            node,
            f"`{name}` takes {count} argument{'s' if count != 1 else ''}, not {len(node.args)}",
        )
    return node.args


def _extremum(check: Expressions, node: ast.Call, op: ir.ExtremumOp) -> ir.Expr:
    if len(node.args) < 2:
        raise check.reporter.refuse(
            node, f"`{op}` takes two or more integers", "the language has no containers"
        )
    parts = [(argument, check.integer(argument)) for argument in node.args]
    values = [part.value for _, part in parts if isinstance(part, ir.Const)]
    pick = min if op == "min" else max
    if len(values) == len(parts) and all(part.type == LITERAL for _, part in parts):
        return ir.Const(span_of(node), LITERAL, pick(values))
    operands = unify(check.reporter, node, parts)
    if len(values) == len(parts):
        return ir.Const(span_of(node), operands[0].type, pick(values))
    return ir.Extremum(span_of(node), operands[0].type, op, tuple(operands))


def _abs(check: Expressions, node: ast.Call) -> ir.Expr:
    (argument,) = _arguments(check, node, "abs", 1)
    operand = check.integer(argument)
    if isinstance(operand, ir.Const):
        return ir.Const(span_of(node), operand.type, ir.int_type(operand)(abs(operand.value)))
    operand = settle(check.reporter, argument, operand)
    return ir.Abs(span_of(node), operand.type, operand)


def _conversion(check: Expressions, node: ast.Call, name: str) -> ir.Expr:
    if name not in check.scope.imported:
        raise check.reporter.refuse(
            node.func,
            f"`{name}` is not imported",
            f"add `from scx_vsched.policy import {name}`",
        )
    (argument,) = _arguments(check, node, name, 1)
    return wrap(check.any(argument), INT_TYPES[name])


def _record(check: Expressions, node: ast.Call, name: str, method: str) -> ir.Record:
    kind = check.scope.counters[name].kind
    wanted = f"`self.{name}.add({'…' if kind == 'histogram' else ''})`"
    if method != "add":
        raise check.reporter.refuse(node.func, f"a {kind} has no `{method}`", f"write {wanted}")
    if not node.args and kind == "counter":
        return ir.Record(span_of(node), name, ir.Const(span_of(node), INT_TYPES["u64"], 1))
    if len(node.args) != 1:
        raise check.reporter.refuse(node, "`add` takes one number", f"write {wanted}")
    value = check.value(node.args[0], INT_TYPES["u64"], f"for `{name}`")
    return ir.Record(span_of(node), name, value)


def _intrinsic(check: Expressions, node: ast.Call, found: Intrinsic) -> ir.Expr | ir.Effect:
    if found.name not in check.scope.imported:
        raise check.reporter.refuse(
            node.func,
            f"`{found.name}` is not imported",
            f"add `from scx_vsched.policy import {found.name}`",
        )
    arguments = tuple(
        check.value(argument, kind, f"by `{found.name}`")
        for argument, kind in zip(
            _arguments(check, node, found.name, len(found.parameters)),
            found.parameters,
            strict=True,
        )
    )
    if found.returns is None:
        return ir.Effect(span_of(node), found.name, arguments)
    return ir.Intrinsic(span_of(node), found.returns, found.name, arguments)


def _method(check: Expressions, node: ast.Call, name: str) -> ir.Expr | ir.Perform:
    signature = check.scope.methods.get(name)
    if signature is not None:
        return _function(check, node, signature)
    if name in check.scope.broken:
        raise Refused
    if name in check.scope.states:
        raise refuse_bare_state(check, node, check.scope.states[name])
    if name in check.scope.tunables:
        raise check.reporter.refuse(
            node, f"`{name}` is a tunable, not a function", f"write `self.{name}`"
        )
    if name in check.scope.functions:
        raise check.reporter.refuse(
            node, f"`{name}` is a function of the module", f"write `{name}(…)` without `self.`"
        )
    raise check.reporter.refuse(
        node.func, f"the policy has no method `{name}`", closest(name, check.scope.methods)
    )


def _function(check: Expressions, node: ast.Call, signature: Signature) -> ir.Expr | ir.Perform:
    shown = f"{'' if signature.kind == 'function' else 'self.'}{signature.name}"
    arguments = _arguments(check, node, shown, len(signature.parameters))
    passed = tuple(
        check.argument(argument, parameter)
        for argument, parameter in zip(arguments, signature.parameters, strict=True)
    )
    if isinstance(signature.returns, ir.VoidType):
        return ir.Perform(span_of(node), signature.name, passed)
    return ir.Call(span_of(node), signature.returns, signature.name, passed)


def _unknown(check: Expressions, node: ast.Call, name: str) -> ir.Expr:
    if name in check.scope.broken:
        raise Refused
    if name in check.scope.methods and check.names.is_method:
        raise check.reporter.refuse(
            node.func, f"unknown function `{name}`", f"write `self.{name}(…)`"
        )
    known = {*check.scope.functions, *check.scope.imported, "min", "max", "abs"}
    hint = _INSTEAD.get(name) or closest(name, known)
    raise check.reporter.refuse(
        node.func,
        f"`{name}` is not in the policy language"
        if name in _INSTEAD
        else f"unknown function `{code(node.func)}`",
        hint,
    )
