"""Writes expressions as statements of one operation each, for `lower`."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.backend import arithmetic
from scx_vsched.backend.fits import Inputs, UnfitError, size_of
from scx_vsched.backend.text import Value, Writer
from scx_vsched.policy import ir

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Expressions", "Frame"]


@dataclass(slots=True)
class Frame:
    """One inlined call: what names of its function stand for."""

    function: ir.Function
    values: dict[str, Value]
    views: Mapping[str, str]  # to the outermost function's parameters
    result: Value
    done: Value | None = None  # whether it has returned, where that happens in a loop
    loops: int = field(default=0)


class Expressions(abc.ABC):
    """The expressions of one function and of what it calls."""

    def __init__(self, program: PolicyProgram) -> None:
        self.program = program
        self.w = Writer()
        self.inputs = Inputs()
        self.files: list[str] = []

    def _input(self, expr: ir.Expr) -> Value:
        return self.w.let(expr.type, f"scx_input({self.inputs.offset(expr)}, {size_of(expr.type)})")

    @abc.abstractmethod
    def _goto(self, frame: Frame, span: ir.Span) -> None:
        """What is written next stands for this place of the policy."""

    @abc.abstractmethod
    def _inline(
        self, function: ir.Function, values: dict[str, Value], views: Mapping[str, str]
    ) -> Value:
        """The result of a call."""

    def _expr(self, frame: Frame, expr: ir.Expr) -> Value:
        w = self.w
        match expr:
            case ir.Const(value=value):
                return w.const(value, expr.type)
            case ir.Local(name=name):
                return frame.values[name]
            case ir.Field(variable=variable):
                return self._input(dataclasses.replace(expr, variable=frame.views[variable]))
            case ir.StateRef(owner=ir.ViewRef() as owner):
                owner = dataclasses.replace(owner, name=frame.views[owner.name])
                return self._input(dataclasses.replace(expr, owner=owner))
            case ir.StateRef(owner=None) | ir.TunableRef() | ir.Intrinsic(function="now_ns"):
                return self._input(expr)
            case ir.Intrinsic(function="bit_count", arguments=[mask]):
                return arithmetic.bit_count(w, self._expr(frame, mask))
            case ir.Intrinsic(function="lowest_bit", arguments=[mask]):
                return arithmetic.lowest_bit(w, self._expr(frame, mask))
            case ir.Unary(op="~", operand=operand):
                return arithmetic.invert(w, self._expr(frame, operand))
            case ir.Unary(operand=operand):
                return w.let(expr.type, f"-{self._expr(frame, operand)}")
            case ir.Not(operand=operand):
                return w.let(ir.BOOL, f"not {self._expr(frame, operand)}")
            case ir.Binary(op=op, left=left, right=right):
                return self._binary(op, self._expr(frame, left), self._expr(frame, right))
            case ir.Compare():
                return self._compare(frame, expr)
            case ir.Logic(op=op, operands=operands):
                found = w.let(ir.BOOL, self._expr(frame, operands[0]).name)
                self._further(frame, op, found, operands[1:])
                return found
            case ir.Conditional(test=test, then=then, otherwise=otherwise):
                found = w.let(expr.type, "0")
                with w.block(f"if {self._expr(frame, test)}"):
                    w.set(found, self._expr(frame, then))
                with w.block("else"):
                    w.set(found, self._expr(frame, otherwise))
                return found
            case ir.Convert(operand=operand):
                return w.convert(self._expr(frame, operand), expr.type)
            case ir.Extremum(op=op, operands=operands):
                return arithmetic.extremum(w, op, [self._expr(frame, o) for o in operands])
            case ir.Abs(operand=operand):
                return arithmetic.absolute(w, self._expr(frame, operand))
            case ir.Call():
                return self._call(frame, expr)
            case _:
                raise UnfitError(f"has a {type(expr).__name__}")

    def _binary(self, op: str, left: Value, right: Value) -> Value:
        if op in {"//", "%"}:
            return arithmetic.divide(self.w, op, left, right)
        if op in {"<<", ">>"}:
            return arithmetic.shift(self.w, op, left, right)
        return self.w.op(left, op, right)

    def _compare(self, frame: Frame, expr: ir.Compare) -> Value:
        """`a < b < c` as `a < b and b < c`, with `b` computed once."""
        left, right = (self._expr(frame, operand) for operand in expr.operands[:2])
        found = arithmetic.compare(self.w, expr.ops[0], left, right)
        if len(expr.ops) > 1:
            found = self.w.let(ir.BOOL, found.name)
            self._chain(frame, expr, 1, found, right)
        return found

    def _chain(self, frame: Frame, expr: ir.Compare, at: int, found: Value, left: Value) -> None:
        with self.w.block(f"if {found}"):
            right = self._expr(frame, expr.operands[at + 1])
            self.w.set(found, arithmetic.compare(self.w, expr.ops[at], left, right))
            if at + 1 < len(expr.ops):
                self._chain(frame, expr, at + 1, found, right)

    def _further(self, frame: Frame, op: str, found: Value, operands: tuple[ir.Expr, ...]) -> None:
        """The operands of `and` and `or` after the first, each if those before leave it open."""
        for operand in operands:
            test = found if op == "and" else self.w.let(ir.BOOL, f"not {found}")
            with self.w.block(f"if {test}"):
                self.w.set(found, self._expr(frame, operand))

    def _call(self, frame: Frame, call: ir.Call) -> Value:
        function = self.program.function(call.function)
        values, views = {}, {}
        for parameter, argument in zip(function.parameters, call.arguments, strict=True):
            if isinstance(argument, ir.ViewRef):
                views[parameter.name] = frame.views[argument.name]
            else:
                values[parameter.name] = self._expr(frame, argument)
        found = self._inline(function, values, views)
        self._goto(frame, call.span)
        return found
