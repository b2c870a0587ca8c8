"""Checks `range(…)` in a `for` statement, and bounds how often it makes the loop run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.bounds import Interval, interval, trips
from scx_vsched.policy.conversions import S64, unify
from scx_vsched.policy.scope import code
from scx_vsched.policy.types import INT_TYPES

if TYPE_CHECKING:
    from scx_vsched.policy.expressions import Expressions

__all__ = ["MAX_TRIPS", "Range", "read_mask", "read_range"]

MAX_TRIPS = 1024
"""Trips of the longest loop; the kernel's verifier walks every one of them."""


@dataclass(frozen=True, slots=True)
class Range:
    """A checked range: `trips` bounds their number, `values` what the loop's variable can be."""

    start: ir.Expr
    stop: ir.Expr
    step: int
    trips: Interval
    values: Interval


def read_range(check: Expressions, node: ast.expr) -> Range:
    """The range that a loop goes over; refuses what is none or may be too long."""
    match node:
        case ast.Call(func=ast.Name(id="range"), args=arguments, keywords=[]) if (
            1 <= len(arguments) <= 3
        ):
            pass
        case _:
            raise check.reporter.refuse(
                node,
                "a loop goes over `range` of one to three integers",
                "write `for i in range(…):`, or `for v in vcpus_of(mask):`",
            )
    step = _step(check, arguments[2]) if len(arguments) == 3 else 1
    parts = [(argument, check.integer(argument)) for argument in arguments[:2]]
    if len(parts) == 1:
        zero = ast.copy_location(ast.Constant(0), arguments[0])
        parts.insert(0, (zero, check.integer(zero)))
    start, stop = unify(check.reporter, node, parts)
    starts, stops = (
        interval(e, check.names.intervals, check.scope.tunables) for e in (start, stop)
    )
    count = trips(starts, stops, step)
    if count.high > MAX_TRIPS:
        known = starts.low == starts.high and stops.low == stops.high
        often = f"{count.high} times" if count.high < 1 << 40 else "without a known bound"
        raise check.reporter.refuse(
            node,
            f"this loop may run {often}; at most {MAX_TRIPS} are allowed",
            "use a smaller range" if known else f"bound it, as in `min({code(parts[1][0])}, 64)`",
        )
    last = -1 if step > 0 else 1
    ends = starts.low, starts.high, stops.low + last, stops.high + last
    return Range(start, stop, step, count, Interval(min(ends), max(ends)))


def read_mask(check: Expressions, call: ast.Call) -> ir.Expr:
    """The mask that a loop `for v in vcpus_of(mask)` goes over, a u64."""
    if "vcpus_of" not in check.scope.imported:
        raise check.reporter.refuse(
            call.func, "`vcpus_of` is not imported", "add `from scx_vsched.policy import vcpus_of`"
        )
    if len(call.args) != 1 or call.keywords:
        raise check.reporter.refuse(call, "`vcpus_of` takes one mask", "write `vcpus_of(mask)`")
    return check.value(call.args[0], INT_TYPES["u64"], "by `vcpus_of`")


def _step(check: Expressions, node: ast.expr) -> int:
    found = check.integer(node)
    if not isinstance(found, ir.Const) or found.value == 0 or not S64.holds(found.value):
        raise check.reporter.refuse(
            node, "the step must be a constant other than 0", "write a number"
        )
    return found.value
