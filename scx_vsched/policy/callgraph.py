"""Who calls whom: the order of emission, no recursion, and bounded size and work.

The bounds keep generated code within what BPF can hold and its verifier can walk: 32,767
instructions between a jump and its target, a million instructions walked, 8,192 pending branches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.policy import ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["MAX_LOCALS", "MAX_SIZE", "MAX_WORK", "Cost", "calls_of", "cost", "ordered"]

MAX_SIZE = 2_000
"""Operations in a function, all its calls inlined."""

MAX_WORK = 32_000
"""Operations that one call of a function may execute, loops at their longest."""

MAX_LOCALS = 32
"""Variables and scalar parameters along a chain of calls; BPF's stack has 512 bytes."""

# A division tests its divisor, a signed one the signs too; a branch costs the verifier a state.
_WEIGHTS = {ir.Compare: 2, ir.Conditional: 2, ir.Extremum: 2, ir.If: 2, ir.Logic: 2, ir.Abs: 2}
_DIVISION_WEIGHT = 4


@dataclass(frozen=True, slots=True)
class Cost:
    """What a function or a part of it amounts to with its calls inlined."""

    size: int
    work: int
    locals: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.size + other.size, self.work + other.work, max(self.locals, other.locals))


def calls_of(function: ir.Function) -> Iterator[ir.Call | ir.Perform]:
    """Every call in the function's body, in source order."""
    return (node for node in ir.walk(function) if isinstance(node, ir.Call | ir.Perform))


def ordered(
    functions: Mapping[str, ir.Function],
    recursive: Callable[[ir.Function, ir.Call | ir.Perform], None],
) -> list[ir.Function]:
    """The functions, callees first; `recursive` is told of a call that closes a circle."""
    done: dict[str, ir.Function] = {}
    open_: set[str] = set()

    def visit(name: str) -> None:
        open_.add(name)
        for call in calls_of(functions[name]):
            if call.function in open_:
                recursive(functions[name], call)
            elif call.function in functions and call.function not in done:
                visit(call.function)
        open_.remove(name)
        done[name] = functions[name]

    for name in functions:
        if name not in done:
            visit(name)
    return list(done.values())


def cost(function: ir.Function, callees: Mapping[str, Cost]) -> Cost:
    """The cost of `function`, given that of the functions it calls."""
    own = len(function.locals)
    own += sum(not isinstance(parameter.type, ir.ViewType) for parameter in function.parameters)
    total = Cost(0, 0, 0)
    for statement in function.body:
        total += _cost(statement, callees)
    return Cost(total.size, total.work, total.locals + own)


def _cost(node: ir.Node, callees: Mapping[str, Cost]) -> Cost:
    weight = _WEIGHTS.get(type(node), 1)
    if isinstance(node, ir.Binary) and node.op in {"//", "%"}:
        weight = _DIVISION_WEIGHT
    total = Cost(weight, weight, 0)
    if isinstance(node, ir.Call | ir.Perform):
        total += callees.get(node.function, Cost(0, 0, 0))
    for child in ir.children(node):
        total += _cost(child, callees)
    if isinstance(node, ir.For | ir.ForBits):
        return Cost(total.size, total.work * max(1, node.trips), total.locals)
    return total
