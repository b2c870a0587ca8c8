"""Which functions the second backend takes, and what it says of the others."""

from __future__ import annotations

import pytest

from scx_vsched.backend.build import take
from scx_vsched.policy.compiler import compile_source

HEAD = """\
from scx_vsched.policy import Policy, Sched, State, Task, VCpu, counter, guest, kick, now_ns
from scx_vsched.policy import per_scheduler, per_task, per_vcpu, random_u32, tunable, u32, u64


class Kept(State):
    number: u64 = 3


def doubled(x: u64) -> u64:
    return x * 2


class Sample(Policy):
    mechanism = guest
    mine = per_task(Kept)
    here = per_vcpu(Kept)
    all = per_scheduler(Kept)
    seen = counter(doc="seen")
    slice_us = tunable(4000, unit="us", min=100, max=100_000, doc="slice")

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
"""


def reason(body: str, more: str = "") -> str:
    """Why the hook with this body is left to clang; empty where it is not."""
    lines = "".join(f"        {line}\n" for line in body.split("\n"))
    program = compile_source(HEAD + lines + more, "sample.py")
    return take(program, ["slice_ns"]).left.get("slice_ns", "")


@pytest.mark.parametrize(
    "body",
    [
        "return 1000",
        "return self.slice_us * 1000 // (1 + min(vcpu.queued, 7))",
        "return doubled(task.vtime) if task.is_batch else now_ns()",
        "return self.mine(task).number + self.all.number",
        "for i in range(8):\n    if i * 3 > vcpu.queued:\n        return doubled(u64(i))\nreturn 0",
    ],
)
def test_what_only_computes_is_taken(body: str) -> None:
    assert reason(body) == ""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("self.mine(task).number += 1\nreturn 1", "changes the state `mine`, in line 22"),
        ("self.seen.add()\nreturn 1", "counts in `seen`, in line 22"),
        ("kick(vcpu.id)\nreturn 1", "calls `kick`, in line 22"),
        ("x = random_u32()\nreturn x", "draws random numbers, in line 22"),
        ("return self.here(vcpu.id + 1).number", "reads the state `here` by a number, in line 22"),
    ],
)
def test_what_does_more_is_left_and_the_reason_given(body: str, why: str) -> None:
    assert reason(body) == why


def test_what_a_helper_does_counts_and_is_named() -> None:
    more = "\n    def noted(self) -> u64:\n        self.seen.add()\n        return 1\n"
    assert reason("return self.noted()", more) == "counts in `seen`, in line 25 of `noted`"


def test_hooks_that_return_nothing_are_left() -> None:
    more = "    def on_start(self, task: Task, vcpu: VCpu, sched: Sched) -> None:\n        pass\n"
    program = compile_source(HEAD + "        return 1\n\n" + more, "sample.py")
    left = take(program, ["on_start"]).left
    assert left == {"on_start": "returns nothing: it is there for what it changes"}


def test_what_reads_much_is_left_for_the_sake_of_the_stack() -> None:
    fields = ["task.vtime", "task.ran_ns", "task.total_ns", "task.slice_left_ns", "task.burst_ns",
              "task.interval_ns", "task.asked_slice_ns", "task.settled_ns", "vcpu.latency_ns",
              "vcpu.vtime", "vcpu.llc_vtime", "vcpu.spent_ns", "vcpu.renews_in_ns",
              "vcpu.margin_ns", "vcpu.rested_ns", "vcpu.silent_ns"]  # fmt: skip
    assert reason("return " + " + ".join(fields)) == ""
    found = reason("return " + " + ".join([*fields, "sched.now_ns"]))
    assert found == "reads more than 128 bytes of fields and tunables"


def test_deep_nesting_is_left_before_python_refuses_it() -> None:
    def nested(inner: str) -> str:
        for number in range(50):
            inner = f"(x if x > {number} else {inner})"
        return inner

    more = f"""
    def outer(self, x: u64) -> u64:
        return {nested("self.inner(x)")}

    def inner(self, x: u64) -> u64:
        return {nested("x")}
"""
    assert reason("return self.inner(task.vtime)", more) == ""
    assert reason("return self.outer(task.vtime)", more) == "nests more than 90 blocks"


def test_hooks_that_would_take_long_together_are_left() -> None:
    program = compile_source(HEAD + "        return task.vtime\n", "sample.py")
    names = [function.name for function in program.functions if function.kind == "hook"]
    taken = take(program, names, most=100)
    assert taken.functions
    assert sum(lowered.source.count("\n") for lowered in taken.functions.values()) <= 100
    assert set(taken.left.values()) == {"would make more than 100 operations together with others"}
