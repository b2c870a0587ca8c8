"""Checks names: constants, variables, a view's fields, tunables, and views handed on."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.diagnostics import Refused, span_of
from scx_vsched.policy.intrinsics import INTRINSICS
from scx_vsched.policy.references import check_state, refuse_bare_state
from scx_vsched.policy.scope import BUILTIN_CALLS, closest
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import field_info

if TYPE_CHECKING:
    from scx_vsched.policy.expressions import Expressions

__all__ = ["check_attribute", "check_name", "check_view"]


def check_name(check: Expressions, node: ast.Name) -> ir.Expr:
    """A variable or a constant."""
    name, names, span = node.id, check.names, span_of(node)
    if name in names.views:
        first = next(iter(field_info(names.views[name])))
        raise check.reporter.refuse(
            node,
            f"`{name}` is a {names.views[name]}, not a value",
            f"read one of its fields, as in `{name}.{first}`",
        )
    if name in names.scalars:
        return ir.Local(span, names.scalars[name], name)
    if name in names.references:
        state = names.references[name].state
        raise check.reporter.refuse(
            node,
            f"`{name}` stands for state, not for a value",
            f"read a field of it: `{name}.{state.cls.fields[0].name}`",
        )
    if name in names.stored:
        return _local(check, node)
    if name in check.scope.constants:
        constant = check.scope.constants[name]
        return ir.Const(span, constant.type, constant.value)
    if name in check.scope.broken:
        raise Refused
    if name in {*check.scope.functions, *INT_TYPES, *INTRINSICS, *BUILTIN_CALLS}:
        raise check.reporter.refuse(node, f"`{name}` is not a value", f"call it, as in `{name}(…)`")
    if name == "self" and names.is_method:
        raise check.reporter.refuse(
            node, "`self` is not a value", "write `self.` and a tunable's or hook's name"
        )
    known = {*names.views, *names.scalars, *names.stored, *check.scope.constants, *BUILTIN_CALLS}
    known |= {*check.scope.functions, *check.scope.imported}
    if name in {*check.scope.tunables, *check.scope.methods} and names.is_method:
        raise check.reporter.refuse(node, f"unknown name `{name}`", f"write `self.{name}`")
    raise check.reporter.refuse(node, f"unknown name `{name}`", closest(name, known))


def _local(check: Expressions, node: ast.Name) -> ir.Expr:
    name = node.id
    if name not in check.names.assigned:
        if check.names.locals.get(name, ir.BOOL) is None:
            raise Refused
        raise check.reporter.refuse(
            node,
            f"`{name}` may have no value here",
            "assign it on every path that leads here, for instance before the `if` or `for`",
        )
    found = check.names.locals[name]
    if found is None:
        raise Refused
    return ir.Local(span_of(node), found, name)


def check_attribute(check: Expressions, node: ast.Attribute) -> ir.Expr:
    """A view's field, a tunable or a field of the policy's state."""
    owner = node.value
    state = check_state(check, node)
    if state is not None:
        return state
    if not isinstance(owner, ast.Name):
        raise check.reporter.refuse(
            node,
            f"`.{node.attr}` of something that is neither a view nor `self`",
            "only views (as in `task.nice`) and `self` have attributes",
        )
    if owner.id == "self" and check.names.is_method:
        return _tunable(check, node)
    view = check.names.views.get(owner.id)
    if view is None:
        check.any(owner)  # reports an unknown name in its own words
        raise check.reporter.refuse(
            node, f"`{owner.id}` has no attributes", "only views and `self` have attributes"
        )
    fields = field_info(view)
    if node.attr not in fields:
        raise check.reporter.refuse(
            node,
            f"a {view} has no field `{node.attr}`",
            closest(node.attr, fields) or f"its fields are {', '.join(fields)}",
        )
    mechanism = check.scope.mechanism
    if mechanism and node.attr in mechanism.lacks.get(view, ()):
        raise check.reporter.refuse(
            node,
            f"the mechanism {mechanism.name} knows no `{node.attr}` of a {view}",
            "keep what the policy needs in state of its own",
        )
    return ir.Field(span_of(node), fields[node.attr].type or ir.BOOL, view, owner.id, node.attr)


def _tunable(check: Expressions, node: ast.Attribute) -> ir.Expr:
    tunable = check.scope.tunables.get(node.attr)
    if tunable is not None:
        return ir.TunableRef(span_of(node), tunable.int_type, node.attr)
    if node.attr in check.scope.broken:
        raise Refused
    if node.attr in check.scope.states:
        raise refuse_bare_state(check, node, check.scope.states[node.attr])
    if node.attr in check.scope.counters:
        raise check.reporter.refuse(
            node,
            f"`self.{node.attr}` can be counted, not read",
            f"write `self.{node.attr}.add()` on a line of its own; keep what hooks need in state",
        )
    if node.attr in check.scope.methods:
        raise check.reporter.refuse(
            node, f"`self.{node.attr}` is not a value", f"call it: `self.{node.attr}(…)`"
        )
    if node.attr in check.scope.constants:
        raise check.reporter.refuse(
            node, f"`{node.attr}` is a constant of the module", f"write `{node.attr}`"
        )
    known = {*check.scope.tunables, *check.scope.methods}
    raise check.reporter.refuse(
        node,
        f"the policy has no tunable `{node.attr}`",
        closest(node.attr, known)
        or f"define it in the class: `{node.attr} = tunable(…, min=…, max=…)`",
    )


def check_view(check: Expressions, node: ast.expr, target: ir.ViewType, role: str) -> ir.ViewRef:
    """A parameter that is a view of type `target`, as an argument; `role` is for the message."""
    view = check.names.views.get(node.id) if isinstance(node, ast.Name) else None
    if view is None or not isinstance(node, ast.Name):
        of_type = [name for name, v in check.names.views.items() if v == target.name]
        raise check.reporter.refuse(
            node,
            f"a {target.name} is expected {role}".rstrip(),
            f"pass `{of_type[0]}`" if of_type else f"no parameter here is a {target.name}",
        )
    if view != target.name:
        raise check.reporter.refuse(node, f"a {view} where a {target.name} is expected {role}")
    return ir.ViewRef(span_of(node), target, node.id)
