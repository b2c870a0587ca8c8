"""Checks statements about the policy's state: what changes it, and names that stand for it."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.diagnostics import Refused, span_of
from scx_vsched.policy.references import check_state
from scx_vsched.policy.scope import Reference
from scx_vsched.policy.types import INT_TYPES

if TYPE_CHECKING:
    from scx_vsched.policy.expressions import Expressions

__all__ = ["check_store", "refer"]


def check_store(
    check: Expressions, node: ast.stmt, target: ast.Attribute, value: ast.expr
) -> ir.Store | None:
    """`target = value`, or `target op= value` with `value` already combined.

    None if `target` is no field of the policy's state.
    """
    found = check_state(check, target)
    if found is None:
        name = target.value.id if isinstance(target.value, ast.Name) else ""
        if check.names.locals.get(name, ir.BOOL) is None:
            raise Refused  # what it stands for was wrong
        return None
    field = check.scope.states[found.state].cls.field(found.field)
    if field is not None and field.setting:
        raise check.reporter.refuse(
            target, f"`{target.attr}` is set by the user", "keep what hooks change in another field"
        )
    known = check.value(value, found.type, f"for `{target.attr}`")
    match known:
        # done at once: another vCPU may do the like at the same time
        case ir.Binary(op="+" | "-" | "&" | "|" | "^" as op, left=ir.StateRef()) if isinstance(
            node, ast.AugAssign
        ):
            return ir.Store(span_of(node), found, op, known.right)
        case _:
            return ir.Store(span_of(node), found, "", known)


def refer(
    check: Expressions, node: ast.Assign, name: str, reference: Reference
) -> ir.Assign | None:
    """`name = self.account(task)`: the name stands for it; a vCPU's number is kept in it.

    Returns the assignment of that number, or None where there is none.
    """
    target, names = node.targets[0], check.names
    former = names.references.get(name)
    statement = None
    if isinstance(reference.owner, ir.Expr):
        kept = ir.Local(span_of(target), INT_TYPES["u32"], name)
        statement = ir.Assign(span_of(node), name, reference.owner)
        reference = Reference(reference.state, kept)
    if names.locals.get(name) is not None and former is None:
        raise check.reporter.refuse(
            target, f"`{name}` is a value already", "use another name for the state"
        )
    if former is not None and _same(former) != _same(reference):
        raise check.reporter.refuse(
            target, f"`{name}` stands for other state already", "use another name"
        )
    names.references[name] = reference
    if statement is not None:
        names.locals[name] = INT_TYPES["u32"]
    return statement


def _same(reference: Reference) -> tuple[str, str]:
    owner = reference.owner
    return reference.state.name, owner.name if isinstance(owner, ir.ViewRef | ir.Local) else ""
