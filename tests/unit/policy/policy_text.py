"""Policy files for tests, made from the part that matters."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from harness import kept_declarations, known_fields

from scx_vsched.bpf.render import include_dir
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import Diagnostic, PolicyError
from scx_vsched.policy.emit_c import emit_c
from scx_vsched.policy.ir import ViewType, VoidType
from scx_vsched.policy.views import VIEWS, Sched, Task, VCpu

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.policy.program import PolicyProgram

IMPORT = (
    "from scx_vsched.policy import "
    "Policy, Sched, Task, VCpu, guest, s8, s16, s32, s64, tunable, u8, u16, u32, u64"
)
SCALARS = "a: u64, b: s64, c: u32, d: s32, e: u16, f: s16, g: u8, h: s8, p: bool, q: bool"
HEADER = f"    def fn(self, task: Task, vcpu: VCpu, sched: Sched, {SCALARS}) -> "
FIRST_LINE = 7
"""The line of the file on which a body given to `with_body` begins."""


def with_body(body: str, returns: str = "s64", above: str = "") -> str:
    """A policy with the method `fn` of many parameters; its body has no indentation here.

    Code in `above` goes above the class, on the third line.
    """
    lines = [IMPORT, "", above, "class Example(Policy):"]
    lines += ["    mechanism = guest", f"{HEADER}{returns}:"]
    assert len("\n".join(lines).split("\n")) == FIRST_LINE - 1 + above.count("\n")
    return "\n".join([*lines, *(f"        {line}" for line in body.split("\n"))]) + "\n"


def evaluate(body: str, returns: str = "s64", above: str = "", **scalars: Any) -> int:
    """What `fn` with this body returns in CPython; scalars and views not given are 0 or default."""
    if "\n" not in body and not body.startswith("return "):
        body = f"return {body}"
    program = compile_source(with_body(body, returns, above), "example.py")
    names = [p.name for p in program.function("fn").parameters]
    values = dict.fromkeys(names, 0) | {"p": False, "q": False}
    values |= {"task": Task(), "vcpu": VCpu(), "sched": Sched()} | scalars
    result = policy_class(program)().fn(*(values[name] for name in names))
    assert isinstance(result, bool) == (returns == "bool")
    return int(result)


def refusals(text: str) -> tuple[Diagnostic, ...]:
    """What the compiler finds wrong with `text`; there must be something."""
    try:
        compile_source(text, "example.py")
    except PolicyError as error:
        return error.diagnostics
    raise AssertionError(f"accepted:\n{text}")


WORLD = """
u64 policy_now_ns(void);
u32 policy_random_u32(void);
void policy_kick(u32 vcpu);
"""


def declarations(program: PolicyProgram) -> str:
    """C that stands for the template: the views, flat, with their accessors, and what is kept."""
    before, after = kept_declarations(program)
    lines = ['#include "bpf.h"', '#include "arith.h"', "#define MAX_VCPUS 4096"]
    if "struct policy_task {" not in before:
        lines.append("struct policy_task { u8 none; };")
    after = "\n".join(line for line in after.split("\n") if "policy_tasks[" not in line)
    lines.append(before)
    for view in VIEWS:
        struct = f"struct {view.lower()}_view"
        fields = [(f.name, f.type.name if f.type else "bool") for f in known_fields(view)]
        pointer = ["\tstruct policy_task *policy;"] * (view == "Task")
        members = [f"\t{kind} {name};" for name, kind in fields]
        lines += [f"{struct} {{", *members, *pointer, "};"]
        lines += [
            f"static __always_inline {kind} {view.lower()}_{name}(const {struct} *view)"
            f" {{ return view->{name}; }}"
            for name, kind in fields
        ]
    return "\n".join([*lines, after, WORLD]) + "\n"


def complete_c(program: PolicyProgram) -> str:
    """A C file with all functions of `program`, each called, so that clang makes code of it."""
    lines = [declarations(program)]
    for name in ("tunables", "frozen_tunables"):
        lines += ["const volatile struct {", "\tu64 none;"]
        lines += [f"\t{t.type} {t.name};" for t in program.tunables]
        lines.append(f"}} {name};")
    lines.append(emit_c(program))
    for i, function in enumerate(program.functions):
        prefix = "hook" if function.kind == "hook" else "fn"
        members, arguments = [], []
        for k, parameter in enumerate(function.parameters):
            view = isinstance(parameter.type, ViewType)
            name = parameter.type.name
            kind = f"struct {name.lower()}_view" if view else name
            members.append(f"{kind} m{k};")
            arguments.append(f"{'&' if view else ''}in->m{k}")
        lines.append(f"struct in{i} {{ u64 none; {' '.join(members)} }};")
        call = f"{prefix}_{function.name}({', '.join(arguments)})"
        if isinstance(function.returns, VoidType):
            lines.append(f"void call{i}(const struct in{i} *in) {{ {call}; }}")
        else:
            lines.append(f"u64 call{i}(const struct in{i} *in) {{ return (u64){call}; }}")
    return "\n".join(lines) + "\n"


def find_clang() -> str | None:
    """Some clang of version 16 or newer, or None."""
    names = ["clang-19", *(f"clang-{n}" for n in (22, 21, 20, 18, 17, 16)), "clang"]
    return next((path for path in map(shutil.which, names) if path), None)


def clang_complaints(clang: str, directory: Path, sources: list[str], *, code: bool) -> str:
    """clang's errors for C files, checked only or (`code`) compiled for BPF."""
    for i, source in enumerate(sources):
        (directory / f"fuzz{i}.c").write_text(source, encoding="utf-8")
    command = [clang, "-target", "bpf", "-mcpu=v3", "-std=gnu11", "-fwrapv", "-Wall", "-Werror"]
    command += [
        "-fno-strict-aliasing",
        "-Wno-unused-function",
        "-Wno-unused-const-variable",
        f"-I{include_dir()}",
    ]
    command += ["-O2", "-g", "-S"] if code else ["-fsyntax-only"]
    done = subprocess.run(
        [*command, *(f"fuzz{i}.c" for i in range(len(sources)))],
        cwd=directory,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stderr if done.returncode or done.stderr else ""
