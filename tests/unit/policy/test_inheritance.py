"""Hooks that a policy leaves out come from the core policy, with what they need."""

from __future__ import annotations

import pytest
from policy_text import IMPORT, refusals

from scx_vsched.policy import Sched, Task, VCpu
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.callgraph import calls_of
from scx_vsched.policy.compiler import CORE_POLICY, compile_file, compile_source
from scx_vsched.policy.mechanism import guest

CLASS = "class P(Policy):\n    mechanism = guest\n"
CORE = compile_file(CORE_POLICY)


def program(text: str):
    return compile_source(f"{IMPORT}\n{CLASS}{text}", "example.py")


def test_everything_from_the_core() -> None:
    found = program("    pass\n")
    assert found.tunables == CORE.tunables
    assert [f.name for f in found.functions] == [f.name for f in CORE.functions]
    assert {f.filename for f in found.functions} == {str(CORE_POLICY)}


VALUES = {"bool": "False", "None": ""}


def test_only_what_is_needed() -> None:
    """The core's tunables and helpers come with the hooks that use them."""
    hooks = "".join(
        f"    def {h.name}(self, {', '.join(f'{p.name}: {p.type}' for p in h.parameters)})"
        f" -> {h.returns}:\n        return {VALUES.get(h.returns, '1')}\n"
        for h in guest.hooks
    )
    found = program(hooks)
    assert found.tunables == ()
    assert {f.name for f in found.functions} == {hook.name for hook in guest.hooks}
    assert {f.filename for f in found.functions} == {"example.py"}


def test_callees_come_before_their_callers() -> None:
    seen: set[str] = set()
    for function in CORE.functions:
        assert {call.function for call in calls_of(function)} <= seen
        seen.add(function.name)


def test_a_tunable_of_the_same_name_replaces_the_cores() -> None:
    core = CORE.tunable("slice_us")
    text = f"    slice_us = tunable({core.min + 1}, min={core.min}, max={core.max - 1})\n"
    found = program(text)
    assert found.tunable("slice_us").max == core.max - 1
    assert len(found.tunables) == len(CORE.tunables)


def test_a_tunable_of_the_same_name_stays_within_the_cores_bounds() -> None:
    core = CORE.tunable("slice_us")
    text = f"{IMPORT}\n{CLASS}    slice_us = tunable(5, min=0, max={core.max})\n"
    (found,) = refusals(text)
    assert found.line == 4
    assert "inherited hooks use `slice_us`" in found.message


def test_helpers_of_the_same_name_do_not_meet() -> None:
    """The core's hooks keep calling the core's helper."""
    helper = next(f for f in CORE.functions if f.kind == "method")
    text = (
        f"    def {helper.name}(self) -> u64:\n        return 7\n"
        "    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n"
        f"        return self.{helper.name}()\n"
    )
    found = program(text)
    assert found.function(f"core_{helper.name}").source_name == helper.source_name
    policy = policy_class(found)()
    core = policy_class(CORE)()
    assert policy.queue_key(Task(), VCpu(), Sched()) == 7
    sleeper = Task(vtime=5), Sched(vtime=10**10)
    assert policy.wakeup_vtime(*sleeper) == core.wakeup_vtime(*sleeper)


def test_a_hook_calls_an_inherited_one() -> None:
    text = (
        "    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n"
        "        return self.slice_ns(task, vcpu, sched) + 1\n"
    )
    policy, core = policy_class(program(text))(), policy_class(CORE)()
    views = Task(), VCpu(), Sched()
    assert policy.queue_key(*views) == core.slice_ns(*views) + 1


def test_recursion_is_found_through_methods() -> None:
    text = (
        f"{IMPORT}\n{CLASS}"
        "    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n"
        "        return self.slice_ns(task, vcpu, sched)\n"
        "    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n"
        "        return self.queue_key(task, vcpu, sched)\n"
    )
    (found,) = refusals(text)
    assert "calls itself" in found.message
    assert found.line in {5, 7}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x: u64 = 0\n" + "x += task.vtime * 3\n" * 400 + "return x", "operations; 2000"),
        ("x: u64 = 0\nfor i in range(1000):\n    for j in range(9):\n        x += 1\nreturn x",
         "steps at its longest; 32000"),
        ("\n".join(f"x{i}: u64 = {i}" for i in range(33)) + "\nreturn x0", "33 variables"),
    ],
)  # fmt: skip
def test_limits(body: str, message: str) -> None:
    head = "    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n        "
    text = f"{IMPORT}\n{CLASS}{head}" + body.replace("\n", "\n        ") + "\n"
    (found,) = refusals(text)
    assert message in found.message
    assert found.line == 4


def test_limits_count_calls_inlined() -> None:
    helpers = "".join(
        f"def f{i}(x: u64) -> u64:\n    return f{i - 1}(x) + f{i - 1}(x)\n" for i in range(1, 12)
    )
    text = f"{IMPORT}\ndef f0(x: u64) -> u64:\n    return x * 3\n{helpers}{CLASS}"
    assert "operations; 2000 are allowed" in refusals(text)[0].message
