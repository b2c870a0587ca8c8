"""Policy files made to harm: each is an error with a place or a correct object, within 5 s."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from scx_vsched.bpf.build import build
from scx_vsched.bpf.compile import find_clang
from scx_vsched.errors import UserError
from scx_vsched.policy.diagnostics import PolicyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_S = 5.0
HEAD = (
    "from scx_vsched.policy import Policy, Sched, State, Task, VCpu, counter, guest, histogram\n"
    "from scx_vsched.policy import per_domain, per_scheduler, per_task, per_vcpu, s64, tunable\n"
    "from scx_vsched.policy import random_u32, u8, u32, u64, vcpus_of\n"
)
CLASS = "class P(Policy):\n    mechanism = guest\n"
METHOD = "    def fn(self, task: Task, a: u64) -> u64:\n"


def spent_s() -> float:
    """CPU time of this process and of the compilers that it ran."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def body(text: str, above: str = "", members: str = "") -> str:
    lines = "".join(f"        {line}\n" for line in text.split("\n"))
    return HEAD + above + CLASS + members + METHOD + lines


def many_hooks() -> str:
    hooks = "".join(
        f"    def h{i}(self, a: u64) -> u64:\n        return a + {i}\n" for i in range(3000)
    )
    return HEAD + CLASS + hooks


def many_fields() -> str:
    classes = "".join(
        f"class S{i}(State):\n" + "".join(f"    f{k}: u64 = {k}\n" for k in range(32))
        for i in range(60)
    )
    members = "".join(
        f"    m{i} = {kind}(S{i % 60})\n"
        for i, kind in enumerate(["per_task", "per_vcpu", "per_domain", "per_scheduler"] * 30)
    )
    return HEAD + classes + CLASS + members


def name_clash(name: str) -> str:
    above = f"class {name.capitalize()}(State):\n    {name}: u64 = 1\n"
    members = f"    {name} = per_scheduler({name.capitalize()})\n"
    return body(f"return self.{name}.{name}", above, members)


CASES: dict[str, Callable[[], str]] = {
    "a word of C": lambda: name_clash("int"),
    "a macro of Linux": lambda: name_clash("linux"),
    "the templates' own names": lambda: name_clash("tunables"),
    "a struct of the templates": lambda: name_clash("policy_task"),
    "a member that tasks have": lambda: name_clash("vtime"),
    "a counter called like a macro": lambda: HEAD + CLASS + '    nr_stats = counter(doc="x")\n',
    "a counter like the mechanism's": lambda: HEAD + CLASS + '    kept = counter(doc="x")\n',
    "texts that break out of C": lambda: (
        HEAD + CLASS + '    hits = counter(doc="*/ #error \\" \\\\ \\n };", unit="\\"); /*")\n'
        '    x = tunable(1, min=0, max=2, doc="*/\\n#include </etc/passwd>")\n'
    ),
    "docstrings that break out of C": lambda: (
        HEAD + "class S(State):\n    '''*/ int x; /* \\\\'''\n    f: u64 = 1\n"
        "class P(Policy):\n    '''*/\n#error no\n'''\n    mechanism = guest\n    s = per_task(S)\n"
    ),
    "unicode": lambda: body("caf\N{LATIN SMALL LETTER E WITH ACUTE} = a\nreturn a"),
    "look-alikes": lambda: HEAD.replace("u64", "u\N{FULLWIDTH DIGIT SIX}4") + CLASS,
    "huge integers": lambda: body(f"return {'9' * 4000}"),
    "huge shifts": lambda: body("return 1 << 10**9"),
    "huge powers": lambda: body("return 9**9**9"),
    "huge products": lambda: body(f"return {' * '.join(['(1 << 100)'] * 40)}"),
    "deep expressions": lambda: body(f"return {'(' * 300}a{')' * 300}"),
    "deep operators": lambda: body(f"return {'-~' * 3000}a"),
    "deep blocks": lambda: body(
        "\n".join(f"{' ' * i}if a > {i}:" for i in range(90)) + "\n" + " " * 90 + "return a"
    ),
    "a long chain": lambda: body(f"return {' + '.join(['a'] * 20_000)}"),
    "recursion": lambda: body("return self.fn(task, a)"),
    "recursion of three": lambda: (
        body("return self.g(task, a)")
        + "    def g(self, task: Task, a: u64) -> u64:\n        return self.h(task, a)\n"
        + "    def h(self, task: Task, a: u64) -> u64:\n        return self.fn(task, a)\n"
    ),
    "doubling calls": lambda: HEAD + CLASS + "".join(
        f"    def f{i}(self, a: u64) -> u64:\n        return "
        + (f"self.f{i - 1}(a) + self.f{i - 1}(a)\n" if i else "a\n")
        for i in range(60)
    ),
    "thousands of hooks": many_hooks,
    "hundreds of classes of state": many_fields,
    "a hook that never ends": lambda: body("while True:\n    pass"),
    "a loop over 2**64": lambda: body("for i in range(a):\n    pass\nreturn a"),
    "loops in loops": lambda: body(
        "".join(f"{' ' * k}for i{k} in range(1000):\n" for k in range(8))
        + f"{' ' * 8}pass\nreturn a"
    ),
    "loops over masks in loops": lambda: body(
        "x = a\nfor i in vcpus_of(a):\n  for k in vcpus_of(a):\n    x += self.s.f\nreturn x",
        "class S(State):\n    f: u64 = 1\n",
        "    s = per_scheduler(S)\n",
    ),
    "state as a bomb": lambda: body(
        "\n".join(["self.s.f += self.s.f * random"] * 5000) + "\nreturn a",
        "class S(State):\n    f: u64 = 1\n",
        "    s = per_scheduler(S)\n",
    ),
    "stores without end": lambda: body(
        "\n".join(["self.s(task).f += a"] * 400) + "\nreturn a",
        "class S(State):\n    f: u64 = 1\n",
        "    s = per_domain(S)\n",
    ),
    "as much state as there may be": lambda: (
        HEAD + "class S(State):\n" + "".join(f"    f{k}: u64 = {k}\n" for k in range(32)) + CLASS
        + "    a = per_task(S)\n"
        "    b = per_vcpu(S)\n    c = per_domain(S)\n    d = per_scheduler(S)\n"
    ),
    "a class in its own state": lambda: HEAD + "class S(State):\n    f: S = 0\n" + CLASS,
    "code at the top": lambda: HEAD + "__import__('os').system('touch /tmp/owned')\n" + CLASS,
    "code in a default": lambda: (
        HEAD + "class S(State):\n    f: u64 = __import__('os').getpid()\n" + CLASS
    ),
    "code in a decorator": lambda: HEAD + "@print\n" + CLASS,
    "code in an f-string": lambda: HEAD + CLASS + '    hits = counter(doc=f"{exit()}")\n',
    "nothing": lambda: "",
    "zeros": lambda: "\0" * 1000,
    "one long line": lambda: "x = " + "1 + " * 60_000 + "1",
    "a megabyte": lambda: "#" * (1 << 20),
}  # fmt: skip
ACCEPTED = {
    "a counter called like a macro",
    "look-alikes",  # Python takes them for the letters that they look like
    "thousands of hooks",
    "as much state as there may be",
    "loops over masks in loops",
    "the templates' own names",
    "a struct of the templates",
    "a member that tasks have",
    "texts that break out of C",
    "docstrings that break out of C",
    "stores without end",
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_or_an_object_in_time(name: str, tmp_path: Path) -> None:
    try:
        find_clang()
    except UserError as error:
        pytest.skip(error.message)
    policy, out = tmp_path / "hostile.py", tmp_path / "hostile.bpf.o"
    policy.write_text(CASES[name](), encoding="utf-8")
    start = spent_s()
    try:
        build(policy, out)
    except PolicyError as error:
        assert name not in ACCEPTED, error.message
        assert error.diagnostics
        assert all(found.message and found.line >= 1 for found in error.diagnostics)
    else:
        assert name in ACCEPTED
        assert out.stat().st_size > 0
    assert spent_s() - start < MOST_S
