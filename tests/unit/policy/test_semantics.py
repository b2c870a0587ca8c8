"""What hooks compute: types, wrap-around, division, shifts, comparisons, loops."""

from __future__ import annotations

import policy_text
import pytest
from policy_text import evaluate

from scx_vsched.policy import ir
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.views import Task

U64 = 2**64 - 1
S64 = 2**63


def type_of(expression: str) -> str:
    """The type that a local gets from `expression`."""
    text = policy_text.with_body(f"x = {expression}\nreturn 0")
    return compile_source(text, "example.py").function("fn").locals["x"].name


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("1", "s64"),
        ("-1", "s64"),
        ("a + 1", "u64"),
        ("c + 1", "u32"),
        ("1 + c", "u32"),
        ("a + c", "u64"),
        ("b + d", "s64"),
        ("b + c", "s64"),
        ("d + e", "s32"),
        ("f * g", "s16"),
        ("e + g", "u16"),
        ("g << a", "u8"),
        ("1 << a", "s64"),
        ("h >> b", "s8"),
        ("-c", "u32"),
        ("~h", "s8"),
        ("+g", "u8"),
        ("abs(h)", "s8"),
        ("min(g, c, 7)", "u32"),
        ("max(b, g)", "s64"),
        ("u16(b)", "u16"),
        ("s8(p)", "s8"),
        ("a < b", "bool"),
        ("not a", "bool"),
        ("p and q", "bool"),
        ("1 if p else 2", "s64"),
        ("c if p else 2", "u32"),
        ("c if p else g", "u32"),
        ("p if q else True", "bool"),
        ("task.nice", "s32"),
        ("task.is_batch", "bool"),
        ("sched.vtime", "u64"),
        ("(1 if p else 2) + (3 if q else 4)", "s64"),
        ("c * (1 if p else 2)", "u32"),
    ],
)
def test_types(expression: str, found: str) -> None:
    assert type_of(expression) == found


@pytest.mark.parametrize(
    ("body", "returns", "scalars", "result"),
    [
        # wrap-around at the type's width
        ("a + 1", "u64", {"a": U64}, 0),
        ("a - 1", "u64", {}, U64),
        ("b + 1", "s64", {"b": S64 - 1}, -S64),
        ("b * b", "s64", {"b": 2**32 + 1}, 2**33 + 1),
        ("g + 250", "u8", {"g": 10}, 4),
        ("h * 2", "s8", {"h": 100}, -56),
        ("e * e", "u16", {"e": 65535}, 1),
        ("-h", "s8", {"h": -128}, -128),
        ("-a", "u64", {"a": 1}, U64),
        ("~g", "u8", {"g": 1}, 254),
        ("~b", "s64", {"b": 5}, -6),
        ("abs(h)", "s8", {"h": -128}, -128),
        ("abs(b)", "s64", {"b": -7}, 7),
        ("abs(a)", "u64", {"a": U64}, U64),
        # division rounds down; by zero it is defined
        ("b // d", "s64", {"b": 7, "d": -2}, -4),
        ("b % d", "s64", {"b": 7, "d": -2}, -1),
        ("b // d", "s64", {"b": -7, "d": 2}, -4),
        ("b % d", "s64", {"b": -7, "d": 2}, 1),
        ("b // d", "s64", {"b": -7, "d": -2}, 3),
        ("b // d", "s64", {"b": 5, "d": 0}, 0),
        ("b % d", "s64", {"b": -5, "d": 0}, -5),
        ("a // c", "u64", {"a": 5, "c": 0}, 0),
        ("a % c", "u64", {"a": 5, "c": 0}, 5),
        ("b // d", "s64", {"b": -S64, "d": -1}, -S64),
        ("b % d", "s64", {"b": -S64, "d": -1}, 0),
        ("h // s8(d)", "s8", {"h": -128, "d": -1}, -128),
        # shifts: counts are taken modulo the width, >> keeps the sign
        ("a << g", "u64", {"a": 1, "g": 65}, 2),
        ("g << g", "u8", {"g": 9}, 18),
        ("c << h", "u32", {"c": 1, "h": -1}, 2**31),
        ("h >> 1", "s8", {"h": -3}, -2),
        ("a >> 63", "u64", {"a": U64}, 1),
        ("h << 7", "s8", {"h": 1}, -128),
        ("1 << g", "s64", {"g": 63}, -S64),
        # conversions wrap
        ("u8(b)", "u8", {"b": -1}, 255),
        ("s8(a)", "s8", {"a": 200}, -56),
        ("u64(-1)", "u64", {}, U64),
        ("s64(a)", "s64", {"a": U64}, -1),
        ("u32(p)", "u32", {"p": True}, 1),
        ("s64(c)", "s64", {"c": 2**32 - 1}, 2**32 - 1),
        ("u16(300 if p else -1)", "u16", {"p": False}, 65535),
        # comparisons are those of the numbers, whatever the types
        ("b < a", "bool", {"b": -1, "a": 0}, True),
        ("a < b", "bool", {"a": U64, "b": -1}, False),
        ("a == b", "bool", {"a": U64, "b": -1}, False),
        ("a != b", "bool", {"a": U64, "b": -1}, True),
        ("d >= c", "bool", {"d": -1, "c": 2**32 - 1}, False),
        ("h < e", "bool", {"h": -1, "e": 0}, True),
        ("-1 < b < 5", "bool", {"b": 4}, True),
        ("1 < a <= 2 != c", "bool", {"a": 2, "c": 2}, False),
        ("p == q", "bool", {"p": True, "q": True}, True),
        ("p != q", "bool", {"p": True, "q": True}, False),
        # bits
        ("a & 0xff | c ^ 3", "u64", {"a": 0x1FF, "c": 1}, 0xFF),
        ("b & -2", "s64", {"b": -1}, -2),
        # logic, and conditions that are integers
        ("1 if a else 2", "s64", {"a": 0}, 2),
        ("1 if not a else 2", "s64", {"a": 0}, 1),
        ("p or q and not p", "bool", {"q": True}, True),
        ("1 if 2 else 3", "s64", {}, 1),
        ("min(b, d, 3)", "s64", {"b": 9, "d": -1}, -1),
        ("max(g, 7)", "u8", {"g": 3}, 7),
        # constants are computed exactly, then fitted
        ("1 << 62 << 1 >> 62", "s64", {}, 2),
        ("-7 // 2 + -7 % 4", "s64", {}, -3),
        ("min(5, 3) - max(2, 8) + abs(-4)", "s64", {}, -1),
        ("5 if 1 < 2 else a", "u64", {}, 5),
    ],
)
def test_expressions(body: str, returns: str, scalars: dict[str, int], result: int) -> None:
    assert evaluate(body, returns, **scalars) == result


@pytest.mark.parametrize(
    ("body", "scalars", "result"),
    [
        ("x = 5\nx += 2\nx *= -1\nreturn x", {}, -7),
        ("x: u8 = 250\nx += 10\nreturn x", {}, 4),
        ("x: s64 = g\nx -= 1\nreturn x", {"g": 0}, -1),
        ("if a > 1:\n    x = 1\nelif a:\n    x = 2\nelse:\n    x = 3\nreturn x", {"a": 1}, 2),
        ("x = 0\nfor i in range(5):\n    x += i\nreturn x", {}, 10),
        ("x = 0\nfor i in range(2, 9, 3):\n    x = x * 10 + i\nreturn x", {}, 258),
        ("x = 0\nfor i in range(3, -3, -2):\n    x = x * 10 + i\nreturn x", {}, 309),
        ("x = 0\nfor i in range(5, 5):\n    x += 1\nreturn x", {}, 0),
        ("x = 0\nfor i in range(min(d, 4)):\n    x += 1\nreturn x", {"d": -9}, 0),
        ("x = 0\nfor i in range(min(d, 4)):\n    x += 1\nreturn x", {"d": 9}, 4),
        ("x: u64 = 0\nfor i in range(g & 3):\n    x += i\nreturn s64(x)", {"g": 7}, 3),
        # the loop's variable: changing it does not change the loop; it stays after it
        ("x = 0\nfor i in range(3):\n    i *= 5\n    x += i\nreturn x * 100 + i", {}, 1510),
        ("for i in range(4):\n    pass\nreturn i", {}, 3),
        ("i: u64 = 9\nfor i in range(a & 1):\n    pass\nreturn s64(i)", {"a": 2}, 9),
        ("i: u64 = 9\nfor i in range(a & 1):\n    pass\nreturn s64(i)", {"a": 1}, 0),
        # the bound is evaluated once
        ("n = 3\nx = 0\nfor i in range(min(n, 9)):\n    n = 0\n    x += 1\nreturn x", {}, 3),
        ("x = 0\nfor i in range(9):\n    if i == 4:\n        break\n    x += i\nreturn x", {}, 6),
        ("x = 0\nfor i in range(4):\n    if i & 1:\n        continue\n    x += i\nreturn x", {}, 2),
        ("for i in range(9):\n    if i * i > b:\n        return i\nreturn -1", {"b": 30}, 6),
        (
            "x = 0\nfor i in range(3):\n    for j in range(i):\n        x += 10 * i + j\nreturn x",
            {},
            51,
        ),
        # assigned by the loop's body, which surely runs
        ("for i in range(2):\n    x = i\nreturn x", {}, 1),
        ("x: u64 = 1 if p else 2\nreturn s64(x)", {"p": True}, 1),
    ],
)
def test_statements(body: str, scalars: dict[str, int], result: int) -> None:
    assert evaluate(body, "s64", **scalars) == result


def test_helpers_and_constants() -> None:
    above = (
        "LIMIT = 4 * 1024 - 96\nWIDE: u8 = LIMIT // 1000\nSLOW = LIMIT > 7\n"
        "def double(x: u8) -> u8:\n    return x * 2\n"
        "def nice_of(task: Task) -> s32:\n    return -task.nice\n"
    )
    body = "return double(WIDE + u8(LIMIT)) + nice_of(task) if SLOW else 0"
    assert evaluate(body, above=above, task=Task(nice=3)) == (2 * (4 + 160)) % 256 - 3


def test_calls_between_methods() -> None:
    text = policy_text.with_body(
        "return self.other(task, 7) + s64(self.slice_ns(task, vcpu, sched))"
    )
    text += (
        "    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:\n        return 30\n"
    )
    text += "    def other(self, task: Task, x: s64) -> s64:\n        return x + task.nice\n"
    program = compile_source(text, "example.py")
    order = [function.name for function in program.functions]
    assert order.index("other") < order.index("fn") > order.index("slice_ns")


def test_division_keeps_pythons_identity() -> None:
    for x in range(-9, 10):
        for y in range(-4, 5):
            assert evaluate("b == (b // d) * d + b % d", "bool", b=x, d=y)


def test_a_literal_takes_the_type_that_it_meets() -> None:
    program = compile_source(policy_text.with_body("return 1 if c > 5 else 0"), "example.py")
    (statement,) = program.function("fn").body
    assert ir.text(statement).startswith(
        "(Return (Conditional s64 (Compare bool > (Local u32 c) (Const u32 5)) (Const s64 1)"
    )
