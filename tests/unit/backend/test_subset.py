"""The list of what pythonbpf is given: nothing that it drops or takes for something else."""

from __future__ import annotations

import pytest

from scx_vsched.backend.build import take
from scx_vsched.backend.subset import SubsetError, check_subset
from scx_vsched.policies import builtin_policies, gallery_policies, resolve_policy
from scx_vsched.policy.compiler import compile_file


def function(*lines: str) -> str:
    head = "def pybpf_x(frame: c_void_p) -> c_uint64:\n    a: c_uint64 = 1\n    b: c_int32 = -2\n"
    return head + "".join(f"    {line}\n" for line in lines) + "    return a\n"


@pytest.mark.parametrize("name", [*builtin_policies(), *gallery_policies()])
def test_all_that_the_backend_writes_is_on_the_list(name: str) -> None:
    program = compile_file(resolve_policy(name))
    taken = take(program, [f.name for f in program.functions if f.kind == "hook"])
    assert taken.functions
    for lowered in taken.functions.values():
        check_subset(lowered.source)


@pytest.mark.parametrize(
    "line",
    [
        "c: c_uint64 = a if a else a",
        "c: c_uint64 = min(a, a)",
        "c: c_uint64 = abs(a)",
        "c: c_uint64 = ~a",
        "c: c_uint64 = helper(a)",
        "c: c_uint64 = a % a",
        "c: c_uint64 = a / a",
        "c: c_uint64 = a + b",
        "c: c_bool = a < b",
        "c: c_bool = a < a < a",
        "c: c_bool = a and a",
        "c: c_uint64 = a + a + a",
        "c: c_uint64 = a + 1",
        "c = a",
        "c: int = 1",
        "a: c_int32 = 1",
        "d: c_uint64 = c",
        "a += a",
        "helper(a)",
        "for i in range(3): pass",
        "if a < a: pass",
        "while helper(a): pass",
        "return a",
        "c: c_uint64 = scx_input(0, 3)",
        "c: c_uint64 = 'text'",
    ],
)
def test_anything_else_ends_the_build(line: str) -> None:
    check_subset(function("c: c_uint64 = a + a", "while True:\n        break"))
    with pytest.raises(SubsetError, match="line 4"):
        check_subset(function(line))
