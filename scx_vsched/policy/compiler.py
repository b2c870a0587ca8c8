"""Compiles a policy file to a `PolicyProgram`, reading its syntax tree and never running it."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from pathlib import Path

from scx_vsched.policy import inheritance, ir
from scx_vsched.policy.callgraph import MAX_LOCALS, MAX_SIZE, MAX_WORK, Cost, cost, ordered
from scx_vsched.policy.declarations import Declarations, declare
from scx_vsched.policy.diagnostics import Reporter, header_span
from scx_vsched.policy.effects import check_effects
from scx_vsched.policy.program import PolicyProgram
from scx_vsched.policy.source import parse, read_text
from scx_vsched.policy.statements import check_function

__all__ = ["CORE_POLICY", "compile_file", "compile_source"]

CORE_POLICY = Path(__file__).parent.parent / "policies" / "core.py"
"""The policy that supplies the hooks which others leave out."""


def compile_file(path: Path) -> PolicyProgram:
    """The policy in the file `path`; PolicyError if it is not a correct policy."""
    return compile_source(read_text(path), str(path))


def compile_source(text: str, filename: str) -> PolicyProgram:
    """The policy in `text`; `filename` is what diagnostics and line information call it."""
    source = parse(text, filename)
    reporter = source.reporter
    found = declare(source)
    _check_spelling(found, text)
    functions: dict[str, ir.Function] = {}
    for signature in [*found.scope.functions.values(), *found.scope.methods.values()]:
        if signature.node is not None:
            function = check_function(found.scope, signature, signature.node)
            if function is not None:
                functions[function.name] = function
    reporter.check()
    cls, mechanism = found.cls, found.scope.mechanism
    if cls is None or mechanism is None:
        raise reporter.error()
    program = PolicyProgram(
        cls.name,
        found.doc,
        filename,
        mechanism,
        tuple(found.scope.tunables.values()),
        tuple(functions.values()),
        tuple(found.scope.states.values()),
        tuple(found.scope.counters.values()),
    )
    missing = [h.name for h in mechanism.hooks if h.needed and h.name not in functions]
    for feature in {h.feature for h in mechanism.hooks if h.feature and h.name in functions}:
        lacking = [name for name in mechanism.feature_hooks(feature) if name not in functions]
        if lacking:
            reporter.report(
                header_span(cls),
                f"of the hooks of `{feature}` the policy lacks {', '.join(lacking)}",
                "they decide together: define all of them, or none",
            )
    reporter.check()
    if missing and not mechanism.defaults:
        reporter.report(
            header_span(cls),
            f"`{cls.name}` lacks {', '.join(missing)}",
            f"the mechanism {mechanism.name} has no defaults for them",
        )
        reporter.check()
    if missing and _is_core(filename):
        reporter.report(
            header_span(cls),
            f"the core policy lacks {', '.join(missing)}",
            "define every hook",
        )
        reporter.check()
    if missing:
        program = inheritance.fill(program, _core(), missing, found, reporter)
    return _finish(program, reporter)


@functools.cache
def _core() -> PolicyProgram:
    return compile_file(CORE_POLICY)


def _is_core(filename: str) -> bool:
    path = Path(filename)
    return path.name == CORE_POLICY.name and path.resolve() == CORE_POLICY.resolve()


def _check_spelling(found: Declarations, text: str) -> None:
    """A method that nobody calls and whose name is nearly a hook's is a misspelt hook."""
    if found.scope.mechanism is None:
        return
    hooks = [hook.name for hook in found.scope.mechanism.hooks]
    for name, signature in found.scope.methods.items():
        if signature.kind != "method" or f"self.{name}(" in text:
            continue
        near = difflib.get_close_matches(name, hooks, n=1, cutoff=0.8)
        if near and signature.node is not None:
            found.scope.reporter.report(
                header_span(signature.node),
                f"`{name}` is not a hook of the mechanism {found.scope.mechanism.name}",
                f"did you mean `{near[0]}`?",
            )


def _finish(program: PolicyProgram, reporter: Reporter) -> PolicyProgram:
    """Orders the functions and holds their size and work against the limits."""

    def recursive(function: ir.Function, call: ir.Call | ir.Perform) -> None:
        own = function.filename == program.filename
        reporter.report(
            call.span if own else function.span,
            f"`{call.function}` calls itself through `{function.name}`"
            if call.function != function.name
            else f"`{function.name}` calls itself",
            "hooks cannot be recursive; write a `for` loop",
        )

    functions = ordered({f.name: f for f in program.functions}, recursive)
    reporter.check()
    costs: dict[str, Cost] = {}
    for function in functions:
        costs[function.name] = found = cost(function, costs)
        for what, value, limit, hint in (
            ("operations", found.size, MAX_SIZE, "make it smaller, or call fewer helpers"),
            ("steps at its longest", found.work, MAX_WORK, "loop less often, or over less"),
            ("variables, those of its calls included", found.locals, MAX_LOCALS, "use fewer"),
        ):
            if value > limit:
                start = function.span
                name_end = start.column + len(f"def {function.source_name}")
                reporter.report(
                    ir.Span(start.line, start.column, start.line, name_end),
                    f"`{function.source_name}` has {_rough(value)} {what}; {limit} are allowed",
                    hint,
                )
                found = Cost(0, 0, 0)
        costs[function.name] = found
    reporter.check()
    finished = dataclasses.replace(program, functions=tuple(functions), warnings=reporter.warnings)
    check_effects(finished, reporter)
    reporter.check()
    return finished


def _rough(value: int) -> str:
    return str(value) if value < 10**9 else "too many"
