"""Fills in the hooks that a policy leaves out, from the core policy.

The core's hooks come with the helpers and tunables that they need. A tunable that the policy
defines itself takes the place of the core's, within the bounds that the core's hooks were checked
for. Helpers of the core never replace or meet those of the policy: on a clash they are renamed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import fields
from typing import TYPE_CHECKING, cast

from scx_vsched.policy import ir
from scx_vsched.policy.callgraph import calls_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scx_vsched.policy.declarations import Declarations
    from scx_vsched.policy.diagnostics import Reporter
    from scx_vsched.policy.program import PolicyProgram, Tunable

__all__ = ["fill"]


def fill(
    program: PolicyProgram,
    core: PolicyProgram,
    missing: Iterable[str],
    found: Declarations,
    reporter: Reporter,
) -> PolicyProgram:
    """`program` with the `missing` hooks of `core`; clashes are reported."""
    own = {function.name for function in program.functions}
    needed = _needed(core, missing, own)
    names = {f.name: _free_name(f, own) for f in needed}
    inherited = tuple(_renamed(function, names) for function in needed)
    tunables = {tunable.name: tunable for tunable in program.tunables}
    used = {
        node.name
        for function in needed
        for node in ir.walk(function)
        if isinstance(node, ir.TunableRef)
    }
    for tunable in core.tunables:
        if tunable.name not in used:
            continue
        mine = tunables.setdefault(tunable.name, tunable)
        if mine is not tunable and not _within(mine, tunable):
            line = found.places[tunable.name]
            reporter.report(
                ir.Span(line, 0, line, 0),
                f"inherited hooks use `{tunable.name}` as {tunable.type} from {tunable.min} to "
                f"{tunable.max}",
                "stay within these bounds, or choose another name",
            )
    reporter.check()
    return dataclasses.replace(
        program, tunables=tuple(tunables.values()), functions=program.functions + inherited
    )


def _needed(core: PolicyProgram, missing: Iterable[str], own: set[str]) -> list[ir.Function]:
    """The missing hooks and the core's functions that they reach, in the core's order."""
    hooks = {hook.name for hook in core.mechanism.hooks}
    wanted: set[str] = set()
    pending = list(missing)
    while pending:
        name = pending.pop()
        if name in wanted or (name in hooks and name in own):
            continue
        wanted.add(name)
        pending.extend(call.function for call in calls_of(core.function(name)))
    return [function for function in core.functions if function.name in wanted]


def _within(mine: Tunable, core: Tunable) -> bool:
    return mine.type == core.type and core.min <= mine.min and mine.max <= core.max


def _free_name(function: ir.Function, taken: set[str]) -> str:
    name = function.name
    while function.kind != "hook" and name in taken:
        name = f"core_{name}"
    return name


def _renamed(function: ir.Function, names: dict[str, str]) -> ir.Function:
    if all(old == new for old, new in names.items()):
        return function
    body = tuple(_rename_calls(statement, names) for statement in function.body)
    return dataclasses.replace(function, name=names[function.name], body=body)


def _rename_calls[T](item: T, names: dict[str, str]) -> T:
    """A node, or a tuple of nodes, with the calls in it renamed."""
    changed: object = item
    if isinstance(item, tuple):
        changed = tuple(_rename_calls(part, names) for part in item)
    elif isinstance(item, ir.Node):
        values = {f.name: _rename_calls(getattr(item, f.name), names) for f in fields(item)}
        if isinstance(item, ir.Call | ir.Perform):
            values["function"] = names.get(item.function, item.function)
        changed = type(item)(**values)
    return cast("T", changed)
