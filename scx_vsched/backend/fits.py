"""Which hooks the second backend takes: those that only compute their result from what they read.

All that a hook reads is handed to it when it begins, in slots of eight bytes: fields of views,
tunables, state, the time. What a hook changes would have to be seen by its next read, by others at
the same moment and in order, so whatever changes anything is left to clang.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.callgraph import calls_of

if TYPE_CHECKING:
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["MAX_SLOTS", "Inputs", "Unfit", "check_fit", "reachable"]

MAX_SLOTS = 16
"""128 of the 512 bytes that a chain of calls has for its stack."""


class Unfit(Exception):
    """The backend does not take a function, and why: completes "`name` …"."""


_NOWHERE = ir.Span(0, 0, 0, 0)


class Inputs:
    """What a function reads from outside, in terms of its own parameters; a slot for each."""

    def __init__(self) -> None:
        self._slots: dict[ir.Expr, int] = {}

    def slot(self, expr: ir.Expr) -> int:
        """The slot of what `expr` reads; raises Unfit when there are too many."""
        key = dataclasses.replace(expr, span=_NOWHERE)
        if isinstance(key, ir.StateRef) and isinstance(key.owner, ir.ViewRef):
            key = dataclasses.replace(key, owner=dataclasses.replace(key.owner, span=_NOWHERE))
        if key not in self._slots and len(self._slots) == MAX_SLOTS:
            raise Unfit(f"reads more than {MAX_SLOTS} fields and tunables")
        return self._slots.setdefault(key, len(self._slots))

    @property
    def expressions(self) -> tuple[ir.Expr, ...]:
        """What is in the slots, in order."""
        return tuple(self._slots)


def reachable(program: PolicyProgram, name: str) -> tuple[ir.Function, ...]:
    """The function and all that it calls, callees first."""
    needed = {name}
    for function in reversed(program.functions):
        if function.name in needed:
            needed.update(call.function for call in calls_of(function))
    return tuple(function for function in program.functions if function.name in needed)


def check_fit(program: PolicyProgram, name: str) -> None:
    """Raises Unfit with the reason where the function, or one that it calls, does more."""
    if isinstance(program.function(name).returns, ir.VoidType):
        raise Unfit("returns nothing: it is there for what it changes")
    for function in reachable(program, name):
        where = "" if function.name == name else f" of `{function.source_name}`"
        for node in ir.walk(function):
            reason = _reason(node)
            if reason:
                raise Unfit(f"{reason}, in line {node.span.line}{where}")


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
