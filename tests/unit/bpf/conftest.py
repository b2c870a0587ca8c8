"""A small BPF object of known contents, for what reads and loads objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scx_vsched.bpf.compile import compile_c

SOURCE = """\
#include "bpf.h"

const char _license[] SEC("license") = "GPL";
const volatile u64 factor = 3;
const volatile s32 bias = -1;
u64 calls;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u32);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, u64);
	__type(value, u32);
} names SEC(".maps");

void scx_bpf_error_bstr(char *fmt, unsigned long long *data, u32 size) __ksym __weak;

struct input {
	u64 a, b, out;
};

static __noinline u64 scale(u64 value)
{
	return value * factor;
}

SEC("syscall")
int add(struct input *ctx)
{
	u32 key = 1;
	u64 *total = bpf_map_lookup_elem(&totals, &key);
	u32 *counter = bpf_map_lookup_elem(&counters, &key);

	calls++;
	ctx->out = scale(ctx->a) + ctx->b + bias;
	if (total)
		*total += ctx->out;
	if (counter)
		(*counter)++;
	return scx_bpf_error_bstr ? 8 : 7;
}
"""

# The same program with something that no verifier accepts, a number used as a pointer.
REFUSED = SOURCE.replace(
    "\tcalls++;\n", '#line 42 "policy.py"\n\t*(volatile u64 *)ctx->a = 0;\n#line 60 "sample.c"\n'
)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The object."""
    out = tmp_path_factory.mktemp("sample") / "sample.bpf.o"
    compile_c(SOURCE, out)
    return out


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An object that no verifier accepts."""
    assert REFUSED != SOURCE
    out = tmp_path_factory.mktemp("refused") / "refused.bpf.o"
    compile_c(REFUSED, out)
    return out


@pytest.fixture(scope="session")
def may_load() -> None:
    """Skip where programs cannot be loaded."""
    if os.geteuid() != 0:
        pytest.skip("loading BPF programs needs root")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("this kernel has no BTF")
