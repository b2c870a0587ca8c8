"""C around compiled policy functions: SEC("syscall") programs that run them on given inputs."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from scx_vsched.policy.emit_c import emit_c
from scx_vsched.policy.ir import ViewType
from scx_vsched.policy.types import INT_TYPES
from scx_vsched.policy.views import VIEWS, field_info

if TYPE_CHECKING:
    from scx_vsched.policy.program import PolicyProgram

C_TYPES: dict[str, Any] = {name: getattr(ctypes, f"c_{'' if t.signed else 'u'}int{t.bits}")
                           for name, t in INT_TYPES.items()} | {"bool": ctypes.c_bool}  # fmt: skip

_HEADER = """\
#include "bpf.h"
#include "arith.h"
const char _license[] SEC("license") = "GPL";
#define BPF_F_RDONLY_PROG 128
"""


def view_declarations() -> str:
    """The views as flat structs with the accessors that generated code calls."""
    lines = []
    for view in VIEWS:
        struct = f"struct {view.lower()}_view"
        fields = field_info(view).values()
        lines.append(f"{struct} {{")
        lines += [f"\t{f.type.name if f.type else 'bool'} {f.name};" for f in fields]
        lines.append("};")
        lines += [
            f"static __always_inline {f.type.name if f.type else 'bool'} "
            f"{view.lower()}_{f.name}(const {struct} *view) {{ return view->{f.name}; }}"
            for f in fields
        ]
    return "\n".join(lines)


def tunable_declarations(program: PolicyProgram, values: dict[str, int]) -> str:
    """The tunables as the template declares them, with other values than the defaults."""
    lines = ["const volatile struct {", "\tu64 none;"]
    lines += [f"\t{t.type} {t.name};" for t in program.tunables]
    lines.append("} tunables = {")
    lines += [f"\t.{t.name} = ({t.type}){values[t.name] % 2**64}ULL," for t in program.tunables]
    lines.append("};")
    return "\n".join(lines)


def input_struct(views: dict[str, str], scalars: dict[str, str]) -> type[ctypes.Structure]:
    """One input of all functions, laid out as C does."""
    members: list[tuple[str, Any]] = []
    for name, view in views.items():
        fields = [
            (f.name, C_TYPES[f.type.name if f.type else "bool"]) for f in field_info(view).values()
        ]
        members.append((name, type(view, (ctypes.Structure,), {"_fields_": fields})))
    members += [(name, C_TYPES[t]) for name, t in scalars.items()]
    return type("Input", (ctypes.Structure,), {"_fields_": members})


def harness_source(
    program: PolicyProgram,
    functions: list[str],
    views: dict[str, str],
    scalars: dict[str, str],
    inputs: int,
    values: dict[str, int],
) -> str:
    """C with one SEC("syscall") program a function, which runs it on all inputs."""
    parts = [_HEADER, view_declarations(), tunable_declarations(program, values)]
    parts.append("struct input {")
    parts += [f"\tstruct {view.lower()}_view {name};" for name, view in views.items()]
    parts += [f"\t{t} {name};" for name, t in scalars.items()]
    parts.append("};")
    for name, value, entries in (
        ("inputs", "struct input", inputs),
        ("outputs", "u64", inputs * len(functions)),
    ):
        parts.append(
            f"struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, {entries}); "
            f'__type(key, u32); __type(value, {value}); }} {name} SEC(".maps");'
        )
    parts.append(emit_c(program))
    for i, name in enumerate(functions):
        function = program.function(name)
        arguments = ", ".join(
            f"&in->{p.name}" if isinstance(p.type, ViewType) else f"in->{p.name}"
            for p in function.parameters
        )
        prefix = "hook" if function.kind == "hook" else "fn"
        parts.append(
            f"__noinline u64 call_{i}(const struct input *in)\n{{\n"
            f"\treturn in ? (u64){prefix}_{name}({arguments}) : 0;\n}}\n"
            f'SEC("syscall") int run_{i}(void *context)\n{{\n'
            f"\tfor (u32 i = 0; i < {inputs}; i++) {{\n"
            f"\t\tu32 key = i, slot = {i * inputs} + i;\n"
            "\t\tstruct input *in = bpf_map_lookup_elem(&inputs, &key);\n"
            "\t\tu64 *out = bpf_map_lookup_elem(&outputs, &slot);\n\n"
            f"\t\tif (in && out)\n\t\t\t*out = call_{i}(in);\n\t}}\n\treturn 0;\n}}"
        )
    return "\n".join(parts) + "\n"
