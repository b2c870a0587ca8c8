"""Writes the C of a hook that another object holds: it hands over what the hook reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.policy import ir
from scx_vsched.policy.c_expressions import CExpressions
from scx_vsched.policy.c_names import Names

if TYPE_CHECKING:
    from scx_vsched.backend.lower import Lowered
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["shim"]


def shim(program: PolicyProgram, name: str, lowered: Lowered, c_name: str) -> str:
    """The function `name` of `program` in C as `c_name`, which calls `lowered`.

    Hidden, as the linked function is a static one to the verifier: it then knows of what is handed
    over and of the result what it would know of C's.
    """
    function = program.function(name)
    variables = {p.name: p.name for p in function.parameters}
    expressions = CExpressions(variables, {}, Names(variables), program)
    parameters = [
        f"const struct {p.type.name.lower()}_view *{p.name}"
        if isinstance(p.type, ir.ViewType)
        else f"{p.type.name} {p.name}"
        for p in function.parameters
    ]
    read = lowered.inputs or (ir.Const(function.span, ir.BOOL, 0),)
    members = [f"\t{expr.type.name} read{i};" for i, expr in enumerate(read)]
    values = [f"\t\t{expressions.bare(expr)}," for expr in read]
    test = " != 0" if function.returns == ir.BOOL else ""
    head = f"static __always_inline {function.returns.name} {c_name}("
    return "\n".join(
        [
            f"/* {function.source_name}, compiled by pythonbpf from what it reads. */",
            f"struct {lowered.name} {{",
            *members,
            "} __attribute__((aligned(8)));",
            "",
            f"u64 {lowered.name}(struct {lowered.name} *read)",
            '\t\t__attribute__((visibility("hidden")));',
            "",
            head + ",\n\t\t".join(parameters or ["void"]) + ")",
            "{",
            f"\tstruct {lowered.name} read = {{",
            *values,
            "\t};",
            "",
            f"\treturn {lowered.name}(&read){test};",
            "}",
            "",
        ]
    )
