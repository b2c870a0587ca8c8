"""What the names in a policy file stand for, as the front end learns it."""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from scx_vsched.policy.intrinsics import INTRINSICS
from scx_vsched.policy.mechanism import MECHANISMS, Mechanism
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scx_vsched.policy import ir
    from scx_vsched.policy.bounds import Interval
    from scx_vsched.policy.diagnostics import Reporter
    from scx_vsched.policy.program import Counter, State, StateClass, Tunable

__all__ = [
    "BUILTIN_CALLS",
    "LANGUAGE_NAMES",
    "TAKEN_NAMES",
    "FunctionScope",
    "Reference",
    "Scope",
    "Signature",
    "closest",
    "code",
]

_DECLARERS = {
    *("counter", "histogram", "setting"),
    *("per_domain", "per_scheduler", "per_task", "per_vcpu"),
}

LANGUAGE_NAMES = frozenset(
    {
        "Policy",
        "State",
        "tunable",
        "vcpus_of",
        *_DECLARERS,
        *INT_TYPES,
        *INTRINSICS,
        *VIEWS,
        *MECHANISMS,
    }
)
"""What a policy imports from `scx_vsched.policy`."""

BUILTIN_CALLS = frozenset({"abs", "max", "min", "range"})
"""Python's own functions that the language has."""

TAKEN_NAMES = LANGUAGE_NAMES | BUILTIN_CALLS | {"bool", "int", "mechanism", "program", "self"}
"""Names that a policy cannot give a meaning of its own."""


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called; `node` is its definition, None for a hook left to the core."""

    name: str
    kind: Literal["hook", "method", "function"]
    parameters: tuple[ir.Parameter, ...]
    returns: ir.ReturnType
    node: ast.FunctionDef | None


@dataclass(slots=True)
class Scope:
    """The names of a policy file's module and class."""

    reporter: Reporter
    imported: set[str] = field(default_factory=set)
    constants: dict[str, ir.Const] = field(default_factory=dict)
    functions: dict[str, Signature] = field(default_factory=dict)
    methods: dict[str, Signature] = field(default_factory=dict)
    tunables: dict[str, Tunable] = field(default_factory=dict)
    state_classes: dict[str, StateClass] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    mechanism: Mechanism | None = None
    # Names whose definition was wrong; their uses are not reported again.
    broken: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable that stands for somebody's state: `account = self.account(task)`."""

    state: State
    owner: ir.ViewRef | ir.Expr | None


@dataclass(slots=True)
class FunctionScope:
    """The names of one function; `stored` are all that are assigned anywhere in it."""

    views: dict[str, str] = field(default_factory=dict)
    scalars: dict[str, ir.ScalarType] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()
    is_method: bool = False
    # None marks a local whose first assignment was wrong.
    locals: dict[str, ir.ScalarType | None] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    assigned: frozenset[str] = frozenset()
    intervals: dict[str, Interval] = field(default_factory=dict)

    @property
    def variables(self) -> set[str]:
        """All names that the function itself defines."""
        return {*self.views, *self.scalars, *self.stored}


def closest(name: str, names: Iterable[str]) -> str:
    """`did you mean …?` for the name most like `name`, or nothing."""
    found = difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.6)
    return f"did you mean `{found[0]}`?" if found else ""


def code(node: ast.AST) -> str:
    """The Python text of an expression for use in a suggestion, `…` if it is long."""
    found = ast.unparse(node)
    return found if len(found) <= 60 and "\n" not in found else "…"
