"""Arithmetic that is correct, wraps, and was hardly meant to."""

from __future__ import annotations

import policy_text
import pytest

from scx_vsched.policies import builtin_policies
from scx_vsched.policy.compiler import compile_file, compile_source

TUNABLES = "ms = tunable(5, min=1, max=1 << 50)\n    us = tunable(5, min=1, max=1000)"

# A body, what is marked in it, and what is said of it.
WARNED = [
    ("return s64(BIG + BIG)", "BIG + BIG", "always overflows u32: it is 8000000000"),
    ("return u8(min(c, 3)) - u8(9)", "u8(min(c, 3)) - u8(9)", "always overflows u8: -9 to -6"),
    ("return s64(self.ms * 1_000_000)", "self.ms * 1_000_000", "at some allowed setting"),
    ("n = min(max(d, 70), 90)\nreturn b << n", "n", "shifted by 70 to 90, always beyond"),
    ("return s64(u8(200) << 1)", "u8(200) << 1", "always overflows u8: it is 400"),
]


@pytest.mark.parametrize(("body", "marked", "message"), WARNED)
def test_warned(body: str, marked: str, message: str) -> None:
    text = policy_text.with_body(body, above="BIG: u32 = 4_000_000_000")
    text = text.replace("mechanism = guest\n", f"mechanism = guest\n    {TUNABLES}\n", 1)
    found = compile_source(text, "example.py").warnings
    assert len(found) == 1
    assert message in found[0].message
    start = found[0].column - 1
    assert found[0].source[start : start + found[0].width] == marked
    assert found[0].suggestion


@pytest.mark.parametrize(
    "body",
    [
        "return s64(a - u64(c))",
        "return s64(self.us * 1000 + vcpu.latency_ns)",
        "return -abs(b)",
        "return s64(u64(1) << vcpu.id)",
        "return s64(c * c)",
        "return s64(~u64(0))",
    ],
)
def test_what_may_wrap_is_not_warned_of(body: str) -> None:
    text = policy_text.with_body(body)
    text = text.replace("mechanism = guest\n", f"mechanism = guest\n    {TUNABLES}\n", 1)
    assert compile_source(text, "example.py").warnings == ()


def test_the_policies_of_the_project_give_no_warning() -> None:
    for path in builtin_policies().values():
        assert compile_file(path).warnings == ()
