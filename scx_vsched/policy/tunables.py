"""Reads `name = tunable(default, unit=…, min=…, max=…, doc=…)` in a policy class."""

from __future__ import annotations

import ast

from scx_vsched.policy import ir
from scx_vsched.policy.diagnostics import span_of
from scx_vsched.policy.expressions import Expressions
from scx_vsched.policy.program import Tunable
from scx_vsched.policy.scope import FunctionScope, Scope, closest
from scx_vsched.policy.types import INT_TYPES

__all__ = ["read_tunable"]

_NUMBERS = ("default", "min", "max")
_TEXTS = ("unit", "doc")
_KNOWN = {*_NUMBERS, *_TEXTS, "frozen"}
_EXAMPLE = 'write `tunable(4, unit="ms", min=1, max=100, doc="…")`'


def read_tunable(scope: Scope, call: ast.Call, name: str) -> Tunable:
    """The tunable that `call` declares."""
    arguments = _arguments(scope, call)
    numbers = {key: _number(scope, arguments[key]) for key in _NUMBERS}
    texts = {key: _text(scope, arguments[key]) if key in arguments else "" for key in _TEXTS}
    low, high, default = numbers["min"], numbers["max"], numbers["default"]
    kind = INT_TYPES["s64" if low < 0 else "u64"]
    for key in _NUMBERS:
        if not kind.holds(numbers[key]):
            raise scope.reporter.refuse(
                arguments[key],
                f"`{key}` does not fit {kind.name}, the type of `{name}`",
                f"{kind.name} holds {kind.min} to {kind.max}",
            )
    if low > high:
        raise scope.reporter.refuse(
            arguments["min"], f"`min` {low} is above `max` {high}", "swap them"
        )
    if not low <= default <= high:
        raise scope.reporter.refuse(
            arguments["default"],
            f"the default {default} is not within {low} to {high}",
            "choose one within, or widen the bounds",
        )
    return Tunable(
        name,
        "s64" if low < 0 else "u64",
        default,
        low,
        high,
        texts["unit"],
        texts["doc"],
        _flag(scope, arguments.get("frozen")),
    )


def _arguments(scope: Scope, call: ast.Call) -> dict[str, ast.expr]:
    found: dict[str, ast.expr] = {}
    if len(call.args) > 1 or any(isinstance(a, ast.Starred) for a in call.args):
        raise scope.reporter.refuse(call, "`tunable` takes one number, the rest by name", _EXAMPLE)
    if call.args:
        found["default"] = call.args[0]
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in _KNOWN:
            given = keyword.arg or "**"
            raise scope.reporter.refuse(
                keyword,
                f"`tunable` has no argument `{given}`",
                closest(given, _KNOWN) or _EXAMPLE,
            )
        if keyword.arg in found:
            raise scope.reporter.refuse(keyword, f"`{keyword.arg}` is given twice", _EXAMPLE)
        found[keyword.arg] = keyword.value
    missing = [key for key in _NUMBERS if key not in found]
    if missing:
        raise scope.reporter.refuse(call, f"the tunable has no `{missing[0]}`", _EXAMPLE)
    return found


def _number(scope: Scope, node: ast.expr) -> int:
    found = Expressions(scope, FunctionScope()).integer(node)
    if not isinstance(found, ir.Const):
        raise scope.reporter.refuse(
            node, "this is not a constant", "use numbers and module constants"
        )
    return found.value


def _text(scope: Scope, node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    raise scope.reporter.refuse(span_of(node), "this is not a text", 'write it in quotes: "…"')


def _flag(scope: Scope, node: ast.expr | None) -> bool:
    match node:
        case None:
            return False
        case ast.Constant(value=bool(value)):
            return value
        case _:
            raise scope.reporter.refuse(node, "this is not True or False", "write `frozen=True`")
