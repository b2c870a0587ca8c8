"""What a policy file is written with: the class `Policy` and `tunable`.

Importing a policy file compiles it, with the same diagnostics as a build, and gives the class hooks
that compute in CPython what they compute in BPF.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from scx_vsched.policy.mechanism import Mechanism
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Policy", "policy_class", "tunable"]


def tunable(default: int, *, min: int, max: int, unit: str = "", doc: str = "") -> int:  # noqa: A002
    """Declares a number that the user may set when the scheduler starts.

    Arguments are constants. Its type is s64 if `min` is negative, u64 otherwise; hooks read it as
    `self.NAME`. On a policy object it is an attribute.
    """
    del min, max, unit, doc  # the compiler reads them from the syntax tree
    return default


class Policy:
    """Base of all policies: `class MyPolicy(Policy):` in a file of its own.

    An object takes values for tunables by name, checked against their bounds:
    `MyPolicy(slice_us=3000).slice_ns(Task(), VCpu(), Sched())`.
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
        for tunable_ in self.program.tunables:
            value = tunables.pop(tunable_.name, tunable_.default)
            if not isinstance(value, int) or not tunable_.min <= value <= tunable_.max:
                raise UserError(
                    f"{self.program.name}: {tunable_.name} = {value!r} is not an integer from "
                    f"{tunable_.min} to {tunable_.max}",
                    f"its default is {tunable_.default} {tunable_.unit}".rstrip(),
                )
            self.__dict__[tunable_.name] = value
        for name in tunables:
            raise UserError(
                f"{self.program.name} has no tunable {name!r}",
                f"it has {', '.join(t.name for t in self.program.tunables) or 'none'}",
            )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a policy does not change; make another one with {name}={value!r}")

    if TYPE_CHECKING:
        # Hooks that a policy leaves to the core exist all the same.
        def __getattr__(self, name: str) -> Any: ...


def policy_class(program: PolicyProgram) -> type[Policy]:
    """The class that importing the policy's file would give, without running the file."""
    return type(program.name, (Policy,), {"__doc__": program.doc or None}, program=program)


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
