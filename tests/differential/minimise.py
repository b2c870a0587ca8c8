"""Makes a counter-example small: fewer functions, calls, statements, and simpler expressions."""

from __future__ import annotations

import copy
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from programs import BOOL, Expr, Function, Stmt

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from test_differential import Batch, Mismatch

TIME_S = 60.0


def minimise(batch: Batch, check: Callable[[Batch], Mismatch | None]) -> Batch:
    """The smallest batch found within a minute in which `check` still sees a mismatch."""
    end = time.monotonic() + TIME_S
    from test_differential import policy_source  # noqa: PLC0415 - which imports this module

    def holds(functions: list[Function], inputs: list[dict[str, Any]]) -> Batch | None:
        found = dataclasses.replace(
            batch, functions=functions, inputs=inputs, source=policy_source(functions)
        )
        try:
            return found if check(found) else None
        except (UserError, AssertionError):  # no longer a policy, or beyond what BPF takes
            return None

    first = check(batch)
    assert first is not None
    helpers = [f for f in batch.functions if not f.full]
    best = holds([*helpers, first.function], batch.inputs[: first.call + 1]) or batch
    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for functions, inputs in _smaller(best):
            found = holds(functions, inputs)
            if found:
                best, progress = found, True
                break
            if time.monotonic() > end:
                break
    return best


def _smaller(batch: Batch) -> Iterator[tuple[list[Function], list[dict[str, Any]]]]:
    """Candidates, the largest steps first."""
    functions, inputs = batch.functions, batch.inputs
    count = len(inputs)
    while count > 1:
        count //= 2
        for start in range(0, len(inputs), count):
            rest = inputs[:start] + inputs[start + count :]
            if rest:
                yield functions, rest
    for i, function in enumerate(functions):
        if not function.full:
            yield functions[:i] + functions[i + 1 :], inputs
    for i, function in enumerate(functions):
        for body in _bodies(function.body):
            made = dataclasses.replace(function, body=body)
            yield [*functions[:i], made, *functions[i + 1 :]], inputs


def _bodies(body: list[Stmt]) -> Iterator[list[Stmt]]:
    for i, statement in enumerate(body):
        if statement.kind != "return" or i < len(body) - 1:
            yield body[:i] + body[i + 1 :]
        for inner in _blocks(statement):
            yield body[:i] + inner + body[i + 1 :]
    for i, statement in enumerate(body):
        for made in _statements(statement):
            yield [*body[:i], made, *body[i + 1 :]]


def _blocks(statement: Stmt) -> list[list[Stmt]]:
    return [part for part in statement.parts if _is_block(part)]


def _is_block(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], Stmt)


def _statements(statement: Stmt) -> Iterator[Stmt]:
    """The statement with something simpler in one place."""
    for i, part in enumerate(statement.parts):
        choices: Iterator[Any] = iter(())
        if _is_block(part):
            choices = _bodies(part)
        elif isinstance(part, Expr):
            choices = _expressions(part)
        for choice in choices:
            parts = (*statement.parts[:i], choice, *statement.parts[i + 1 :])
            yield Stmt(statement.kind, parts)


def _expressions(expr: Expr) -> Iterator[Expr]:
    """Simpler expressions of the same type."""
    if expr.kind == "number" or (expr.kind == "name" and expr.type == BOOL):
        return
    if expr.type == BOOL:
        yield Expr("name", BOOL, ("True",))
        yield Expr("name", BOOL, ("False",))
    elif expr.type is not None:
        yield Expr("number", None, (1,))
        yield Expr("number", None, (0,))
    for path, inner in _inner(expr):
        if inner.type == expr.type:
            yield inner
        for choice in _expressions(inner):
            yield _replaced(expr, path, choice)


def _inner(expr: Expr) -> Iterator[tuple[tuple[int, ...], Expr]]:
    for i, part in enumerate(expr.parts):
        if isinstance(part, Expr):
            yield (i,), part
        elif isinstance(part, list | tuple):
            for k, item in enumerate(part):
                if isinstance(item, Expr):
                    yield (i, k), item


def _replaced(expr: Expr, path: tuple[int, ...], choice: Expr) -> Expr:
    parts = list(copy.copy(expr.parts))
    if len(path) == 1:
        parts[path[0]] = choice
    else:
        row = list(parts[path[0]])
        row[path[1]] = choice
        parts[path[0]] = tuple(row) if isinstance(parts[path[0]], tuple) else row
    return Expr(expr.kind, expr.type, tuple(parts))
