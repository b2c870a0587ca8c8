"""What a policy file is written with: the class `Policy` and `tunable`.

Importing a policy file compiles it, with the same diagnostics as a build, and gives the class hooks
that compute in CPython what they compute in BPF.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scx_vsched.errors import UserError
from scx_vsched.policy.state import keep, state_class

if TYPE_CHECKING:
    from scx_vsched.policy.hooks import Hooks
    from scx_vsched.policy.mechanism import Mechanism
    from scx_vsched.policy.program import PolicyProgram
else:
    Hooks = object  # hooks are compiled; editors complete them all the same

__all__ = ["Policy", "policy_class", "tunable"]


def tunable(
    default: int,
    *,
    min: int,  # noqa: A002
    max: int,  # noqa: A002
    unit: str = "",
    doc: str = "",
    frozen: bool = False,
) -> int:
    """Declares a number that the user may set, also while the scheduler runs unless it is `frozen`.

    Arguments are constants. Its type is s64 if `min` is negative, u64 otherwise; hooks read it as
    `self.NAME`. On a policy object it is an attribute.
    """
    del min, max, unit, doc, frozen  # the compiler reads them from the syntax tree
    return default


class Policy(Hooks):
    """Base of all policies: `class MyPolicy(Policy):` in a file of its own.

    An object takes values for tunables by name, checked against their bounds:
    `MyPolicy(slice_us=3000).slice_ns(Task(), VCpu(), Sched())`. It has state, counters and
    histograms of its own, as a scheduler that was just loaded has.
    """

    mechanism: ClassVar[Mechanism]
    program: ClassVar[PolicyProgram]

    def __init_subclass__(cls, *, program: PolicyProgram | None = None) -> None:
        """Compiles the file that defines the class; raises PolicyError for what is wrong in it."""
        namespace: dict[str, Any] = {}
        if program is None:
            from scx_vsched.policy.compiler import compile_file  # noqa: PLC0415 - keeps start-up fast

            frame = sys._getframe(1)
            program = compile_file(Path(frame.f_code.co_filename))
            namespace = frame.f_globals
        _install(cls, program, namespace)

    def __init__(self, **tunables: int) -> None:
        values = {found.name: found.default for found in self.program.tunables} | tunables
        for name, value in values.items():
            self._set(name, value)
        self.__dict__.update(keep(self.program, type(self)))

    def tune(self, **tunables: int) -> None:
        """Changes tunables by name, as `scx_vsched tune` does while the scheduler runs."""
        for name, value in tunables.items():
            if any(found.name == name and found.frozen for found in self.program.tunables):
                raise UserError(
                    f"{self.program.name}: {name} is frozen", "set it when the policy is made"
                )
            self._set(name, value)

    def _set(self, name: str, value: object) -> None:
        found = next((found for found in self.program.tunables if found.name == name), None)
        if found is None:
            raise UserError(
                f"{self.program.name} has no tunable {name!r}",
                f"it has {', '.join(t.name for t in self.program.tunables) or 'none'}",
            )
        if not isinstance(value, int) or not found.min <= value <= found.max:
            raise UserError(
                f"{self.program.name}: {name} = {value!r} is not an integer from "
                f"{found.min} to {found.max}",
                f"its default is {found.default} {found.unit}".rstrip(),
            )
        self.__dict__[name] = value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a policy does not change; make another one with {name}={value!r}")

    if TYPE_CHECKING:
        # Hooks that a policy leaves to the core exist all the same.
        def __getattr__(self, name: str) -> Any: ...


def policy_class(program: PolicyProgram) -> type[Policy]:
    """The class that importing the policy's file would give, without running the file."""
    members: dict[str, Any] = {"__doc__": program.doc or None}
    classes = {state.cls.name: state_class(state.cls) for state in program.states}
    members |= {state.name: classes[state.cls.name] for state in program.states}
    return type(program.name, (Policy,), members, program=program)


def _install(cls: type[Policy], program: PolicyProgram, namespace: dict[str, Any]) -> None:
    """Gives `cls` the compiled functions; helpers of the module replace those in `namespace`."""
    from scx_vsched.policy.emit_python import emit_python  # noqa: PLC0415 - keeps start-up fast

    cls.program = program
    cls.mechanism = program.mechanism
    functions = emit_python(program, cls.__module__)
    for function in program.functions:
        made = functions[function.name]
        if function.kind != "function":
            setattr(cls, function.name, made)
        elif function.name in namespace:
            namespace[function.name] = made
