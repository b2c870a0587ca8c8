"""Writes Python line by line: statements with one operation each, all values in typed variables.

pythonbpf types a variable by its annotation and converts what is assigned to it as C does, so that
the type of every value is written down and none is inferred.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from scx_vsched.backend.fits import UnfitError
from scx_vsched.policy.ir import BOOL, ScalarType
from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_LINES", "U64", "Value", "Writer", "ctype"]

U64 = INT_TYPES["u64"]
MAX_DEPTH = 90  # Python's parser takes 100 levels
MAX_LINES = 4_000  # pythonbpf takes a millisecond for each


def ctype(kind: ScalarType) -> str:
    """What pythonbpf calls a type."""
    if isinstance(kind, IntType):
        return f"c_{'' if kind.signed else 'u'}int{kind.bits}"
    return "c_bool"


class Value:
    """A variable of the text, with its type."""

    __slots__ = ("name", "type")

    def __init__(self, name: str, kind: ScalarType) -> None:
        self.name = name
        self.type = kind

    def __str__(self) -> str:
        return self.name


class Writer:
    """Collects the lines of one function, `constants` to stand before `lines`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: list[str] = []
        self._constants: dict[tuple[int, ScalarType], Value] = {}
        self._depth = 1
        self._made = 0

    def write(self, line: str) -> None:
        """Another line; raises UnfitError when they are too many."""
        if len(self.lines) >= MAX_LINES:
            raise UnfitError(f"has more than {MAX_LINES:,} operations")
        self.lines.append("    " * self._depth + line)

    @contextlib.contextmanager
    def block(self, head: str) -> Iterator[None]:
        """`head:` with what is written within; raises UnfitError where that is too deep."""
        if self._depth >= MAX_DEPTH:
            raise UnfitError(f"nests more than {MAX_DEPTH} blocks")
        self.write(f"{head}:")
        self._depth += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.write("pass")
        self._depth -= 1

    # ---- Values ----

    def name(self, hint: str = "t") -> str:
        """A name that nothing else has."""
        self._made += 1
        return f"{hint}{self._made}"

    def let(self, kind: ScalarType, text: str, hint: str = "t") -> Value:
        """A new variable with the value of `text`, wrapped to `kind`."""
        name = self.name(hint)
        self.write(f"{name}: {ctype(kind)} = {text}")
        return Value(name, kind)

    def const(self, value: int, kind: ScalarType) -> Value:
        """A number or a truth value, which is not assigned to."""
        made = self._constants.get((value, kind))
        if made is None:
            made = Value(self.name("k"), kind)
            text = str(value) if isinstance(kind, IntType) else str(bool(value))
            self._constants[value, kind] = made
            # at the very beginning, and thus known wherever it is used later
            self.constants.append(f"    {made.name}: {ctype(kind)} = {text}")
        return made

    def convert(self, value: Value, kind: ScalarType) -> Value:
        """`value` wrapped to `kind`; a truth value gives 0 or 1."""
        return value if value.type == kind else self.let(kind, value.name)

    def op(self, left: Value, sign: str, right: Value) -> Value:
        """`left sign right`, both of one type, wrapped to it."""
        assert left.type == right.type, (left.type, right.type)  # noqa: S101 - pythonbpf would guess
        return self.let(left.type, f"{left} {sign} {right}")

    def test(self, left: Value, sign: str, right: Value) -> Value:
        """`left sign right` as a truth value; both have one type."""
        assert left.type == right.type, (left.type, right.type)  # noqa: S101 - pythonbpf would guess
        return self.let(BOOL, f"{left} {sign} {right}")

    def set(self, target: Value, value: Value) -> None:
        """Assigns to a variable made before."""
        assert target.type == value.type, (target.type, value.type)  # noqa: S101 - as above
        self.write(f"{target} = {value}")

    def hidden(self, value: Value) -> Value:
        """The same value, of which LLVM knows nothing: see `py_hide` in arith.h."""
        return self.let(value.type, f"scx_hide({value})")
