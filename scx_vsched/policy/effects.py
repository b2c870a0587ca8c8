"""What functions change: state, counters, chance, other vCPUs; directly or through calls.

The language leaves open in which order an expression's operands are evaluated. So what changes
something is called where nothing else is evaluated: alone on the right of `=`, after `return`, or
as a statement of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.intrinsics import INTRINSICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scx_vsched.policy.diagnostics import Reporter
    from scx_vsched.policy.mechanism import Mechanism
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["check_effects", "seen_from_afar"]

_ALONE = "assign its result to a variable on a line before, and use that"


def check_effects(program: PolicyProgram, reporter: Reporter) -> None:
    """Reports calls that may not stand where they do; `program` lists callees first."""
    changing = _changing(program.functions)
    stores = _touching(program.functions, _stored_views)
    for function in program.functions:
        if function.filename == program.filename:
            _check_function(function, changing, reporter)
            _check_afar(program.mechanism, function, stores, reporter)


def seen_from_afar(program: PolicyProgram) -> bool:
    """Whether a hook reads the state or the domain of a task that it sees from afar."""
    reads = _touching(program.functions, _read_views)
    return any(
        reads[f.name] & _afar(program.mechanism, f) for f in program.functions if f.kind == "hook"
    )


def _changing(functions: Iterable[ir.Function]) -> set[str]:
    found: set[str] = set()
    for function in functions:
        if any(_changes(node, found) for node in ir.walk(function)):
            found.add(function.name)
    return found


def _changes(node: ir.Node, changing: set[str]) -> bool:
    match node:
        case ir.Store() | ir.Record() | ir.Effect():
            return True
        case ir.Call(function=name) | ir.Perform(function=name):
            return name in changing
        case ir.Intrinsic(function=name):
            return INTRINSICS[name].effects
        case _:
            return False


def _check_function(function: ir.Function, changing: set[str], reporter: Reporter) -> None:
    for node in ir.walk(function):
        alone: tuple[ir.Expr | None, ...] = ()
        match node:
            case ir.Assign(value=value) | ir.Return(value=value):
                alone = (_unconverted(value),)
            case ir.Store(value=value, op="", target=target):
                # whose state it is would be evaluated before the call in C, after it in Python
                if isinstance(target.owner, ir.ViewRef | ir.Local | ir.Const | None):
                    alone = (_unconverted(value),)
            case ir.Perform(function=name) if name not in changing:
                reporter.report(
                    node.span, "this call changes nothing, and nothing uses its result", "remove it"
                )
        if isinstance(node, ir.Function | ir.If | ir.For | ir.ForBits):
            roots = _own_expressions(node)
        elif isinstance(node, ir.Expr):
            continue
        else:
            roots = ir.children(node)
        for root in roots:
            for part in ir.walk(root):
                if part not in alone and isinstance(part, ir.Expr) and _changes(part, changing):
                    what = (
                        "draws a new number" if isinstance(part, ir.Intrinsic) else "changes state"
                    )
                    reporter.report(part.span, f"this call {what}, and is part of more", _ALONE)


def _unconverted(value: ir.Expr | None) -> ir.Expr | None:
    return _unconverted(value.operand) if isinstance(value, ir.Convert) else value


def _own_expressions(node: ir.Node) -> tuple[ir.Node, ...]:
    return tuple(child for child in ir.children(node) if isinstance(child, ir.Expr))


# ---- Tasks that run on other vCPUs ----


def _check_afar(
    mechanism: Mechanism,
    function: ir.Function,
    stores: dict[str, set[str]],
    reporter: Reporter,
) -> None:
    if function.kind != "hook":
        return
    for name in sorted(stores[function.name] & _afar(mechanism, function)):
        reporter.report(
            function.span if not function.body else _first_store(function, name),
            f"`{name}` runs on another vCPU: its state can only be read here",
            "change it in a hook about that task itself, or keep it per vCPU",
        )


def _first_store(function: ir.Function, view: str) -> ir.Span:
    for node in ir.walk(function):
        if isinstance(node, ir.Store) and view in _stored_views(node):
            return node.span
        if isinstance(node, ir.Call | ir.Perform) and any(
            isinstance(a, ir.ViewRef) and a.name == view for a in node.arguments
        ):
            return node.span
    return function.span


def _afar(mechanism: Mechanism, function: ir.Function) -> set[str]:
    hook = mechanism.hook(function.name)
    return {p.name for p in hook.parameters if p.from_afar} if hook else set()


def _stored_views(node: ir.Node) -> set[str]:
    match node:
        case ir.Store(target=ir.StateRef(owner=ir.ViewRef(type=ir.ViewType(name="Task"), name=n))):
            return {n}
        case _:
            return set()


def _read_views(node: ir.Node) -> set[str]:
    match node:
        case (
            ir.StateRef(owner=ir.ViewRef(type=ir.ViewType(name="Task"), name=name))
            | ir.Field(view="Task", field="domain", variable=name)
        ):
            return {name}
        case _:
            return set()


def _touching(
    functions: Iterable[ir.Function], directly: Callable[[ir.Node], set[str]]
) -> dict[str, set[str]]:
    """For each function its views of tasks whose state it touches, itself or through calls."""
    found: dict[str, set[str]] = {}
    parameters: dict[str, list[str]] = {}
    for function in functions:
        parameters[function.name] = [p.name for p in function.parameters]
        touched: set[str] = set()
        for node in ir.walk(function):
            touched |= directly(node)
            if isinstance(node, ir.Call | ir.Perform):
                passed = zip(parameters[node.function], node.arguments, strict=True)
                touched |= {
                    argument.name
                    for name, argument in passed
                    if isinstance(argument, ir.ViewRef) and name in found[node.function]
                }
        found[function.name] = touched
    return found
