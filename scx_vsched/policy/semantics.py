"""What the language's operators compute, on Python integers.

The compiler folds constants with these functions, and hooks that run in CPython call the divisions;
`templates/include/arith.h` is their counterpart in C.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.policy.types import IntType

__all__ = ["COMPARISONS", "binary", "exact", "floor_div", "floor_mod"]

COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


def floor_div(x: int, y: int) -> int:
    """`x // y`, rounded down as in Python; 0 where `y` is 0."""
    return x // y if y else 0


def floor_mod(x: int, y: int) -> int:
    """`x % y` with the sign of `y` as in Python; `x` where `y` is 0."""
    return x % y if y else x


def exact(op: str, left: int, right: int) -> int:
    """`left op right` without wrapping, for constants."""
    if op == "//":
        return floor_div(left, right)
    if op == "%":
        return floor_mod(left, right)
    if op == "<<":
        return left << right
    if op == ">>":
        return left >> right
    return _OPERATORS[op](left, right)


def binary(op: str, int_type: IntType, left: int, right: int) -> int:
    """`left op right` in `int_type`; a shift's count is taken modulo the type's width."""
    if op in {"<<", ">>"}:
        right %= int_type.bits
    return int_type(exact(op, left, right))
