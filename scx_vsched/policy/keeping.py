"""Reads what a policy declares to keep: classes of state, who has them, counters, histograms."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Literal

from scx_vsched.policy import ir
from scx_vsched.policy.c_names import C_WORDS
from scx_vsched.policy.c_state import size_of
from scx_vsched.policy.diagnostics import header_span
from scx_vsched.policy.expressions import Expressions
from scx_vsched.policy.program import Counter, State, StateClass, StateField
from scx_vsched.policy.scope import FunctionScope, Scope, closest
from scx_vsched.policy.signatures import scalar_type
from scx_vsched.policy.tunables import read_setting

if TYPE_CHECKING:
    from scx_vsched.policy.program import Scope as Owner

__all__ = [
    "DECLARERS",
    "MAX_STATE_BYTES",
    "check_member_name",
    "read_counter",
    "read_state",
    "read_state_class",
]

DECLARERS: dict[str, Owner] = {
    "per_task": "task",
    "per_vcpu": "vcpu",
    "per_domain": "domain",
    "per_scheduler": "sched",
}
"""What declares state, and whose it is."""

MAX_STATE_BYTES = 256
"""Of all that one task, say, has: there are many, and BPF copies no more at once."""

_TEXTS = ("doc", "unit")


def check_member_name(scope: Scope, node: ast.AST, name: str, what: str) -> None:
    """Refuses names that cannot be a member's in C, whatever headers define."""
    if name in C_WORDS or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise scope.reporter.refuse(
            node,
            f"{what} cannot be called `{name}`",
            "use lower-case letters, digits and underscores, and no word of C",
        )


def read_state_class(scope: Scope, node: ast.ClassDef) -> StateClass:
    """`class Account(State):` with typed fields and constant defaults."""
    reporter = scope.reporter
    if node.decorator_list or node.keywords or node.type_params:
        extra = [*node.decorator_list, *(k.value for k in node.keywords), *node.type_params]
        raise reporter.refuse(extra[0], "a class of state has fields only", "drop it")
    if "State" not in scope.imported:
        reporter.report(
            node.bases[0], "`State` is not imported", "add `from scx_vsched.policy import State`"
        )
    body = node.body
    doc = ast.get_docstring(node) or ""
    if doc:
        body = body[1:]
    fields: dict[str, StateField] = {}
    for statement in body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                check_member_name(scope, statement, name, "a field")
                if name in fields:
                    raise reporter.refuse(statement, f"a second field `{name}`", "remove it")
                kind = scalar_type(scope, annotation)
                if value is None:
                    raise reporter.refuse(
                        statement,
                        f"`{name}` has no default",
                        f"write `{name}: {kind.name} = "
                        f"{'False' if kind == ir.BOOL else 0}`, what it begins with",
                    )
                match value:
                    case ast.Call(func=ast.Name(id="setting")):
                        _check_imported(scope, value.func)
                        fields[name] = read_setting(scope, value, name, kind)
                        continue
                found = Expressions(scope, FunctionScope()).value(value, kind)
                if not isinstance(found, ir.Const):
                    raise reporter.refuse(
                        value, "this is not a constant", "use numbers and module constants"
                    )
                fields[name] = StateField(name, kind, found.value)
            case ast.Pass():
                pass
            case _:
                raise reporter.refuse(
                    statement,
                    "a class of state holds fields only",
                    "write `name: u64 = 0`; functions belong into the policy class",
                )
    if not fields:
        raise reporter.refuse(
            header_span(node), f"`{node.name}` has no fields", "write `name: u64 = 0`, for instance"
        )
    return StateClass(node.name, doc, tuple(fields.values()))


def _check_imported(scope: Scope, node: ast.expr) -> None:
    if "setting" not in scope.imported:
        scope.reporter.report(
            node, "`setting` is not imported", "add `from scx_vsched.policy import setting`"
        )


def _check_settings(scope: Scope, node: ast.Assign, found: StateClass, owner: Owner) -> None:
    """Only of domains, only where the mechanism hands them over, each name once."""
    names = {field.name for field in found.fields if field.setting}
    if not names:
        return
    if owner != "domain" or not (scope.mechanism and scope.mechanism.settings):
        raise scope.reporter.refuse(
            node,
            f"`{found.name}` has settings, which the user has for domains of the mechanism host",
            "write `per_domain(…)`, or a `tunable` for one value for all",
        )
    for other in scope.states.values():
        for field in other.cls.fields:
            if other.scope == owner and field.setting and field.name in names:
                raise scope.reporter.refuse(
                    node, f"domains have a setting `{field.name}` already", "use another name"
                )


def read_state(scope: Scope, node: ast.Assign, call: ast.Call, name: str, declarer: str) -> State:
    """`name = per_task(Account)` and its like."""
    check_member_name(scope, node, name, "state")
    match call:
        case ast.Call(args=[ast.Name(id=cls)], keywords=[]):
            found = scope.state_classes.get(cls)
            if found is None:
                raise scope.reporter.refuse(
                    call.args[0],
                    f"`{cls}` is no class of state above",
                    closest(cls, scope.state_classes) or f"write `class {cls}(State):` above",
                )
            owner = DECLARERS[declarer]
            others = [s.cls for s in scope.states.values() if s.scope == owner]
            _check_settings(scope, node, found, owner)
            size = sum(size_of(cls) for cls in (found, *others))
            if size > MAX_STATE_BYTES:
                raise scope.reporter.refuse(
                    node,
                    f"with `{name}` each has {size} bytes of state; {MAX_STATE_BYTES} are allowed",
                    "use fewer fields or narrower types",
                )
            return State(name, owner, found)
        case _:
            raise scope.reporter.refuse(
                call, f"`{declarer}` takes a class of state", f"write `{declarer}(Account)`"
            )


def read_counter(
    scope: Scope, node: ast.Assign, call: ast.Call, name: str, kind: Literal["counter", "histogram"]
) -> Counter:
    """`name = counter(doc="…")` or `histogram(doc="…", unit="ns")`."""
    check_member_name(scope, node, name, f"a {kind}")
    example = f'write `{kind}(doc="what it counts")`'
    texts = dict.fromkeys(_TEXTS, "")
    for argument in call.args:
        raise scope.reporter.refuse(argument, f"`{kind}` takes its arguments by name", example)
    for keyword in call.keywords:
        match keyword:
            case ast.keyword(arg="doc" | "unit" as key, value=ast.Constant(value=str(text))):
                texts[key] = " ".join(text.split())
            case _:
                raise scope.reporter.refuse(
                    keyword, f"`{kind}` takes the texts `doc` and `unit`", example
                )
    if not texts["doc"]:
        raise scope.reporter.refuse(call, f"the {kind} has no `doc`", example)
    taken = [stat.name for stat in scope.mechanism.stats] if scope.mechanism else []
    if name in taken:
        raise scope.reporter.refuse(
            node, f"the mechanism counts `{name}` already", "use another name"
        )
    return Counter(name, kind, texts["unit"], texts["doc"])
