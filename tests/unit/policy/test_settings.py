"""Fields of domains' state that the user sets, and what only one mechanism knows."""

from __future__ import annotations

import ctypes

import pytest

from scx_vsched.bpf.model import ObjectMeta
from scx_vsched.bpf.render import describe, render
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import PolicyError

HOOKS = """
    def rank(self, task: Task, sched: Sched) -> u64:
        return self.dom(task).share
    def run_ns(self, task: Task, sched: Sched) -> u64:
        return 1000
    def burn(self, task: Task, sched: Sched) -> None:
        {burn}
"""


def text(fields: str, burn: str = "pass", mechanism: str = "host", scope: str = "domain") -> str:
    return (
        f"from scx_vsched.policy import Policy, Sched, State, Task, {mechanism}, per_{scope}\n"
        "from scx_vsched.policy import setting, s16, u8, u32, u64\n"
        f"class Dom(State):\n    {fields}\n"
        f"class Made(Policy):\n    mechanism = {mechanism}\n    dom = per_{scope}(Dom)\n"
        + HOOKS.format(burn=burn)
    )


SHARE = 'share: u32 = setting(256, min=1, max=1000, doc="its share", unit="parts")'


def test_a_setting_begins_with_its_default_and_a_test_may_set_it() -> None:
    policy = policy_class(compile_source(text(SHARE), "made.py"))()
    assert policy.dom(3).share == 256
    policy.dom(3).share = 500
    assert policy.dom(3).share == 500


def test_an_object_says_what_can_be_set_and_where_it_lies() -> None:
    fields = (
        f'small: u8 = 3\n    {SHARE}\n    more: u64 = 0\n'
        '    deep: s16 = setting(-5, min=-10, max=10, doc="how deep")'
    )  # fmt: skip
    meta = describe(compile_source(text(fields), "made.py"))
    names = [("small", ctypes.c_uint8), ("share", ctypes.c_uint32), ("more", ctypes.c_uint64)]
    lies = type("Lies", (ctypes.Structure,), {"_fields_": [*names, ("deep", ctypes.c_int16)]})
    assert [(s.name, s.offset) for s in meta.settings] == [
        ("share", lies.share.offset),  # type: ignore[attr-defined]
        ("deep", lies.deep.offset),  # type: ignore[attr-defined]
    ]
    assert meta.domain_size == ctypes.sizeof(lies)
    assert (meta.settings[0].unit, meta.settings[0].doc) == ("parts", "its share")
    assert ObjectMeta.from_json(meta.to_json()) == meta


def test_domains_of_the_host_lie_in_a_map_of_their_own() -> None:
    assert 'policy_domains[MAX_POLICY_DOMAINS] SEC(".bss.domains");' in render(
        compile_source(text(SHARE), "made.py")
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (text(SHARE, "self.dom(task).share = 3"), "`share` is set by the user"),
        (text(SHARE, "self.dom(task).share += 3"), "`share` is set by the user"),
        (text(SHARE, scope="task"), "`Dom` has settings"),
        (text(SHARE, mechanism="guest"), "`Dom` has settings"),
        (text("share: u8 = setting(3, min=0, max=256, doc='x')"), "`max` does not fit u8"),
        (text("share: u32 = setting(3, min=4, max=9, doc='x')"), "default 3 is not within 4 to 9"),
        (text("share: u32 = setting(3, min=9, max=4, doc='x')"), "`min` 9 is above `max` 4"),
        (text("share: u32 = setting(3, min=0, max=4)"), "the setting has no `doc`"),
        (text("share: u32 = setting(3, max=4, doc='x')"), "the setting has no `min`"),
        (text("share: u32 = setting(3, min=0, max=4, doc='x', frozen=True)"), "no argument"),
        (text("share: bool = setting(0, min=0, max=1, doc='x')"), "the user sets is a number"),
        (text(SHARE).replace("setting, s16", "s16"), "`setting` is not imported"),
        (text(SHARE, "self.dom(task).share2 = task.vtime"), "no field `share2`"),
        (text(SHARE + "\n    x: u64 = 0", "self.dom(task).x = task.vtime"), "knows no `vtime`"),
        (text(SHARE + "\n    x: u64 = 0", "self.dom(task).x = sched.vtime"), "knows no `vtime`"),
        (text(SHARE).replace("def rank", "def place"), "`Made` lacks rank"),
    ],
)
def test_misuse_is_refused(source: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        compile_source(source, "made.py")
    assert message in str(error.value)


def test_two_settings_of_one_name_are_refused() -> None:
    source = text(SHARE).replace(
        "dom = per_domain(Dom)", "dom = per_domain(Dom)\n    other = per_domain(Dom)"
    )
    with pytest.raises(PolicyError, match="have a setting `share` already"):
        compile_source(source, "made.py")


def test_a_guests_policy_does_not_know_who_waits_on_a_host() -> None:
    source = (
        "from scx_vsched.policy import Policy, Sched, Task, VCpu, guest, u64\n"
        "class Made(Policy):\n    mechanism = guest\n"
        "    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n"
        "        return sched.first_rank\n"
    )
    with pytest.raises(PolicyError, match="knows no `first_rank`"):
        compile_source(source, "made.py")
