"""What Python has and the policy language has not: why, and what to write instead."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy.scope import code

if TYPE_CHECKING:
    from scx_vsched.policy.diagnostics import Refused, Reporter

__all__ = ["refuse_expression", "refuse_statement"]

_NO_CONTAINERS = "the language has no containers; use a view's fields and local variables"

_EXPRESSIONS: dict[type[ast.expr], tuple[str, str]] = {
    ast.Await: ("`await`", "a hook runs to its end at once"),
    ast.Dict: ("a dictionary", _NO_CONTAINERS),
    ast.DictComp: ("a comprehension", "write a `for` loop"),
    ast.FormattedValue: ("text", "hooks compute with integers and booleans"),
    ast.GeneratorExp: ("a generator", "write a `for` loop"),
    ast.JoinedStr: ("text", "hooks compute with integers and booleans"),
    ast.Lambda: ("`lambda`", "define a helper function above the class"),
    ast.List: ("a list", _NO_CONTAINERS),
    ast.ListComp: ("a comprehension", "write a `for` loop"),
    ast.NamedExpr: ("`:=`", "assign on a line of its own"),
    ast.Set: ("a set", _NO_CONTAINERS),
    ast.SetComp: ("a comprehension", "write a `for` loop"),
    ast.Slice: ("a slice", _NO_CONTAINERS),
    ast.Starred: ("`*`", "write each value by itself"),
    ast.Subscript: ("an index", _NO_CONTAINERS),
    ast.Tuple: ("a tuple", _NO_CONTAINERS),
    ast.Yield: ("`yield`", "return one value"),
    ast.YieldFrom: ("`yield`", "return one value"),
}

_STATEMENTS: dict[type[ast.stmt], tuple[str, str]] = {
    ast.Assert: ("`assert`", "hooks cannot fail; assert in the policy's tests"),
    ast.AsyncFor: ("`async`", "a hook runs to its end at once"),
    ast.AsyncFunctionDef: ("`async`", "a hook runs to its end at once"),
    ast.AsyncWith: ("`async`", "a hook runs to its end at once"),
    ast.ClassDef: ("a class here", "a policy file has one class, at its top level"),
    ast.Delete: ("`del`", "variables end with their function"),
    ast.FunctionDef: ("a nested function", "define it above the class or as a method"),
    ast.Global: ("`global`", "hooks keep no state; return what changes"),
    ast.Import: ("`import` here", "import from scx_vsched.policy on top of the file"),
    ast.ImportFrom: ("`import` here", "import from scx_vsched.policy on top of the file"),
    ast.Match: ("`match`", "write `if` … `elif` … `else`"),
    ast.Nonlocal: ("`nonlocal`", "hooks keep no state; return what changes"),
    ast.Raise: ("`raise`", "hooks cannot fail; return a safe value"),
    ast.Try: ("`try`", "nothing in a hook can fail: division by zero has a defined result"),
    ast.TryStar: ("`try`", "nothing in a hook can fail: division by zero has a defined result"),
    ast.TypeAlias: ("`type`", "use the integer types' own names"),
    ast.While: ("`while`", "write `for i in range(…)` with a bound, and `break`"),
    ast.With: ("`with`", "hooks hold no resources"),
}


def refuse_expression(reporter: Reporter, node: ast.expr) -> Refused:
    """The error to raise for an expression that is not in the language."""
    match node:
        case ast.BinOp(op=ast.Div()):
            return reporter.refuse(
                node,
                "`/` gives a fraction",
                f"write `{code(_with_operator(node, ast.FloorDiv()))}` instead, it rounds down",
            )
        case ast.BinOp(op=ast.Pow(), left=ast.Constant(value=2)):
            return reporter.refuse(
                node, "`**` is not in the policy language", f"write `1 << {code(node.right)}`"
            )
        case ast.BinOp(op=ast.Pow()):
            return reporter.refuse(node, "`**` is not in the policy language", "multiply instead")
        case ast.BinOp(op=ast.MatMult()):
            return reporter.refuse(
                node, "`@` is not in the policy language", "hooks compute with integers"
            )
        case ast.Compare(ops=ops) if any(isinstance(op, ast.In | ast.NotIn) for op in ops):
            return reporter.refuse(
                node, "`in` is not in the policy language", "compare: `x == 1 or x == 2`"
            )
        case ast.Compare():
            return reporter.refuse(node, "`is` is not in the policy language", "compare with `==`")
        case ast.Constant(value=float()):
            return reporter.refuse(
                node,
                "hooks compute with integers, not with fractions",
                "scale: a share of 0.5 is 512 of 1024",
            )
        case ast.Constant(value=None):
            return reporter.refuse(node, "`None` is not a value of the language", "use 0 or False")
        case ast.Constant(value=str() | bytes()):
            return reporter.refuse(
                node, "text is not in the policy language", "use integers and booleans"
            )
        case _:
            what, hint = _EXPRESSIONS.get(type(node), (f"`{type(node).__name__}`", ""))
            return reporter.refuse(node, f"{what} is not in the policy language", hint)


def refuse_statement(reporter: Reporter, node: ast.stmt) -> Refused:
    """The error to raise for a statement that is not in the language."""
    what, hint = _STATEMENTS.get(type(node), (f"`{type(node).__name__}`", ""))
    return reporter.refuse(node, f"{what} is not in the policy language", hint)


def _with_operator(node: ast.BinOp, op: ast.operator) -> ast.BinOp:
    return ast.BinOp(left=node.left, op=op, right=node.right)
