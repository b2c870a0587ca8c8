"""Which hooks the second backend takes: those that only compute their result from what they read.

All that a hook reads is handed to it when it begins, in a struct: fields of views, tunables,
state, the time. What a hook changes would have to be seen by its next read, by others at
the same moment and in order, so whatever changes anything is left to clang.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.callgraph import calls_of
from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["MAX_BYTES", "Inputs", "UnfitError", "check_fit", "reachable", "size_of"]

MAX_BYTES = 128
"""Of what a hook reads; a chain of calls has 512 bytes for its stack."""


class UnfitError(Exception):
    """The backend does not take a function, and why: completes "`name` …"."""


_NOWHERE = ir.Span(0, 0, 0, 0)


class Inputs:
    """What a function reads from outside, in terms of its own parameters: members of a struct."""

    def __init__(self) -> None:
        self._offsets: dict[ir.Expr, int] = {}
        self._size = 0

    def offset(self, expr: ir.Expr) -> int:
        """Where the struct has what `expr` reads; raises UnfitError when it gets too large."""
        key = dataclasses.replace(expr, span=_NOWHERE)
        if isinstance(key, ir.StateRef) and isinstance(key.owner, ir.ViewRef):
            key = dataclasses.replace(key, owner=dataclasses.replace(key.owner, span=_NOWHERE))
        if key not in self._offsets:
            width = size_of(key.type)
            self._offsets[key] = -(-self._size // width) * width  # aligned, as C does
            self._size = self._offsets[key] + width
        if self._size > MAX_BYTES:
            raise UnfitError(f"reads more than {MAX_BYTES} bytes of fields and tunables")
        return self._offsets[key]

    @property
    def size(self) -> int:
        """Bytes of the struct, in whole words."""
        return max(8, -(-self._size // 8) * 8)

    @property
    def expressions(self) -> tuple[ir.Expr, ...]:
        """What the struct has, in order."""
        return tuple(self._offsets)


def size_of(kind: ir.ScalarType) -> int:
    """Bytes that a value takes."""
    return kind.bits // 8 if isinstance(kind, IntType) else 1


def reachable(program: PolicyProgram, name: str) -> tuple[ir.Function, ...]:
    """The function and all that it calls, callees first."""
    needed = {name}
    for function in reversed(program.functions):
        if function.name in needed:
            needed.update(call.function for call in calls_of(function))
    return tuple(function for function in program.functions if function.name in needed)


def check_fit(program: PolicyProgram, name: str) -> None:
    """Raises UnfitError with the reason where the function, or one that it calls, does more."""
    if isinstance(program.function(name).returns, ir.VoidType):
        raise UnfitError("returns nothing: it is there for what it changes")
    for function in reachable(program, name):
        where = "" if function.name == name else f" of `{function.source_name}`"
        for node in ir.walk(function):
            reason = _reason(node)
            if reason:
                raise UnfitError(f"{reason}, in line {node.span.line}{where}")


def _reason(node: ir.Node) -> str:
    match node:
        case ir.Store(target=target):
            return f"changes the state `{target.state}`"
        case ir.Record(name=name):
            return f"counts in `{name}`"
        case ir.Effect(function=name):
            return f"calls `{name}`"
        case ir.Intrinsic(function="random_u32"):
            return "draws random numbers"
        case ir.StateRef(owner=ir.Expr(), state=state):
            return f"reads the state `{state}` by a number"
        case _:
            return ""
