"""Reads function headers and holds hooks against their mechanism."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Literal

from scx_vsched.policy import ir
from scx_vsched.policy.diagnostics import header_span
from scx_vsched.policy.scope import Scope, Signature
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import VIEWS

if TYPE_CHECKING:
    from scx_vsched.policy.mechanism import Hook

__all__ = ["function_signature", "hook_signature", "scalar_type"]


def hook_signature(hook: Hook) -> Signature:
    """The signature that the mechanism demands of a hook."""
    return Signature(
        hook.name,
        "hook",
        tuple(ir.Parameter(p.name, _named_type(p.type)) for p in hook.parameters),
        ir.VOID if hook.returns == "None" else _scalar(hook.returns),
        None,
    )


def function_signature(
    scope: Scope, node: ast.FunctionDef, kind: Literal["method", "function"]
) -> Signature:
    """The signature of a definition; refuses a hook that differs from its mechanism's."""
    reporter = scope.reporter
    hook = scope.mechanism.hook(node.name) if scope.mechanism and kind == "method" else None
    demanded = hook_signature(hook) if hook else None
    wanted = f"write `{_header(demanded)}`" if demanded else ""
    if node.decorator_list:
        raise reporter.refuse(
            node.decorator_list[0],
            "decorators are not in the policy language",
            "helpers without `self` are functions above the class",
        )
    if node.type_params:
        raise reporter.refuse(node.type_params[0], "type parameters are not in the policy language")
    arguments = node.args
    extra = [*arguments.kwonlyargs, *arguments.posonlyargs]
    extra += [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    if extra:
        raise reporter.refuse(extra[0], "parameters are plain names", wanted or "drop `*` and `/`")
    if arguments.defaults:
        raise reporter.refuse(
            arguments.defaults[0], "parameters have no defaults", wanted or "pass every argument"
        )
    parameters = list(arguments.args)
    if kind == "method":
        if not parameters or parameters[0].arg != "self":
            raise reporter.refuse(
                parameters[0] if parameters else header_span(node),
                "a method's first parameter is `self`",
                wanted or f"write `def {node.name}(self, …)`",
            )
        if parameters[0].annotation is not None:
            raise reporter.refuse(parameters[0], "`self` has no annotation", "drop it")
        parameters.pop(0)
    found = Signature(
        node.name,
        "hook" if demanded else kind,
        tuple(_parameter(scope, p, wanted) for p in parameters),
        _returns(scope, node, wanted),
        node,
    )
    if demanded:
        _compare(scope, node, found, demanded)
    return found


def scalar_type(scope: Scope, node: ast.expr) -> ir.ScalarType:
    """The integer type or `bool` that an annotation names."""
    if isinstance(node, ast.Name):
        if node.id == "bool":
            return ir.BOOL
        if node.id in INT_TYPES:
            if node.id not in scope.imported:
                raise scope.reporter.refuse(
                    node,
                    f"`{node.id}` is not imported",
                    f"add `from scx_vsched.policy import {node.id}`",
                )
            return INT_TYPES[node.id]
    hint = "write s64, or another of u8 … u64, s8 … s64, or bool"
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        hint = "write the type without quotes"
    raise scope.reporter.refuse(node, "this is not a type of the language", hint)


def _compare(
    scope: Scope,
    node: ast.FunctionDef,
    found: Signature,
    demanded: Signature,
) -> None:
    wanted = f"write `{_header(demanded)}`"
    for argument, have, want in zip(
        node.args.args[1:], found.parameters, demanded.parameters, strict=False
    ):
        if have != want:
            raise scope.reporter.refuse(
                argument,
                f"the hook's parameter is `{want.name}: {want.type.name}` here",
                wanted,
            )
    if len(found.parameters) != len(demanded.parameters):
        raise scope.reporter.refuse(
            header_span(node),
            f"`{node.name}` takes {len(demanded.parameters)} parameters besides `self`, "
            f"not {len(found.parameters)}",
            wanted,
        )
    if found.returns != demanded.returns:
        raise scope.reporter.refuse(
            node.returns or node, f"`{node.name}` returns {demanded.returns.name}", wanted
        )


def _parameter(scope: Scope, node: ast.arg, wanted: str) -> ir.Parameter:
    if node.annotation is None:
        raise scope.reporter.refuse(
            node, f"`{node.arg}` has no type", wanted or f"write `{node.arg}: s64`, for instance"
        )
    if isinstance(node.annotation, ast.Name) and node.annotation.id in VIEWS:
        if node.annotation.id not in scope.imported:
            raise scope.reporter.refuse(
                node.annotation,
                f"`{node.annotation.id}` is not imported",
                f"add `from scx_vsched.policy import {node.annotation.id}`",
            )
        return ir.Parameter(node.arg, ir.ViewType(node.annotation.id))
    return ir.Parameter(node.arg, scalar_type(scope, node.annotation))


def _returns(scope: Scope, node: ast.FunctionDef, wanted: str) -> ir.ReturnType:
    if node.returns is None:
        raise scope.reporter.refuse(
            header_span(node),
            f"`{node.name}` does not say what it returns",
            wanted or "write `-> s64:`, for instance, or `-> None:`",
        )
    if isinstance(node.returns, ast.Constant) and node.returns.value is None:
        return ir.VOID
    return scalar_type(scope, node.returns)


def _header(signature: Signature) -> str:
    parameters = ", ".join(["self", *(f"{p.name}: {p.type.name}" for p in signature.parameters)])
    return f"def {signature.name}({parameters}) -> {signature.returns.name}:"


def _named_type(name: str) -> ir.Type:
    return ir.ViewType(name) if name in VIEWS else _scalar(name)


def _scalar(name: str) -> ir.ScalarType:
    return ir.BOOL if name == "bool" else INT_TYPES[name]
