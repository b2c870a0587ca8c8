# ruff: noqa: E501 - the verifier writes long lines
"""Logs of the verifier, as Linux 6.12 to 7.3 write them, told in terms of the policy."""

from __future__ import annotations

import pytest

from scx_vsched.bpf.refusal import explain_refusal

UNBOUNDED = """\
0: R1=ctx() R10=fp0
; there = task.pid @ policy.py:41
12: (61) r2 = *(u32 *)(r1 +8)         ; R1=ptr_task() R2_w=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
; total = self.load(there).total @ policy.py:42
13: (67) r2 <<= 3                     ; R2_w=scalar(smin=0,smax=umax=0x7fffffff8,var_off=(0x0; 0x7fffffff8))
14: (0f) r3 += r2                     ; R2_w=scalar(smin=0,smax=umax=0x7fffffff8) R3_w=map_value(map=.bss,ks=4,vs=65536,smin=0,smax=umax=0x7fffffff8,var_off=(0x0; 0x7fffffff8))
; return y ? py_hide(x) / y : 0; @ arith.h:37
15: (79) r1 = *(u64 *)(r3 +0)
R3 unbounded memory access, make sure to bounds check any such access
processed 14 insns (limit 1000000) max_states_per_insn 0 total_states 0
"""

SCALAR = """\
; if (!tctx) @ guest/ops.h:10
3: (bf) r1 = r0                       ; R0=scalar() R1_w=scalar(id=1)
4: (79) r2 = *(u64 *)(r1 +0)
R1 invalid mem access 'scalar'
"""

CONSTANT = """\
; x = 1 @ p.py:3
3: (b7) r1 = 99                       ; R1_w=99
4: (79) r2 = *(u64 *)(r1 +0)
R1 invalid mem access 'scalar'
"""


@pytest.mark.parametrize(
    ("log", "place", "first", "known"),
    [
        (UNBOUNDED, "policy.py:42", "; total = ", "the offset or index is 0 to 34359738360"),
        (SCALAR, "guest/ops.h:10", "; if (!tctx)", "the value may be anything"),
        (CONSTANT, "p.py:3", "; x = 1", "the value is 99"),
        ("nothing of use\n", "", "nothing", ""),
    ],
)
def test_told_in_terms_of_the_policy(log: str, place: str, first: str, known: str) -> None:
    lines = log.splitlines()
    found = explain_refusal(lines)
    assert found.place == place
    assert lines[found.since].startswith(first)
    assert found.known == known
