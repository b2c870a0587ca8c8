"""A checked policy: what the front end hands to the renderer and to the emitters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scx_vsched.policy.types import INT_TYPES, IntType

if TYPE_CHECKING:
    from collections.abc import Collection

    from scx_vsched.policy.diagnostics import Diagnostic
    from scx_vsched.policy.ir import Function, ScalarType
    from scx_vsched.policy.mechanism import Mechanism, Stat

__all__ = [
    "SCOPES",
    "Counter",
    "PolicyProgram",
    "Setting",
    "State",
    "StateClass",
    "StateField",
    "Tunable",
]

type Scope = Literal["task", "vcpu", "domain", "sched"]
SCOPES: tuple[Scope, ...] = ("task", "vcpu", "domain", "sched")
"""What state can belong to."""


@dataclass(frozen=True, slots=True)
class Tunable:
    """A number that the user may set, within `min` and `max`."""

    name: str
    type: Literal["u64", "s64"]
    default: int
    min: int
    max: int
    unit: str
    doc: str
    frozen: bool = False  # set when the scheduler is loaded, and for good

    @property
    def int_type(self) -> IntType:
        """The type as hooks see it."""
        return INT_TYPES[self.type]


@dataclass(frozen=True, slots=True)
class Setting:
    """What the user may set a field to, for each domain."""

    min: int
    max: int
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class StateField:
    """A field of a state class; `type` is an IntType or BOOL, `default` what it begins with.

    One with a `setting` is changed by the user, and by nobody else.
    """

    name: str
    type: ScalarType
    default: int
    setting: Setting | None = None


@dataclass(frozen=True, slots=True)
class StateClass:
    """`class Account(State):` with its fields."""

    name: str
    doc: str
    fields: tuple[StateField, ...]

    def field(self, name: str) -> StateField | None:
        """The field called `name`, or None."""
        return next((field for field in self.fields if field.name == name), None)


@dataclass(frozen=True, slots=True)
class State:
    """`name = per_task(Account)` and its like: what each task, say, has of its own."""

    name: str
    scope: Scope
    cls: StateClass


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter or a histogram that appears in the statistics."""

    name: str
    kind: Literal["counter", "histogram"]
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class PolicyProgram:
    """A policy with all hooks of its mechanism, those it leaves out taken from the core policy.

    `functions` lists callees before their callers. `filename` is the policy's own file; each
    function names the file that it comes from.
    """

    name: str
    doc: str
    filename: str
    mechanism: Mechanism
    tunables: tuple[Tunable, ...]
    functions: tuple[Function, ...]
    states: tuple[State, ...] = ()
    counters: tuple[Counter, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()  # correct, and yet hardly meant

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it can be built with, in the mechanism's order."""
        defined = {function.name for function in self.functions}
        return tuple(
            feature.name
            for feature in self.mechanism.features
            if defined.issuperset(self.mechanism.feature_hooks(feature.name))
        )

    def stats(self, features: Collection[str]) -> tuple[Stat, ...]:
        """What the mechanism counts for it, built with `features`."""
        return tuple(
            stat for stat in self.mechanism.stats if not stat.feature or stat.feature in features
        )

    def function(self, name: str) -> Function:
        """The function with the unique name `name`; KeyError if there is none."""
        for function in self.functions:
            if function.name == name:
                return function
        raise KeyError(name)

    def tunable(self, name: str) -> Tunable:
        """The tunable called `name`; KeyError if there is none."""
        for tunable in self.tunables:
            if tunable.name == name:
                return tunable
        raise KeyError(name)
