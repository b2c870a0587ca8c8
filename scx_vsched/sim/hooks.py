"""Hooks that CPython computes within a run, so that a debugger steps through the policy's lines.

The mechanism stays compiled; each of its calls of a hook goes through the engine to Python.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.render import tracked_fields
from scx_vsched.errors import UserError
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.ir import BoolType, Effect, Intrinsic, ViewType, VoidType, walk
from scx_vsched.policy.views import VIEWS, field_info

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scx_vsched.policy.base import Policy
    from scx_vsched.policy.ir import Function, Type
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["Hooks", "redirected"]

_OF_THE_MACHINE = {"kick", "now_ns", "random_u32"}
_END_OF_HOOKS = "#pragma clang diagnostic pop\n"


def _hooks(program: PolicyProgram) -> list[Function]:
    return [function for function in program.functions if function.kind == "hook"]


def redirected(rendered: str, program: PolicyProgram) -> str:
    """The rendered C whose mechanism asks the engine instead of the compiled hooks."""
    head, end, mechanism = rendered.partition(_END_OF_HOOKS)
    if not end:
        raise AssertionError("the rendered text does not say where its hooks end")
    calls = ["", "u64 sim_hook(u64 hook, const u64 *arguments);", ""]
    for number, hook in enumerate(_hooks(program)):
        names = [f"a{place}" for place, _ in enumerate(hook.parameters)]
        declared = ", ".join(
            f"{_c_type(parameter.type)} {name}"
            for parameter, name in zip(hook.parameters, names, strict=True)
        )
        passed = ", ".join(f"(u64){name}" for name in names)
        void = isinstance(hook.returns, VoidType)
        calls += [
            f"static {'void' if void else hook.returns.name} py_{hook.name}({declared or 'void'})",
            "{",
            f"\t{'' if void else 'return '}sim_hook({number}, (const u64[]){{{passed or 0}}});",
            "}",
            f"#define hook_{hook.name} py_{hook.name}",
            "",
        ]
    return head + end + "\n".join(calls) + mechanism


def _c_type(of: Type) -> str:
    return f"const struct {of.name.lower()}_view *" if isinstance(of, ViewType) else of.name


def _struct(view: str, tracked: Collection[str]) -> type[ctypes.Structure]:
    """The view as it lies in memory: templates/common/views.h.j2."""
    members = [
        (name, getattr(ctypes, f"c_{'u' * (not info.type.signed)}int{info.type.bits}"))
        if info.type
        else (name, ctypes.c_bool)
        for name, info in field_info(view).items()
        if name in tracked or not info.tracked
    ]
    return type(view, (ctypes.Structure,), {"_fields_": members})


@dataclass(slots=True)
class Hooks:
    """Computes the hooks of a policy; `error` is the exception that ended the run, if any."""

    program: PolicyProgram
    tunables: Mapping[str, int] = field(default_factory=dict)
    error: BaseException | None = field(default=None, init=False)
    _policy: Policy = field(init=False)
    _calls: list[tuple[Any, list[Any]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        asked = {
            node.function
            for function in self.program.functions
            for node in walk(function)
            if isinstance(node, Effect | Intrinsic) and node.function in _OF_THE_MACHINE
        }
        if asked:
            raise UserError(
                f"{self.program.name} calls {', '.join(sorted(asked))}, which asks or tells the "
                "simulated machine: CPython has another",
                "take the time from `sched.now_ns`, or run the compiled hooks",
            )
        policy = self._policy = policy_class(self.program)(**self.tunables)
        tracked = tracked_fields(self.program)
        structs = {view: _struct(view, tracked) for view in VIEWS}
        self._calls = [
            (
                getattr(policy, hook.name),
                [self._reader(parameter.type, structs) for parameter in hook.parameters],
            )
            for hook in _hooks(self.program)
        ]

    @staticmethod
    def _reader(of: Type, structs: Mapping[str, type[ctypes.Structure]]) -> Any:
        """From an argument as the engine passes it to what Python gets."""
        if isinstance(of, BoolType):
            return bool
        if not isinstance(of, ViewType):
            return of
        view, struct = VIEWS[of.name], structs[of.name]
        names = [found[0] for found in struct._fields_]

        def read(address: int) -> Any:
            found = struct.from_address(address)
            return view(**{name: getattr(found, name) for name in names})

        return read

    def set_domain(self, number: int, settings: Mapping[str, int]) -> None:
        """As user space sets it in the compiled scheduler."""
        for state in self.program.states:
            for found in state.cls.fields:
                if found.setting:
                    setattr(getattr(self._policy, state.name)(number), found.name,
                            settings[found.name])  # fmt: skip

    def call(self, number: int, arguments: Sequence[int], failed: Any) -> int:
        """The hook's answer, as the engine asks for it; an exception sets `failed`."""
        try:
            function, readers = self._calls[number]
            values = [read(arguments[place]) for place, read in enumerate(readers)]
            return int(function(*values) or 0) & (1 << 64) - 1
        except BaseException as error:
            self.error = error
            failed[0] = 1
            return 0
