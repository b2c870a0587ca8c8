"""Where C declares a function's variables: at the first assignment if that is in scope for all
uses, before the statement otherwise; a loop's own variable in the `for` itself.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Placement", "place"]


@dataclass(slots=True)
class Placement:
    """Statements, by their place in the policy, and the variables that are declared there."""

    at: dict[ir.Span, set[str]] = field(default_factory=lambda: defaultdict(set))
    before: dict[ir.Span, list[str]] = field(default_factory=lambda: defaultdict(list))
    own_loops: set[ir.Span] = field(default_factory=set)


def place(function: ir.Function) -> Placement:
    """Where each local of `function` is declared."""
    placement = Placement()
    for name in function.locals:
        _place(function, placement, name, function.body)
    return placement


def _place(
    function: ir.Function, placement: Placement, name: str, block: tuple[ir.Stmt, ...]
) -> None:
    using = [statement for statement in block if _uses(statement, name)]
    if not using:
        return
    first = using[0]
    if all(isinstance(s, ir.For) and _owns(function, s, name) for s in using):
        placement.own_loops.update(statement.span for statement in using)
        return
    if len(using) == 1:
        inner = [part for part in _blocks(first) if any(_uses(s, name) for s in part)]
        if len(inner) == 1 and not _uses_itself(first, name):
            _place(function, placement, name, inner[0])
            return
    if isinstance(first, ir.Assign):
        placement.at[first.span].add(name)
    else:
        placement.before[first.span].append(name)


def _blocks(statement: ir.Stmt) -> Iterator[tuple[ir.Stmt, ...]]:
    match statement:
        case ir.If(body=body, orelse=orelse):
            yield body
            yield orelse
        case ir.For(body=body) | ir.ForBits(body=body):
            yield body


def _uses(statement: ir.Stmt, name: str) -> bool:
    return any(_names(node) == name for node in ir.walk(statement))


def _uses_itself(statement: ir.Stmt, name: str) -> bool:
    """Whether `name` occurs in the statement outside of its blocks."""
    match statement:
        case ir.If(test=test):
            return any(_names(node) == name for node in ir.walk(test))
        case ir.ForBits(target=target, mask=mask):
            return target == name or any(_names(node) == name for node in ir.walk(mask))
        case ir.For(target=target, start=start, stop=stop):
            return target == name or any(
                _names(node) == name for part in (start, stop) for node in ir.walk(part)
            )
        case _:
            return True


def _names(node: ir.Node) -> str | None:
    match node:
        case (
            ir.Local(name=name)
            | ir.Assign(name=name)
            | ir.For(target=name)
            | ir.ForBits(target=name)
        ):
            return name
        case _:
            return None


def _owns(function: ir.Function, loop: ir.For, name: str) -> bool:
    """Whether C's own loop variable can stand for `name`, the target of `loop`."""
    kind = function.locals[name]
    match loop:
        case ir.For(target=target, start=ir.Const(value=start), stop=ir.Const(), step=step) if (
            target == name and isinstance(kind, IntType)
        ):
            changed = any(
                _names(node) == name and not isinstance(node, ir.Local)
                for statement in loop.body
                for node in ir.walk(statement)
            )
            return not changed and kind.holds(start + loop.trips * step)
        case _:
            return False
