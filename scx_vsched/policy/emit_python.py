"""Emits a policy's functions as Python functions that compute what the same hooks do in BPF.

The typed IR becomes a syntax tree with the wrap of each type written out, compiled under the
policy's own file name and line numbers: tracebacks, debuggers and coverage show the policy file.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from scx_vsched.policy import intrinsics, ir
from scx_vsched.policy.semantics import floor_div, floor_mod
from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.policy.program import PolicyProgram

__all__ = ["emit_python"]

_OPERATORS: dict[str, ast.operator] = {
    "+": ast.Add(),
    "-": ast.Sub(),
    "*": ast.Mult(),
    "//": ast.FloorDiv(),
    "%": ast.Mod(),
    "&": ast.BitAnd(),
    "|": ast.BitOr(),
    "^": ast.BitXor(),
    "<<": ast.LShift(),
    ">>": ast.RShift(),
}
_COMPARISONS: dict[str, ast.cmpop] = {
    "==": ast.Eq(),
    "!=": ast.NotEq(),
    "<": ast.Lt(),
    "<=": ast.LtE(),
    ">": ast.Gt(),
    ">=": ast.GtE(),
}
# No policy can use these names: it may not begin a name with two underscores.
_DIV, _MOD = "__floor_div", "__floor_mod"
_EXACT = {"&", "|", "^", "%", ">>"}  # whose results are always within the type


def emit_python(program: PolicyProgram, module: str = "") -> dict[str, Callable[..., Any]]:
    """Python functions for all functions of `program`, by their unique names.

    Hooks and methods take the policy object first, whose attributes are the tunables and methods;
    `module` becomes the functions' `__module__`.
    """
    namespace: dict[str, Any] = {_DIV: floor_div, _MOD: floor_mod, "__name__": module}
    namespace |= {f"__{name}": kind for name, kind in INT_TYPES.items()}
    asked = (*intrinsics.INTRINSICS, "vcpus_of")
    namespace |= {f"__{name}": getattr(intrinsics, name) for name in asked}
    names = {f.name: f for f in program.functions}
    found: dict[str, Callable[..., Any]] = {}
    for function in program.functions:
        tree = ast.Module([_Emitter(function, names).definition()], [])
        code = compile(ast.fix_missing_locations(tree), function.filename, "exec")
        exec(code, namespace)  # noqa: S102 - the tree is made from checked IR alone
        made = found[function.name] = namespace[function.name]
        made.__doc__ = function.doc or None
        made.__annotations__ = {p.name: p.type.name for p in function.parameters}
        made.__annotations__["return"] = function.returns.name
        if function.kind != "function":
            made.__qualname__ = f"{program.name}.{function.name}"
    return found


class _Emitter:
    """Emits one function."""

    def __init__(self, function: ir.Function, functions: dict[str, ir.Function]) -> None:
        self.function = function
        self.functions = functions

    def definition(self) -> ast.FunctionDef:
        function = self.function
        names = [p.name for p in function.parameters]
        if function.kind != "function":
            names.insert(0, "self")
        arguments = ast.arguments(
            posonlyargs=[],
            args=[ast.arg(name) for name in names],
            kwonlyargs=[],
            kw_defaults=[],
            defaults=[],
        )
        entry = [
            _at(ast.Assign([ast.Name(p.name, ast.Store())], _entry(p)), function.span)
            for p in function.parameters
            if not isinstance(p.type, ir.ViewType)
        ]
        body = [*entry, *self._block(function.body)]
        made = ast.FunctionDef(function.name, arguments, body, [], None, None, [])
        return _at(made, function.span)

    def _block(self, body: tuple[ir.Stmt, ...]) -> list[ast.stmt]:
        return [_at(self._statement(s), s.span) for s in body] or [ast.Pass()]

    def _statement(self, statement: ir.Stmt) -> ast.stmt:
        match statement:
            case ir.Assign(name=name, value=value):
                return ast.Assign([ast.Name(name, ast.Store())], self._expr(value))
            case ir.Store(target=target, op=op, value=value):
                member = self._state(target, ast.Store())
                if not op:
                    return ast.Assign([member], self._expr(value))
                changed = ast.BinOp(self._expr(target), _OPERATORS[op], self._expr(value))
                return ast.Assign([member], _wrap(changed, ir.int_type(target)))
            case ir.Record(name=name, value=value):
                counter = ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load())
                add = ast.Attribute(counter, "add", ast.Load())
                return ast.Expr(ast.Call(add, [self._expr(value)], []))
            case ir.Perform(function=name, arguments=arguments):
                return ast.Expr(self._called(name, arguments))
            case ir.Effect(function=name, arguments=effect):
                return ast.Expr(_call(f"__{name}", [self._expr(argument) for argument in effect]))
            case ir.Return(value=value):
                return ast.Return(None if value is None else self._expr(value))
            case ir.If(test=test, body=body, orelse=orelse):
                otherwise = self._block(orelse) if orelse else []
                return ast.If(self._expr(test), self._block(body), otherwise)
            case ir.For(target=target, start=start, stop=stop, step=step, body=body):
                bounds = [self._expr(start), self._expr(stop), ast.Constant(step)]
                loop = ast.Call(ast.Name("range", ast.Load()), bounds, [])
                return ast.For(ast.Name(target, ast.Store()), loop, self._block(body), [])
            case ir.ForBits(target=target, mask=mask, body=body):
                bits = _call("__vcpus_of", [self._expr(mask)])
                return ast.For(ast.Name(target, ast.Store()), bits, self._block(body), [])
            case ir.Break():
                return ast.Break()
            case ir.Continue():
                return ast.Continue()

    def _expr(self, expr: ir.Expr | ir.ViewRef) -> ast.expr:
        return _at(self._value(expr), expr.span)

    def _value(self, expr: ir.Expr | ir.ViewRef) -> ast.expr:
        match expr:
            case ir.Const(value=value):
                return ast.Constant(value)
            case ir.Local(name=name) | ir.ViewRef(name=name):
                return ast.Name(name, ast.Load())
            case ir.Field(variable=variable, field=field):
                return ast.Attribute(ast.Name(variable, ast.Load()), field, ast.Load())
            case ir.TunableRef(name=name):
                return ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load())
            case ir.Unary(op=op, operand=operand):
                sign = ast.USub() if op == "-" else ast.Invert()
                return _wrap(ast.UnaryOp(sign, self._expr(operand)), ir.int_type(expr))
            case ir.Not(operand=operand):
                return ast.UnaryOp(ast.Not(), self._expr(operand))
            case ir.Binary():
                return self._binary(expr)
            case ir.Compare(ops=ops, operands=operands):
                first, *rest = (self._expr(operand) for operand in operands)
                return ast.Compare(first, [_COMPARISONS[op] for op in ops], rest)
            case ir.Logic(op=op, operands=operands):
                sign_ = ast.And() if op == "and" else ast.Or()
                return ast.BoolOp(sign_, [self._expr(operand) for operand in operands])
            case ir.Conditional(test=test, then=then, otherwise=otherwise):
                return ast.IfExp(self._expr(test), self._expr(then), self._expr(otherwise))
            case ir.Convert(operand=operand):
                return self._convert(expr, operand)
            case ir.Extremum(op=op, operands=operands):
                return _call(op, [self._expr(operand) for operand in operands])
            case ir.Abs(operand=operand):
                return _wrap(_call("abs", [self._expr(operand)]), ir.int_type(expr))
            case ir.Call(function=name, arguments=arguments):
                return self._called(name, arguments)
            case ir.StateRef():
                return self._state(expr, ast.Load())
            case ir.Intrinsic(function=name, arguments=given):
                return _call(f"__{name}", [self._expr(argument) for argument in given])
            case _:
                raise TypeError(f"no Python for {ir.text(expr)}")

    def _called(self, name: str, arguments: tuple[ir.Expr | ir.ViewRef, ...]) -> ast.Call:
        callee: ast.expr = ast.Name(name, ast.Load())
        if self.functions[name].kind != "function":
            callee = ast.Attribute(ast.Name("self", ast.Load()), name, ast.Load())
        return ast.Call(callee, [self._expr(argument) for argument in arguments], [])

    def _state(self, expr: ir.StateRef, context: ast.expr_context) -> ast.Attribute:
        found: ast.expr = ast.Attribute(ast.Name("self", ast.Load()), expr.state, ast.Load())
        if expr.owner is not None:
            found = ast.Call(found, [self._expr(expr.owner)], [])
        return ast.Attribute(found, expr.field, context)

    def _binary(self, expr: ir.Binary) -> ast.expr:
        kind, op = ir.int_type(expr), expr.op
        left, right = self._expr(expr.left), self._expr(expr.right)
        if op in {"<<", ">>"} and not isinstance(expr.right, ir.Const):
            right = ast.BinOp(right, ast.BitAnd(), ast.Constant(kind.bits - 1))
        if op in {"//", "%"} and not isinstance(expr.right, ir.Const):
            value: ast.expr = _call(_DIV if op == "//" else _MOD, [left, right])
        else:
            value = ast.BinOp(left, _OPERATORS[op], right)
        return value if op in _EXACT else _wrap(value, kind)

    def _convert(self, expr: ir.Convert, operand: ir.Expr) -> ast.expr:
        value = self._expr(operand)
        if operand.type == ir.BOOL:
            return ast.IfExp(value, ast.Constant(1), ast.Constant(0))
        return _wrap(value, ir.int_type(expr)) if expr.explicit else value


def _at[T: (ast.expr, ast.stmt, ast.FunctionDef)](node: T, span: ir.Span) -> T:
    node.lineno, node.col_offset = span.line, span.column
    node.end_lineno, node.end_col_offset = span.end_line, span.end_column
    return node


def _call(name: str, arguments: list[ast.expr]) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), arguments, [])


def _wrap(value: ast.expr, kind: IntType) -> ast.expr:
    """`value` modulo 2**bits: masked if unsigned, else shifted to the type's range."""
    mask = ast.Constant((1 << kind.bits) - 1)
    if not kind.signed:
        return ast.BinOp(value, ast.BitAnd(), mask)
    half = ast.Constant(-kind.min)
    shifted = ast.BinOp(ast.BinOp(value, ast.Add(), half), ast.BitAnd(), mask)
    return ast.BinOp(shifted, ast.Sub(), half)


def _entry(parameter: ir.Parameter) -> ast.expr:
    """A scalar argument as the parameter's type holds it, as C converts it at a call."""
    value = ast.Name(parameter.name, ast.Load())
    if parameter.type == ir.BOOL:
        return ast.IfExp(value, ast.Constant(True), ast.Constant(False))
    return _call(f"__{parameter.type.name}", [value])
