"""Reads what a policy file declares: imports, constants, helper functions, the class, tunables.

Function bodies are left to `statements`; here only signatures are taken.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.diagnostics import Refused, Reporter, header_span, span_of
from scx_vsched.policy.expressions import Expressions
from scx_vsched.policy.keeping import (
    DECLARERS,
    check_member_name,
    read_counter,
    read_state,
    read_state_class,
)
from scx_vsched.policy.mechanism import MECHANISMS
from scx_vsched.policy.refusals import refuse_statement
from scx_vsched.policy.scope import (
    LANGUAGE_NAMES,
    TAKEN_NAMES,
    FunctionScope,
    Scope,
    closest,
)
from scx_vsched.policy.signatures import function_signature, hook_signature, scalar_type
from scx_vsched.policy.tunables import read_tunable

if TYPE_CHECKING:
    from scx_vsched.policy.source import Source

__all__ = ["Declarations", "declare"]

_IDENTIFIER = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]{0,63}\Z")


@dataclass(slots=True)
class Declarations:
    """The policy class's name and doc, and the names of the file; `cls` for its place."""

    scope: Scope
    cls: ast.ClassDef | None = None
    doc: str = ""
    places: dict[str, int] = field(default_factory=dict)


def declare(source: Source) -> Declarations:
    """The declarations of a file; mistakes are left in the source's reporter."""
    found = Declarations(Scope(source.reporter))
    check_identifiers(source.tree, source.reporter)
    body = source.tree.body
    if body and _is_docstring(body[0]):
        body = body[1:]
    for node in body:
        try:
            _module_statement(found, node)
        except Refused:
            found.scope.broken |= _names_defined(node)
    if found.cls is None:
        source.reporter.report(
            ir.Span(1, 0, 1, 0),
            "the file defines no policy",
            "write `class MyPolicy(Policy):` with `mechanism = guest`",
        )
    return found


def check_identifiers(tree: ast.Module, reporter: Reporter) -> None:
    """Refuses names that could not stand in C."""
    for node in ast.walk(tree):
        for name in _identifiers(node):
            if not _IDENTIFIER.match(name) and not re.fullmatch(r"__\w+__", name, re.ASCII):
                reporter.report(
                    node,
                    f"the name `{name[:80]}` cannot be used",
                    "names have up to 64 ASCII letters, digits and underscores, "
                    "and do not start with two underscores",
                )


def _identifiers(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case _:
            return []


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _names_defined(node: ast.stmt) -> set[str]:
    names = {
        child.id
        for child in ast.walk(node)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store)
    }
    if isinstance(node, ast.FunctionDef):
        names = {node.name}
    return names


def _define(found: Declarations, node: ast.AST, name: str) -> None:
    """Notes a new name of the file; refuses one that is taken."""
    reporter = found.scope.reporter
    if name in found.places:
        raise reporter.refuse(
            node, f"`{name}` is defined on line {found.places[name]} already", "use another name"
        )
    if name in TAKEN_NAMES:
        raise reporter.refuse(
            node, f"`{name}` already stands for something else", "use another name"
        )
    if name.startswith("__"):
        raise reporter.refuse(
            node, f"`{name}` has a meaning of its own in Python", "use another name"
        )
    found.places[name] = span_of(node).line


# ---- The module ----


def _module_statement(found: Declarations, node: ast.stmt) -> None:
    reporter = found.scope.reporter
    match node:
        case ast.ImportFrom(level=0, module="__future__", names=[ast.alias(name="annotations")]):
            pass
        case ast.ImportFrom() | ast.Import():
            _import(found.scope, node)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            _define(found, node, name)
            found.scope.constants[name] = _constant(found.scope, value)
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            _define(found, node, name)
            declared = scalar_type(found.scope, node.annotation)
            constant = Expressions(found.scope, FunctionScope()).value(value, declared)
            found.scope.constants[name] = _known(found.scope, value, constant)
        case ast.FunctionDef():
            _define(found, node, node.name)
            if found.cls is not None:
                raise reporter.refuse(
                    header_span(node),
                    "a helper function below the class",
                    "move it above, so that Python knows it when the class is made",
                )
            found.scope.functions[node.name] = function_signature(found.scope, node, "function")
        case ast.ClassDef(bases=[ast.Name(id="State")]):
            _define(found, node, node.name)
            if found.cls is not None:
                raise reporter.refuse(
                    header_span(node), "a class of state below the policy", "move it above"
                )
            found.scope.state_classes[node.name] = read_state_class(found.scope, node)
        case ast.ClassDef():
            _policy_class(found, node)
        case ast.If():
            raise reporter.refuse(
                node, "`if` outside of a function", "tests and tools belong in another file"
            )
        case ast.Expr():
            raise reporter.refuse(
                node, "a policy file is not run", "tests and tools belong in another file"
            )
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            raise reporter.refuse(
                node, "a constant is defined once, with one name", "write `NAME = 5`"
            )
        case ast.Assert():
            raise reporter.refuse(
                node, "`assert` outside of a test", "put it into the policy's tests"
            )
        case _:
            raise refuse_statement(reporter, node)


def _import(scope: Scope, node: ast.Import | ast.ImportFrom) -> None:
    if (
        isinstance(node, ast.Import)
        or node.level != 0
        or node.module not in {"scx_vsched.policy", "__future__"}
    ):
        raise scope.reporter.refuse(
            node,
            "a policy imports from scx_vsched.policy only",
            "write `from scx_vsched.policy import Policy, Task, VCpu, guest, u64`",
        )
    for alias in node.names:
        if node.module == "__future__" and alias.name != "annotations":
            scope.reporter.report(alias, "of `__future__`, only `annotations` may be imported")
        elif alias.asname is not None:
            scope.reporter.report(alias, "an import under another name", f"import {alias.name}")
        elif alias.name == "*":
            scope.reporter.report(alias, "`import *`", "name what the policy uses")
        elif node.module == "scx_vsched.policy" and alias.name not in LANGUAGE_NAMES:
            scope.reporter.report(
                alias,
                f"scx_vsched.policy has no `{alias.name}` for policies",
                closest(alias.name, LANGUAGE_NAMES)
                or f"it has {', '.join(sorted(LANGUAGE_NAMES))}",
            )
        else:
            scope.imported.add(alias.name)


def _constant(scope: Scope, node: ast.expr) -> ir.Const:
    return _known(scope, node, Expressions(scope, FunctionScope()).any(node))


def _known(scope: Scope, node: ast.expr, expr: ir.Expr) -> ir.Const:
    if not isinstance(expr, ir.Const):
        raise scope.reporter.refuse(
            node, "this is not a constant", "use numbers, other constants and operators"
        )
    return expr


# ---- The class ----


def _policy_class(found: Declarations, node: ast.ClassDef) -> None:
    reporter = found.scope.reporter
    if found.cls is not None:
        raise reporter.refuse(
            header_span(node),
            f"a second class; `{found.cls.name}` is this file's policy",
            "put it into a file of its own",
        )
    _define(found, node, node.name)
    found.cls = node
    if node.decorator_list or node.keywords or node.type_params:
        extra = [*node.decorator_list, *(k.value for k in node.keywords), *node.type_params]
        reporter.report(extra[0], "a policy class has no decorators, keywords or type parameters")
    match node.bases:
        case [ast.Name(id="Policy")]:
            _check_imported(found.scope, node.bases[0], "Policy")
        case _:
            reporter.report(
                node.bases[0] if node.bases else header_span(node),
                "a policy class derives from `Policy` and nothing else",
                f"write `class {node.name}(Policy):`",
            )
    found.doc = ast.get_docstring(node) or ""
    body = node.body[1:] if _is_docstring(node.body[0]) else node.body
    _find_mechanism(found, node, body)
    for statement in body:
        try:
            _class_statement(found, statement)
        except Refused:
            found.scope.broken |= _names_defined(statement)
    if found.scope.mechanism is not None:
        for hook in found.scope.mechanism.hooks:
            if hook.name in found.places and hook.name not in found.scope.methods:
                line = found.places[hook.name]
                reporter.report(
                    ir.Span(line, 0, line, 0), f"`{hook.name}` is a hook's name", "use another name"
                )
            if hook.needed:
                found.scope.methods.setdefault(hook.name, hook_signature(hook))


def _find_mechanism(found: Declarations, cls: ast.ClassDef, body: list[ast.stmt]) -> None:
    """Methods are checked against the mechanism, so it must be known before them."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id="mechanism")], value=ast.Name(id=name)) if (
                name in MECHANISMS
            ):
                if found.scope.mechanism is not None:
                    found.scope.reporter.report(node, "a second mechanism", "remove it")
                _check_imported(found.scope, node.value, name)
                found.scope.mechanism = MECHANISMS[name]
    names = ", ".join(sorted(MECHANISMS))
    if found.scope.mechanism is None:
        found.scope.reporter.report(
            header_span(cls),
            f"`{cls.name}` names no mechanism to run on",
            f"add `mechanism = {next(iter(MECHANISMS))}` to the class (there is {names})",
        )


def _class_statement(found: Declarations, node: ast.stmt) -> None:
    reporter = found.scope.reporter
    match node:
        case ast.Pass():
            pass
        case ast.Assign(targets=[ast.Name(id="mechanism")], value=value):
            if not (isinstance(value, ast.Name) and value.id in MECHANISMS):
                raise reporter.refuse(
                    value, "no such mechanism", f"there is {', '.join(sorted(MECHANISMS))}"
                )
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Name(id="tunable")) as call,
        ):
            _define(found, node, name)
            check_member_name(found.scope, node, name, "a tunable")
            _check_imported(found.scope, call.func, "tunable")
            tunable = read_tunable(found.scope, call, name)
            found.scope.tunables[name] = tunable
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Name(id=declarer)) as call,
        ) if declarer in DECLARERS:
            _define(found, node, name)
            _check_imported(found.scope, call.func, declarer)
            found.scope.states[name] = read_state(found.scope, node, call, name, declarer)
        case ast.Assign(
            targets=[ast.Name(id=name)],
            value=ast.Call(func=ast.Name(id="counter" | "histogram" as kind)) as call,
        ):
            _define(found, node, name)
            _check_imported(found.scope, call.func, kind)
            found.scope.counters[name] = read_counter(found.scope, node, call, name, kind)
        case ast.FunctionDef():
            _define(found, node, node.name)
            found.scope.methods[node.name] = function_signature(found.scope, node, "method")
        case ast.AnnAssign(value=ast.Call(func=ast.Name(id="tunable"))):
            raise reporter.refuse(
                node.annotation,
                "a tunable's type follows from its bounds",
                "drop the annotation: s64 if `min` is negative, u64 otherwise",
            )
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            raise reporter.refuse(
                node,
                "a class holds `mechanism`, tunables, state, counters and methods",
                "define constants above the class, or write `tunable(…, min=…, max=…)`",
            )
        case _:
            raise refuse_statement(reporter, node)


def _check_imported(scope: Scope, node: ast.expr, name: str) -> None:
    if name not in scope.imported:
        scope.reporter.report(
            node, f"`{name}` is not imported", f"add `from scx_vsched.policy import {name}`"
        )
