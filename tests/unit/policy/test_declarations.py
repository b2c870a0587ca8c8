"""What a policy file may declare, and how hooks are held against their mechanism."""

from __future__ import annotations

import policy_text
import pytest
from policy_text import IMPORT, refusals

from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.mechanism import guest
from scx_vsched.policy.program import Tunable

CLASS = "class P(Policy):\n    mechanism = guest\n"


def program(text: str):
    return compile_source(f"{IMPORT}\n{text}", "example.py")


def test_an_empty_policy_has_all_hooks() -> None:
    found = program('class P(Policy):\n    """Nothing of its own."""\n    mechanism = guest\n')
    assert found.name == "P"
    assert found.doc == "Nothing of its own."
    assert found.mechanism is guest
    assert {f.name for f in found.functions} >= {hook.name for hook in guest.hooks if hook.needed}
    assert found.features == ("cgroups", "preemption", "smt"), "techniques have no default"


def test_tunables() -> None:
    text = (
        "TOP = 10 * 1000\n"
        + CLASS
        + '    a = tunable(4, unit="ms", min=1, max=TOP // 2, doc="one\\n  line")\n'
        + "    b = tunable(default=-1, min=-5, max=5)\n"
        + "    c = tunable(0, min=0, max=0)\n"
    )
    assert program(text).tunables[:3] == (
        Tunable("a", "u64", 4, 1, 5000, "ms", "one line"),
        Tunable("b", "s64", -1, -5, 5, "", ""),
        Tunable("c", "u64", 0, 0, 0, "", ""),
    )


# line in the class | the marked text | part of the message | part of the suggestion
IN_CLASS = [
    ("a = tunable(5, min=10, max=20)", "5", "default 5 is not within 10 to 20", "choose"),
    ("a = tunable(5, min=9, max=2)", "9", "`min` 9 is above `max` 2", "swap"),
    ("a = tunable(5, min=1)", "tunable(5, min=1)", "no `max`", 'unit="ms"'),
    ("a = tunable(min=1, max=2)", "tunable(min=1, max=2)", "no `default`", ""),
    ("a = tunable(1, 2, 3)", "tunable(1, 2, 3)", "one number, the rest by name", ""),
    ("a = tunable(1, min=0, maximum=3)", "maximum=3", "no argument `maximum`", "`max`"),
    ("a = tunable(1, min=0, max=1.5)", "1.5", "fractions", ""),
    ("a = tunable(1, min=0, max=1 << 64)", "1 << 64", "does not fit u64", "0 to"),
    ("a = tunable(1, min=-1, max=1 << 63)", "1 << 63", "does not fit s64", ""),
    ("a = tunable(1, min=0, max=2, unit=3)", "3", "not a text", "quotes"),
    ("a = tunable(1, default=1, min=0, max=2)", "default=1", "given twice", ""),
    ("a: u64 = tunable(1, min=0, max=2)", "u64", "follows from its bounds", "annotation"),
    ("Aa = tunable(1, min=0, max=2)", "Aa = ", "cannot be called `Aa`", "lower-case"),
    ("register = tunable(1, min=0, max=2)", "register = ", "cannot be called", "no word of C"),
    ("a = 5", "a = 5", "a class holds", "above the class"),
    ("mechanism = gust", "gust", "no such mechanism", "guest"),
    ("mechanism = guest", "mechanism = guest", "a second mechanism", "remove"),
    ("slice_ns = tunable(1, min=0, max=2)", "    slice_ns", "a hook's name", "another name"),
    ("x = 1 / 0", "x = 1 / 0", "a class holds", ""),
    ("print(1)", "print(1)", "`Expr`", ""),
    ("def slice_ns(self) -> u64:", "def slice_ns", "takes 3 parameters besides `self`, not 0",
     "def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:"),
    ("def slice_ns(self, task: Task, cpu: VCpu, sched: Sched) -> u64:", "cpu: VCpu",
     "`vcpu: VCpu` here", "def slice_ns(self, task"),
    ("def slice_ns(self, task: Task, vcpu: u64, sched: Sched) -> u64:", "vcpu: u64",
     "`vcpu: VCpu` here", ""),
    ("def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> s64:", "s64", "returns u64", ""),
    ("def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched):", "def slice_ns",
     "what it returns", "-> u64"),
    ("def slice_ns(task: Task):", "task: Task", "first parameter is `self`", ""),
    ("def slize_ns(self) -> u64:", "def slize_ns", "not a hook of the mechanism guest",
     "`slice_ns`"),
    ("def helper(self, x) -> u64:", "x", "`x` has no type", "`x: s64`"),
    ("def helper(self, x: int) -> u64:", "int", "not a type", "s64"),
    ("def helper(self, x: u64 = 1) -> u64:", "1", "no defaults", ""),
    ("def helper(self, *x: u64) -> u64:", "x: u64", "plain names", ""),
    ("def helper(self, *, x: u64) -> u64:", "x: u64", "plain names", ""),
    ("def helper(self: u64) -> u64:", "self: u64", "`self` has no annotation", ""),
    ("def helper(self) -> Task:", "Task", "not a type", ""),
    ("def helper(self, guest: u64) -> u64:", "guest: u64", "stands for something else", ""),
    ("def helper[T](self) -> u64:", "T", "type parameters", ""),
    ("def __len__(self) -> u64:", "def __len__", "a meaning of its own", ""),
    ("async def helper(self) -> u64:", "async def helper", "`async`", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "marked", "message", "suggestion"), IN_CLASS, ids=[case[0] for case in IN_CLASS]
)
def test_class(line: str, marked: str, message: str, suggestion: str) -> None:
    text = f"{IMPORT}\n{CLASS}    {line}\n"
    if line.endswith(":"):
        text += "        return 1\n"
    found = [d for d in refusals(text) if message in d.message]
    assert len(found) == 1, refusals(text)
    assert suggestion in found[0].suggestion
    assert found[0].source[found[0].column - 1 :].startswith(marked)


# the file | the line | part of the message | part of the suggestion
FILES = [
    ("", 1, "defines no policy", "class MyPolicy(Policy):"),
    (f"{IMPORT}\nX = 1\n", 1, "defines no policy", ""),
    (f"{IMPORT}\n{CLASS}{CLASS.replace('P(', 'Q(')}", 4, "a second class", "file of its own"),
    (f"{IMPORT}\nclass P(Policy):\n    x = tunable(1, min=0, max=2)\n", 2, "names no mechanism",
     "mechanism = guest"),
    (f"{IMPORT}\nclass P:\n    mechanism = guest\n", 2, "derives from `Policy`", "class P(Policy)"),
    (f"{IMPORT}\nclass P(Task):\n    mechanism = guest\n", 2, "derives from `Policy`", ""),
    (f"{IMPORT}\n@u64\n{CLASS}", 2, "no decorators", ""),
    (f"{IMPORT}\nclass P(Policy, x=1):\n    mechanism = guest\n", 2, "no decorators", ""),
    (f"import os\n{IMPORT}\n{CLASS}", 1, "imports from scx_vsched.policy only", ""),
    (f"from os import path\n{IMPORT}\n{CLASS}", 1, "imports from scx_vsched.policy only", ""),
    (f"from .policy import u64\n{IMPORT}\n{CLASS}", 1, "imports from scx_vsched.policy only", ""),
    (f"from scx_vsched.policy import Tusk\n{IMPORT}\n{CLASS}", 1, "has no `Tusk`", "`Task`"),
    (f"from scx_vsched.policy import *\n{IMPORT}\n{CLASS}", 1, "`import *`", "name what"),
    (f"from scx_vsched.policy import u64 as n\n{IMPORT}\n{CLASS}", 1, "another name", ""),
    (f"from __future__ import division\n{IMPORT}\n{CLASS}", 1, "only `annotations`", ""),
    ("from scx_vsched.policy import guest\n" + CLASS, 2, "`Policy` is not imported", "import P"),
    ("from scx_vsched.policy import Policy\n" + CLASS, 3, "`guest` is not imported", ""),
    ("from scx_vsched.policy import Policy, guest\n" + CLASS + "    a = tunable(1, min=0, max=2)\n",
     4, "`tunable` is not imported", ""),
    ("from scx_vsched.policy import Policy, guest\n" + CLASS
     + "    def f(self, t: Task) -> bool:\n        return True\n", 4, "`Task` is not imported", ""),
    ("from scx_vsched.policy import Policy, guest\n" + CLASS
     + "    def f(self) -> bool:\n        return s8(1) == 1\n", 5, "`s8` is not imported", ""),
    (f"{IMPORT}\nX = Y\n{CLASS}", 2, "unknown name `Y`", ""),
    (f"{IMPORT}\nX = 1\nX = 2\n{CLASS}", 3, "`X` is defined on line 2", "another name"),
    (f"{IMPORT}\nu64 = 2\n{CLASS}", 2, "stands for something else", ""),
    (f"{IMPORT}\nX = Y = 2\n{CLASS}", 2, "once, with one name", ""),
    (f"{IMPORT}\nX: u8 = 256\n{CLASS}", 2, "256 does not fit a u8", "0 to 255"),
    (f"{IMPORT}\nX = (1 if u64 else 2)\n{CLASS}", 2, "`u64` is not a value", ""),
    (f"{IMPORT}\n{CLASS}if __name__ == '__main__':\n    pass\n", 4, "outside of a function",
     "another file"),
    (f"{IMPORT}\n{CLASS}print(P())\n", 4, "is not run", "another file"),
    (f"{IMPORT}\nassert True\n{CLASS}", 2, "`assert`", "tests"),
    (f"{IMPORT}\n{CLASS}def late(x: u64) -> u64:\n    return x\n", 4, "below the class", "above"),
    (f"{IMPORT}\ndef slice_ns(x: u64) -> u64:\n    return x\n{CLASS}", 2, "a hook's name", ""),
    (f"{IMPORT}\ndef f(x: u64) -> u64:\n    return self.a\n{CLASS}", 3, "unknown name `self`", ""),
    (f"{IMPORT}\ndef f(x: u64) -> u64:\n    return f(x)\n{CLASS}", 3, "calls itself", "loop"),
    (f"{IMPORT}\ndef f(x: u64) -> u64:\n    return g(x)\ndef g(x: u64) -> u64:\n    return f(x)\n"
     f"{CLASS}", 5, "`f` calls itself through `g`", ""),
    (f"{IMPORT}\ncaf\N{LATIN SMALL LETTER E WITH ACUTE} = 1\n{CLASS}", 2, "cannot be used", "ASC"),
    (f"{IMPORT}\n__x = 1\n{CLASS}", 2, "cannot be used", "two underscores"),
    (f"{IMPORT}\n{'x' * 65} = 1\n{CLASS}", 2, "cannot be used", "64"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message", "suggestion"), FILES)
def test_files(text: str, line: int, message: str, suggestion: str) -> None:
    found = [d for d in refusals(text) if message in d.message]
    assert [d.line for d in found] == [line], refusals(text)
    assert suggestion in found[0].suggestion


def test_a_helper_may_be_called_nearly_like_a_hook() -> None:
    """Only a method that nobody calls is taken for a misspelt hook."""
    text = policy_text.with_body("return s64(self.slice_us_(b))")
    text += "    def slice_us_(self, x: s64) -> s64:\n        return x\n"
    assert compile_source(text, "example.py").function("slice_us_").kind == "method"
