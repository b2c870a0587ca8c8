"""Writes a typed function and all that it calls as one function of pythonbpf's Python.

pythonbpf has no calls and drops what it does not know, so calls are inlined and expressions become
statements: one operation each, on variables whose types are declared. An inlined body is a loop
that is left where the body returns.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.backend import arithmetic
from scx_vsched.backend.expressions import Expressions, Frame
from scx_vsched.backend.fits import UnfitError
from scx_vsched.backend.text import U64, Value
from scx_vsched.policy import ir
from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Lowered", "lower"]

S64 = INT_TYPES["s64"]


@dataclass(frozen=True, slots=True)
class Lowered:
    """A function as text, and what the struct behind its argument holds."""

    name: str
    source: str
    inputs: tuple[ir.Expr, ...]
    size: int  # of that struct, in bytes
    files: tuple[str, ...]  # that the calls of scx_line refer to by their places
    line: int


def lower(program: PolicyProgram, name: str) -> Lowered:
    """The function `name` of `program` as `pybpf_NAME(frame)`; UnfitError where it does not fit."""
    return _Lowering(program).run(program.function(name))


class _Lowering(Expressions):
    """Statements and functions."""

    def run(self, function: ir.Function) -> Lowered:
        if isinstance(function.returns, ir.VoidType):
            raise UnfitError("returns nothing")
        views, values = {}, {}
        for p in function.parameters:
            if isinstance(p.type, ir.ViewType):
                views[p.name] = p.name
            else:
                values[p.name] = self._input(ir.Local(function.span, p.type, p.name))
        found = self._inline(function, values, views)
        result = self.w.convert(found, U64)
        self.w.write("scx_line(0, 0)")
        self.w.write(f"return {result}")
        name = f"pybpf_{function.name}"
        head = ["@bpf", '@section(".text")', f"def {name}(frame: c_void_p) -> c_uint64:"]
        return Lowered(
            name,
            "\n".join([*head, *self.w.constants, *self.w.lines]) + "\n",
            self.inputs.expressions,
            self.inputs.size,
            tuple(self.files),
            function.span.line,
        )

    def _goto(self, frame: Frame, span: ir.Span) -> None:
        filename = frame.function.filename
        if filename not in self.files:
            self.files.append(filename)
        self.w.write(f"scx_line({span.line}, {self.files.index(filename)})")

    # ---- Functions ----

    def _inline(
        self, function: ir.Function, values: dict[str, Value], views: Mapping[str, str]
    ) -> Value:
        returns = function.returns
        if isinstance(returns, ir.VoidType):
            raise UnfitError(f"calls `{function.source_name}` for what it changes")
        w = self.w
        for name, kind in function.locals.items():
            values[name] = w.let(kind, "0" if isinstance(kind, IntType) else "False", f"{name}_")
        frame = Frame(function, values, views, w.let(returns, "0", "result"))
        if isinstance(function.body[-1], ir.Return) and _returns(function) == 1:
            for statement in function.body[:-1]:
                self._statement(frame, statement)
            self._goto(frame, function.body[-1].span)
            assert function.body[-1].value is not None  # noqa: S101 - it returns something
            w.set(frame.result, self._expr(frame, function.body[-1].value))
            return frame.result
        frame.done = w.let(ir.BOOL, "False", "done")
        with w.block("while True"):
            self._block(frame, function.body)
            w.write("break")
        return frame.result

    def _block(self, frame: Frame, body: tuple[ir.Stmt, ...]) -> None:
        for statement in body:
            self._statement(frame, statement)

    # ---- Statements ----

    def _statement(self, frame: Frame, statement: ir.Stmt) -> None:
        w = self.w
        self._goto(frame, statement.span)
        match statement:
            case ir.Assign(name=name, value=value):
                w.set(frame.values[name], self._expr(frame, value))
            case ir.Return(value=ir.Expr() as value):
                w.set(frame.result, self._expr(frame, value))
                if frame.loops:
                    w.write(f"{frame.done} = True")
                w.write("break")
            case ir.If(test=test, body=body, orelse=orelse):
                self._branch(frame, self._expr(frame, test), body, orelse)
            case ir.For():
                self._for(frame, statement)
            case ir.ForBits():
                self._for_bits(frame, statement)
            case ir.Break():
                w.write("break")
            case ir.Continue():
                w.write("continue")
            case _:
                raise UnfitError(f"has a {type(statement).__name__}")

    def _branch(
        self, frame: Frame, test: Value, body: tuple[ir.Stmt, ...], orelse: tuple[ir.Stmt, ...]
    ) -> None:
        with self.w.block(f"if {test}"):
            self._block(frame, body)
        if orelse:
            with self.w.block("else"):
                self._block(frame, orelse)

    def _for(self, frame: Frame, loop: ir.For) -> None:
        w = self.w
        kind = ir.int_type(loop.start)
        wide = S64 if kind.signed else U64
        start, stop = (w.convert(self._expr(frame, e), wide) for e in (loop.start, loop.stop))
        step = w.const(abs(loop.step), U64)
        first, last = (start, stop) if loop.step > 0 else (stop, start)
        trips = w.let(U64, "0")
        with w.block(f"if {w.test(first, '<', last)}"):
            one = w.const(1, U64)
            distance = w.op(w.let(U64, last.name), "-", w.let(U64, first.name))
            w.set(
                trips,
                distance
                if abs(loop.step) == 1
                else w.op(w.op(w.op(distance, "-", one), "//", step), "+", one),
            )
        trips = w.hidden(trips)
        begin = w.let(U64, start.name)
        with self._loop(frame, loop) as trip:
            with w.block(f"if {w.test(trip, '>=', trips)}"):
                w.write("break")
            offset = w.op(trip, "*", step)
            target = frame.values[loop.target]
            w.set(target, w.let(target.type, f"{begin} {'+' if loop.step > 0 else '-'} {offset}"))
            self._block(frame, loop.body)

    def _for_bits(self, frame: Frame, loop: ir.ForBits) -> None:
        w = self.w
        left = w.let(U64, self._expr(frame, loop.mask).name)
        with self._loop(frame, loop):
            with w.block(f"if {w.test(left, '==', w.const(0, U64))}"):
                w.write("break")
            w.set(frame.values[loop.target], arithmetic.lowest_bit(w, left))
            rest = w.op(left, "&", w.op(left, "-", w.const(1, U64)))
            w.set(left, w.hidden(rest))
            self._block(frame, loop.body)

    @contextlib.contextmanager
    def _loop(self, frame: Frame, loop: ir.For | ir.ForBits) -> Iterator[Value]:
        """A loop of at most so many trips; gives the trip's number, from 0."""
        w = self.w
        i, limit, one = w.let(U64, "0"), w.const(loop.trips, U64), w.const(1, U64)
        frame.loops += 1
        with w.block(f"while {i} < {limit}"):
            trip = w.let(U64, i.name)
            w.set(i, w.hidden(w.op(i, "+", one)))
            yield trip
        frame.loops -= 1
        if _returns(loop):
            with w.block(f"if {frame.done}"):
                w.write("break")


def _returns(node: ir.Node) -> int:
    return sum(isinstance(part, ir.Return) for part in ir.walk(node))
