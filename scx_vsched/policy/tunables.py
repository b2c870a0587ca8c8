"""Reads `name = tunable(default, unit=…, min=…, max=…, doc=…)` in a policy class, and what a
class of state says of a field in the same way: `name: u32 = setting(default, …)`.
"""

from __future__ import annotations

import ast

from scx_vsched.policy import ir
from scx_vsched.policy.diagnostics import span_of
from scx_vsched.policy.expressions import Expressions
from scx_vsched.policy.program import Setting, StateField, Tunable
from scx_vsched.policy.scope import FunctionScope, Scope, closest
from scx_vsched.policy.types import INT_TYPES, IntType

__all__ = ["read_setting", "read_tunable"]

_NUMBERS = ("default", "min", "max")
_TEXTS = ("unit", "doc")
_KNOWN = {
    "tunable": frozenset({*_NUMBERS, *_TEXTS, "frozen"}),
    "setting": frozenset({*_NUMBERS, *_TEXTS}),
}
_EXAMPLES = {
    "tunable": 'write `tunable(4, unit="ms", min=1, max=100, doc="…")`',
    "setting": 'write `setting(256, min=1, max=65535, doc="…")`',
}


def read_tunable(scope: Scope, call: ast.Call, name: str) -> Tunable:
    """The tunable that `call` declares."""
    arguments = _arguments(scope, call, "tunable")
    numbers = {key: _number(scope, arguments[key]) for key in _NUMBERS}
    kind = INT_TYPES["s64" if numbers["min"] < 0 else "u64"]
    _check(scope, arguments, numbers, kind, name)
    return Tunable(
        name,
        "s64" if numbers["min"] < 0 else "u64",
        numbers["default"],
        numbers["min"],
        numbers["max"],
        _text(scope, arguments.get("unit")),
        _text(scope, arguments.get("doc")),
        _flag(scope, arguments.get("frozen")),
    )


def read_setting(scope: Scope, call: ast.Call, name: str, kind: ir.ScalarType) -> StateField:
    """The field `name` of the type `kind` that the user sets for each domain."""
    arguments = _arguments(scope, call, "setting")
    if not isinstance(kind, IntType):
        raise scope.reporter.refuse(
            call, "what the user sets is a number", f"write `{name}: u32 = setting(0, …, max=1)`"
        )
    numbers = {key: _number(scope, arguments[key]) for key in _NUMBERS}
    _check(scope, arguments, numbers, kind, name)
    unit, doc = (_text(scope, arguments.get(key)) for key in _TEXTS)
    if not doc:
        raise scope.reporter.refuse(call, "the setting has no `doc`", _EXAMPLES["setting"])
    return StateField(
        name, kind, numbers["default"], Setting(numbers["min"], numbers["max"], unit, doc)
    )


def _check(
    scope: Scope,
    arguments: dict[str, ast.expr],
    numbers: dict[str, int],
    kind: IntType,
    name: str,
) -> None:
    low, high, default = numbers["min"], numbers["max"], numbers["default"]
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


def _arguments(scope: Scope, call: ast.Call, what: str) -> dict[str, ast.expr]:
    example, known = _EXAMPLES[what], _KNOWN[what]
    found: dict[str, ast.expr] = {}
    if len(call.args) > 1 or any(isinstance(a, ast.Starred) for a in call.args):
        raise scope.reporter.refuse(call, f"`{what}` takes one number, the rest by name", example)
    if call.args:
        found["default"] = call.args[0]
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in known:
            given = keyword.arg or "**"
            raise scope.reporter.refuse(
                keyword,
                f"`{what}` has no argument `{given}`",
                closest(given, known) or example,
            )
        if keyword.arg in found:
            raise scope.reporter.refuse(keyword, f"`{keyword.arg}` is given twice", example)
        found[keyword.arg] = keyword.value
    missing = [key for key in _NUMBERS if key not in found]
    if missing:
        raise scope.reporter.refuse(call, f"the {what} has no `{missing[0]}`", example)
    return found


def _number(scope: Scope, node: ast.expr) -> int:
    found = Expressions(scope, FunctionScope()).integer(node)
    if not isinstance(found, ir.Const):
        raise scope.reporter.refuse(
            node, "this is not a constant", "use numbers and module constants"
        )
    return found.value


def _text(scope: Scope, node: ast.expr | None) -> str:
    if node is None:
        return ""
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
