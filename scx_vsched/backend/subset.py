"""The part of Python that pythonbpf compiles as it says: anything else ends the build.

pythonbpf leaves out what it does not know (`a if c else b`, `min()`, `~x`, unknown calls) without
an error. So its input is read back and compared with this list, whatever wrote it.
"""

from __future__ import annotations

import ast

__all__ = ["check_subset"]

_TYPES = frozenset(
    ["c_bool", *(f"c_{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
)
_OPERATORS = (
    ast.Add, ast.Sub, ast.Mult, ast.FloorDiv,
    ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift,
)  # fmt: skip
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


class SubsetError(Exception):
    """Text that pythonbpf might compile to something else; a defect of the backend."""


def check_subset(source: str) -> None:
    """Raises SubsetError with the line for the first thing that is not on the list."""
    for function in ast.parse(source).body:
        match function:
            case ast.FunctionDef(
                args=ast.arguments(
                    args=[ast.arg(arg="frame", annotation=ast.Name(id="c_void_p"))],
                    posonlyargs=[], vararg=None, kwonlyargs=[], kwarg=None, defaults=[],
                ),
                returns=ast.Name(id="c_uint64"),
            ):  # fmt: skip
                names: dict[str, str] = {}
                for statement in function.body[:-1]:
                    _statement(statement, names)
                if not isinstance(function.body[-1], ast.Return):
                    raise _outside(function.body[-1])
                _name(function.body[-1].value, names)
            case _:
                raise _outside(function)


def _statement(node: ast.stmt, names: dict[str, str]) -> None:
    match node:
        case ast.AnnAssign(
            target=ast.Name(id=name), annotation=ast.Name(id=kind), value=ast.expr() as value
        ) if kind in _TYPES and names.setdefault(name, kind) == kind:
            _value(value, names)
        case ast.Assign(targets=[target], value=ast.Name() | ast.Constant() as value):
            _name(target, names)
            _value(value, names)
        case ast.If(test=ast.Name() as test, body=body, orelse=orelse):
            _name(test, names)
            for inner in (*body, *orelse):
                _statement(inner, names)
        case ast.While(test=test, body=body, orelse=[]):
            if not (isinstance(test, ast.Constant) and test.value is True):
                _value(test, names)
            for inner in body:
                _statement(inner, names)
        case ast.Break() | ast.Continue() | ast.Pass():
            pass
        case ast.Expr(
            ast.Call(ast.Name("scx_line"), [ast.Constant(int()), ast.Constant(int())], [])
        ):
            pass
        case _:
            raise _outside(node)


def _value(node: ast.expr, names: dict[str, str]) -> None:
    match node:
        case ast.Constant(value=bool() | int()):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int())):
            pass
        case ast.Name():
            _name(node, names)
        case ast.UnaryOp(op=ast.USub() | ast.Not(), operand=operand):
            _name(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            # of different types, pythonbpf would take C's rules
            if _name(left, names) != _name(right, names):
                raise _outside(node)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARISONS):
            if _name(left, names) != _name(right, names):
                raise _outside(node)
        case ast.Call(
            ast.Name("scx_input"), [ast.Constant(int()), ast.Constant(1 | 2 | 4 | 8)], []
        ):
            pass
        case ast.Call(func=ast.Name(id="scx_hide"), args=[argument], keywords=[]):
            _name(argument, names)
        case _:
            raise _outside(node)


def _name(node: ast.expr | None, names: dict[str, str]) -> str:
    """The type of the variable `node`."""
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    raise _outside(node)


def _outside(node: ast.AST | None) -> SubsetError:
    if node is None:
        return SubsetError("a function returns nothing")
    line = getattr(node, "lineno", 0)
    return SubsetError(f"line {line}: {ast.unparse(node).splitlines()[0]}")
