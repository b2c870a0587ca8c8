"""A scheduler that goes wrong when told to: the default one, with faults put into its C."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scx_vsched.bpf.compile import compile_c
from scx_vsched.bpf.render import render
from scx_vsched.policy.compiler import compile_source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ERROR", "INIT", "RESTART", "build_faulty"]

# Values of the tunable `fault`.
ERROR, RESTART, INIT = 1, 2, 3

POLICY = '''
from scx_vsched.policy import Policy, guest, tunable

class Faulty(Policy):
    """Goes wrong when told to."""
    mechanism = guest
    slice_us = tunable(5000, unit="us", min=100, max=100_000, doc="length of a slice")
    fault = tunable(0, min=0, max=3, doc="what goes wrong")
'''

DECLARATIONS = """
void scx_bpf_exit_bstr(s64 code, char *fmt, unsigned long long *data, u32 size) __ksym;
static u64 faulty_enqueued;
"""

# What is put at the start of the functions.
FAULTS = {
    "vsched_enqueue": f"""
	static char faulty_text[] = "told to restart";
	unsigned long long faulty_data;

	if (tunables.fault == {ERROR})
		scx_bpf_error("told to fail");
	if (tunables.fault == {RESTART} && ++faulty_enqueued > 5)
		scx_bpf_exit_bstr((1LL << 48) | (1LL << 32) | 7, faulty_text, &faulty_data, 0);
""",
    "vsched_init": f"""
	if (tunables.fault == {INIT})
		return -12;
""",
}

# A number is not a pointer, to any verifier.
UNVERIFIABLE = {
    "vsched_running": """
	u64 faulty_number = bpf_ktime_get_ns();
#line 42 "policy.py"
	*(volatile u64 *)faulty_number = 0;
"""
}


def build_faulty(out: Path, *, unverifiable: bool = False) -> Path:
    """Compile it to `out`; `unverifiable` adds an access that the verifier refuses."""
    text = render(compile_source(POLICY, "faulty.py"), ())
    for function, fault in (FAULTS | (UNVERIFIABLE if unverifiable else {})).items():
        text, found = re.subn(rf"(\n\w+ {function}\(u64 \*ctx\)\n{{\n)", r"\g<1>@@@", text)
        assert found == 1, function
        text = text.replace("@@@", fault)
    text, found = re.subn(r'(#include "arith.h"\n)', lambda m: m[1] + DECLARATIONS, text)
    assert found == 1
    compile_c(text, out)
    return out
