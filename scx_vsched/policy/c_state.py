"""Emits what a policy keeps as C: structs of state with their initial values, and counters.

`struct policy_task` and its like hold all that a task, say, has of the policy's, one member for
each declaration; the template says where they live.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.policy.c_expressions import constant
from scx_vsched.policy.program import SCOPES
from scx_vsched.policy.types import IntType

if TYPE_CHECKING:
    from scx_vsched.policy.program import PolicyProgram, State, StateClass, StateField

__all__ = ["domain_layout", "emit_state", "has_initial", "size_of"]


def emit_state(program: PolicyProgram) -> str:
    """The structs, and `policy_SCOPE_initial` for each scope in use; empty without any state."""
    parts = []
    for cls in {state.cls.name: state.cls for state in program.states}.values():
        fields = [f"\t{field.type.name} {field.name};" for field in cls.fields]
        parts.append("\n".join([f"struct state_{cls.name} {{", *fields, "};"]))
    for scope in SCOPES:
        states = [state for state in program.states if state.scope == scope]
        if not states:
            continue
        members = [f"\tstruct state_{state.cls.name} {state.name};" for state in states]
        parts.append("\n".join([f"struct policy_{scope} {{", *members, "};"]))
        initial = [f"\t.{state.name} = {{{_initial(state)}}}," for state in states]
        head = f"static const struct policy_{scope} policy_{scope}_initial = {{"
        parts.append("\n".join([head, *initial, "};"]))
    return "\n\n".join(parts) + "\n" if parts else ""


def _width(field: StateField) -> int:
    return field.type.bits // 8 if isinstance(field.type, IntType) else 1


def _offsets(cls: StateClass) -> tuple[dict[str, int], int, int]:
    """Where C puts each field, the size of the whole, and its alignment."""
    offsets, size, largest = {}, 0, 1
    for field in cls.fields:
        width = _width(field)
        size = -(-size // width) * width
        offsets[field.name] = size
        size += width
        largest = max(largest, width)
    return offsets, -(-size // largest) * largest, largest


def size_of(cls: StateClass) -> int:
    """What C makes of it: each field at a multiple of its size, the whole of the largest."""
    return _offsets(cls)[1]


def domain_layout(program: PolicyProgram) -> tuple[dict[str, int], int]:
    """The byte in `struct policy_domain` at which each setting lies, and the struct's size."""
    found: dict[str, int] = {}
    end, largest = 0, 1
    for state in program.states:
        if state.scope != "domain":
            continue
        offsets, size, alignment = _offsets(state.cls)
        start = -(-end // alignment) * alignment
        found |= {f.name: start + offsets[f.name] for f in state.cls.fields if f.setting}
        end, largest = start + size, max(largest, alignment)
    return found, -(-end // largest) * largest


def has_initial(program: PolicyProgram, scope: str) -> bool:
    """Whether state of `scope` begins with anything but zeros."""
    return any(
        field.default
        for state in program.states
        if state.scope == scope
        for field in state.cls.fields
    )


def _initial(state: State) -> str:
    return ", ".join(f".{field.name} = {_value(field)}" for field in state.cls.fields)


def _value(field: StateField) -> str:
    if isinstance(field.type, IntType):
        return constant(field.default, field.type, typed=True)
    return "true" if field.default else "false"
