"""What the compiler refuses: where it points, what it says, what it suggests."""

from __future__ import annotations

import policy_text
import pytest
from policy_text import FIRST_LINE, refusals

from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import PolicyError

# body | what is marked, on which line of the body | part of the message | part of the suggestion
BODIES = [
    ("return a / 2", "a / 2", 0, "gives a fraction", "`a // 2`"),
    ("return 2 ** a", "2 ** a", 0, "`**`", "`1 << a`"),
    ("return a ** 2", "a ** 2", 0, "`**`", "multiply"),
    ("return a @ 2", "a @ 2", 0, "`@`", "integers"),
    ("return 0.5", "0.5", 0, "fractions", "512 of 1024"),
    ("return None", "None", 0, "`None`", "use 0 or False"),
    ("return 'x'", "'x'", 0, "text", "integers"),
    ("return f'{a}'", "f'{a}'", 0, "text", "integers"),
    ("return [a]", "[a]", 0, "a list", "no containers"),
    ("return (a, b)", "(a, b)", 0, "a tuple", "no containers"),
    ("return {a: b}", "{a: b}", 0, "a dictionary", ""),
    ("return sum(x for x in a)", "sum", 0, "`sum`", "`for` loop"),
    ("return [x for x in a]", "[x for x in a]", 0, "a comprehension", "`for` loop"),
    ("return (lambda: 1)()", "(lambda: 1)()", 0, "not a function", "by name"),
    ("return task[0]", "task[0]", 0, "an index", "containers"),
    ("return (x := 1)", "x := 1", 0, "`:=`", "line of its own"),
    ("return a in b", "a in b", 0, "`in`", "x == 1 or x == 2"),
    ("return a is b", "a is b", 0, "`is`", "`==`"),
    ("return a + b", "a + b", 0, "u64 and s64 do not mix", "`u64(b)` or `s64(a)`"),
    ("return d + c", "d + c", 0, "s32 and u32 do not mix", "`u64(d)` or `s64(c)`"),
    ("return p + 1", "p", 0, "a bool where an integer", "`1 if p else 0`"),
    ("return -p", "p", 0, "a bool where an integer", "`1 if p else 0`"),
    ("return p", "p", 0, "a bool where an s64 is expected as `fn` returns", "`1 if p else 0`"),
    ("return a", "a", 0, "a u64 may not fit an s64", "`s64(a)`"),
    ("x = a and p\nreturn 0", "a", 0, "a u64 where a bool is expected by `and`", "`a != 0`"),
    ("x = a + 1 or p\nreturn 0", "a + 1", 0, "by `or`", "`(a + 1) != 0`"),
    ("x = p < q\nreturn 0", "p < q", 0, "no order", "`==`"),
    ("x = p == 1\nreturn 0", "p == 1", 0, "compared with an integer", "write `p`"),
    ("return p if q else 1", "p if q else 1", 0, "one side is a bool", "one type"),
    ("x = a > -1\nreturn 0", "-1", 0, "-1 does not fit a u64", "no negative numbers"),
    ("x = g == 300\nreturn 0", "300", 0, "300 does not fit a u8", "0 to 255"),
    ("x = 1 << 63\nreturn 0", "1 << 63", 0, "does not fit an s64", "annotate"),
    ("return 1 << 64", "1 << 64", 0, "does not fit an s64", ""),
    ("return 1 << 128", "128", 0, "shift of a number out of range", "0 to 127"),
    ("return 1 << 126 << 2", "1 << 126 << 2", 0, "more than 127 bits", "64 bits"),
    ("return b << 64", "64", 0, "shift of s64 out of range", "0 to 63"),
    ("return b >> -1", "-1", 0, "shift of s64 out of range", "0 to 63"),
    ("return b // 0", "0", 0, "by a constant 0", "as 0"),
    ("return b % 0", "0", 0, "by a constant 0", "left side"),
    ("return abs(b, d)", "abs(b, d)", 0, "takes 1 argument, not 2", ""),
    ("return min(b)", "min(b)", 0, "two or more", "containers"),
    ("return min(b, d, key=b)", "b", 0, "by position", "drop the name"),
    ("return min(*b)", "*b", 0, "`*` in a call", "by itself"),
    ("return int(a)", "int", 0, "`int`", "`s64(x)`"),
    ("return bool(a)", "bool", 0, "`bool`", "`x != 0`"),
    ("return print(a)", "print", 0, "`print`", "CPython"),
    ("return u128(a)", "u128", 0, "unknown function", "`u8`"),
    ("return mim(b, 1)", "mim", 0, "unknown function `mim`", "`min`"),
    ("return b(1)", "b", 0, "a variable, not a function", ""),
    ("return task.nice()", "task.nice()", 0, "no methods", "parentheses"),
    ("return task", "task", 0, "a Task, not a value", "`task.pid`"),
    ("return task.nise", "task.nise", 0, "no field `nise`", "`nice`"),
    ("return sched.zzzzzz", "sched.zzzzzz", 0, "no field", "now_ns, vtime"),
    ("return b.nice", "b.nice", 0, "`b` has no attributes", "only views"),
    ("return self", "self", 0, "`self` is not a value", "`self.`"),
    ("return self.slise", "self.slise", 0, "no tunable `slise`", "`slice_ns`"),
    ("return self.zzz", "self.zzz", 0, "no tunable `zzz`", "`zzz = tunable("),
    ("return self.slice_ns", "self.slice_ns", 0, "is not a value", "call it"),
    ("return self.fn(1)", "self.fn(1)", 0, "`self.fn` takes 13 arguments, not 1", ""),
    ("return self.nothing(1)", "self.nothing", 0, "no method `nothing`", ""),
    ("return u64", "u64", 0, "`u64` is not a value", "call it"),
    ("return bb", "bb", 0, "unknown name `bb`", ""),
    ("return slice_ns(task, vcpu, sched)", "slice_ns", 0, "unknown function", "`self.slice_ns(…)`"),
    ("return s64(self.slice_ns(vcpu, vcpu, sched))", "vcpu", 0, "a VCpu where a Task", ""),
    ("return s64(self.slice_ns(1, vcpu, sched))", "1", 0, "a Task is expected", "pass `task`"),
    # statements
    ("x = y = 1\nreturn x", "x = y = 1", 0, "several assignments", "each line"),
    ("x, y = 1, 2\nreturn x", "x, y", 0, "several targets", "each line"),
    ("task.nice = 1\nreturn 0", "task.nice", 0, "read-only", "local variable"),
    ("self.x = 1\nreturn 0", "self.x", 0, "cannot change the policy", "local variable"),
    ("a = 1\nreturn 0", "a", 0, "is a parameter", "of its own"),
    ("min = 1\nreturn 0", "min", 0, "stands for something else", "another name"),
    ("x: int = 1\nreturn 0", "int", 0, "not a type", "s64"),
    ("x: 'u64' = 1\nreturn 0", "'u64'", 0, "not a type", "without quotes"),
    ("x: u64\nreturn 0", "x: u64", 0, "gets no value", "`x: u64 = …`"),
    ("x = c\nx = a\nreturn 0", "a", 1, "may not fit a u32 that `x` has", "`u32(a)`"),
    ("x = 1\nx += a\nreturn x", "x += a", 1, "s64 and u64 do not mix", "`u64(x)`"),
    ("x: u8 = 1\nx: u16 = 2\nreturn x", "x: u16 = 2", 1, "`x` is a u8 already", "another name"),
    ("x: u64 = p\nreturn 0", "p", 0, "a bool where a u64 is expected for `x`", "1 if p"),
    ("return x\nx = 1", "x", 0, "`x` may have no value here", "every path"),
    ("if p:\n    x = 1\nreturn x", "x", 2, "`x` may have no value here", "every path"),
    ("for i in range(g & 3):\n    x = 1\nreturn x", "x", 2, "`x` may have no value", ""),
    ("for i in range(g & 3):\n    pass\nreturn i", "i", 2, "`i` may have no value", ""),
    ("x += 1\nreturn x", "x", 0, "`x` may have no value", ""),
    ("if p:\n    return 1", "    def fn", -1, "without returning an s64", "`return`"),
    ("for i in range(3):\n    return i", "    def fn", -1, "without returning", "`return`"),
    ("return", "return", 0, "`return` without an s64", "a value"),
    ("return 1\nx = 2", "x = 2", 1, "never reached", "remove"),
    ("while p:\n    pass\nreturn 0", "while p:", 0, "`while`", "`for i in range(…)`"),
    ("for i in range(a):\n    pass\nreturn 0", "range(a)", 0, "known bound", "`min(a, 64)`"),
    ("for i in range(2000):\n    pass\nreturn 0", "range(2000)", 0, "2000 times; at most 1024", ""),
    ("for i in range(b, 3):\n    pass\nreturn 0", "range(b, 3)", 0, "known bound", "bound"),
    ("for i in range(0, 9, a):\n    pass\nreturn 0", "a", 0, "the step must be a constant", ""),
    ("for i in range(0, 9, 0):\n    pass\nreturn 0", "0", 0, "other than 0", ""),
    ("for i in range(0, 9, 1 << 63):\n    pass\nreturn 0", "1 << 63", 0, "the step must be", ""),
    ("for i in task:\n    pass\nreturn 0", "task", 0, "goes over `range`", "range(…)"),
    ("for i, j in range(3):\n    pass\nreturn 0", "i, j", 0, "several targets", ""),
    ("for i in range(3):\n    pass\nelse:\n    pass\nreturn 0", "pass", 3, "`else` of a loop", ""),
    ("x: u8 = 0\nfor x in range(3):\n    pass\nreturn 0", "x", 1, "`x` is a u8 already", ""),
    ("x = p\nfor x in range(3):\n    pass\nreturn 0", "x", 1, "`x` is a bool already", "another"),
    ("assert p\nreturn 0", "assert p", 0, "`assert`", "policy's tests"),
    ("try:\n    pass\nfinally:\n    pass\nreturn 0", "try:", 0, "`try`", "can fail"),
    ("with a:\n    pass\nreturn 0", "with a:", 0, "`with`", "no resources"),
    ("import os\nreturn 0", "import os", 0, "`import` here", "top of the file"),
    ("global x\nreturn 0", "global x", 0, "`global`", "no state"),
    ("raise a", "raise a", 0, "`raise`", "safe value"),
    ("def g():\n    pass\nreturn 0", "def g():", 0, "a nested function", "above the class"),
    ("match a:\n    case 1:\n        pass\nreturn 0", "match a:", 0, "`match`", "`elif`"),
    ("a + 1\nreturn 0", "a + 1", 0, "nothing uses", "assign or return"),
    ("...", "...", 0, "body is missing", ""),
    ("x = 1\n'text'\nreturn x", "'text'", 1, "not a docstring", "# …"),
    ("del a\nreturn 0", "del a", 0, "`del`", ""),
]


@pytest.mark.parametrize(
    ("body", "marked", "line", "message", "suggestion"), BODIES, ids=[case[0] for case in BODIES]
)
def test_bodies(body: str, marked: str, line: int, message: str, suggestion: str) -> None:
    found = refusals(policy_text.with_body(body))[0]
    assert message in found.message
    assert suggestion in found.suggestion
    assert found.line == FIRST_LINE + line
    assert found.source[found.column - 1 :].startswith(marked.strip())
    if "\n" not in marked and not marked.endswith(":"):
        assert found.width == len(marked.strip())


def test_one_mistake_is_reported_once() -> None:
    """A wrong local, constant or helper does not make its uses wrong too."""
    assert len(refusals(policy_text.with_body("x = a / 2\ny = x + 1\nreturn y"))) == 1
    assert len(refusals(policy_text.with_body("return X + X", above="X = 1 / 2"))) == 1
    text = policy_text.with_body("return half(b)", above="def half(x):\n    return x")
    assert len(refusals(text)) == 1


def test_all_mistakes_are_reported_in_order() -> None:
    found = refusals(policy_text.with_body("x = a / 2\nif y:\n    z = 0.5\nreturn p"))
    assert [d.line - FIRST_LINE for d in found] == [0, 1, 2, 3]


def test_a_long_list_is_cut() -> None:
    text = policy_text.with_body("\n".join(f"x{i} = a / 2" for i in range(30)) + "\nreturn 0")
    with pytest.raises(PolicyError) as caught:
        compile_source(text, "example.py")
    assert len(caught.value.diagnostics) == 30
    assert caught.value.message.count("gives a fraction") == 20
    assert caught.value.message.endswith("… and 10 more")


def test_how_a_diagnostic_looks() -> None:
    found = refusals(policy_text.with_body("return a / 2"))[0]
    assert str(found) == (
        "example.py:7:16: `/` gives a fraction\n"
        "            return a / 2\n"
        "                   ^~~~~\n"
        "    write `a // 2` instead, it rounds down"
    )


def test_the_caret_stands_right_after_tabs_and_wide_text() -> None:
    text = policy_text.with_body("x = '\N{SNOWMAN}'; return 1 / 2").replace("    ", "\t")
    found = refusals(text)[-1]
    shown = str(found).split("\n")
    assert found.message == "`/` gives a fraction"
    assert shown[1].startswith("    \t\tx")
    assert shown[2].startswith("    \t\t ")
    assert shown[1].index("1 / 2") == shown[2].index("^")


def test_control_characters_do_not_reach_the_terminal() -> None:
    found = refusals(policy_text.with_body("return a / 2 # \x1b[31m"))[0]
    assert "\x1b" not in str(found)


def test_a_very_long_line_is_cut_around_the_mistake() -> None:
    found = refusals(policy_text.with_body("return " + "a + " * 40 + "a / 2" + " + a" * 10))[0]
    shown = str(found).split("\n")
    assert len(shown[1]) < 140
    assert shown[1][shown[2].index("^") :].startswith("a / 2")
