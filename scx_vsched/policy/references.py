"""Checks what a hook reads and changes of the policy's state: `self.account(task).credit_ns`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.conversions import coerce
from scx_vsched.policy.diagnostics import Refused, span_of
from scx_vsched.policy.scope import Reference, closest
from scx_vsched.policy.types import INT_TYPES

if TYPE_CHECKING:
    from scx_vsched.policy.expressions import Expressions
    from scx_vsched.policy.program import State

__all__ = ["check_state", "find_reference", "refuse_bare_state", "whose"]

_OWNERS = {"task": "Task", "domain": "Task", "vcpu": "VCpu"}


def find_reference(check: Expressions, node: ast.expr) -> Reference | None:
    """The state that `node` stands for, or None if it is something else."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)) if (
            check.names.is_method and name in check.scope.states
        ):
            return _owned(check, node, check.scope.states[name])
        case ast.Attribute(value=ast.Name(id="self"), attr=name) if (
            check.names.is_method and name in check.scope.states
        ):
            state = check.scope.states[name]
            if state.scope != "sched":
                raise refuse_bare_state(check, node, state)
            return Reference(state, None)
        case ast.Name(id=name) if name in check.names.references:
            if name not in check.names.assigned:
                raise check.reporter.refuse(
                    node,
                    f"`{name}` may stand for nothing here",
                    "assign it on every path that leads here",
                )
            return check.names.references[name]
        case _:
            return None


def check_state(check: Expressions, node: ast.Attribute) -> ir.StateRef | None:
    """A field of the policy's state, or None if `node` is no such thing."""
    found = find_reference(check, node.value)
    if found is None:
        return None
    field = found.state.cls.field(node.attr)
    if field is None:
        names = [f.name for f in found.state.cls.fields]
        raise check.reporter.refuse(
            node,
            f"`{found.state.cls.name}` has no field `{node.attr}`",
            closest(node.attr, names) or f"its fields are {', '.join(names)}",
        )
    return ir.StateRef(span_of(node), field.type, found.state.name, found.owner, node.attr)


def refuse_bare_state(check: Expressions, node: ast.AST, state: State) -> Refused:
    """The error for `self.account` where a field of somebody's account is meant."""
    field = state.cls.fields[0].name
    return check.reporter.refuse(
        node,
        f"`self.{state.name}` is not a value",
        f"read a field of it: `{whose(state)}.{field}`",
    )


def whose(state: State) -> str:
    """How a hook names the state, for messages."""
    if state.scope == "sched":
        return f"self.{state.name}"
    return f"self.{state.name}({_OWNERS[state.scope].lower()})"


def _owned(check: Expressions, node: ast.Call, state: State) -> Reference:
    if state.scope == "sched":
        raise check.reporter.refuse(
            node, f"there is one `{state.name}` for all", f"write `self.{state.name}` without `()`"
        )
    view = _OWNERS[state.scope]
    if len(node.args) != 1 or node.keywords:
        raise check.reporter.refuse(
            node, f"`self.{state.name}` takes one {view}", f"write `{whose(state)}`"
        )
    (argument,) = node.args
    if isinstance(argument, ast.Name) and argument.id in check.names.views:
        found = check.names.views[argument.id]
        if found != view:
            raise check.reporter.refuse(
                argument, f"a {found} where a {view} is expected", f"write `{whose(state)}`"
            )
        return Reference(state, ir.ViewRef(span_of(argument), ir.ViewType(view), argument.id))
    if state.scope == "task":
        raise check.reporter.refuse(
            argument,
            f"`self.{state.name}` takes a {view}, a parameter of the hook",
            f"write `{whose(state)}`",
        )
    number = coerce(
        check.reporter,
        argument,
        check.integer(argument),
        INT_TYPES["u32"],
        f"as the number of a {'vCPU' if state.scope == 'vcpu' else 'domain'}",
    )
    return Reference(state, number)
