"""The C that policies become: readable, stable, and safe whatever names and texts they hold."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import policy_text
import pytest

from scx_vsched.bpf.render import reserved_identifiers
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.emit_c import emit_c

SAMPLE = Path(__file__).parent / "sample_policy.py"
GOLDEN = Path(__file__).parents[2] / "golden" / "sample_policy.c"


def emitted(text: str, name: str = "example.py", **options: frozenset[str]) -> str:
    return emit_c(compile_source(text, name), **options)


def line_of(c: str, text: str) -> int:
    """The line of the policy that `#line` gives the first line of C with `text` in it."""
    number = 0
    for line in c.split("\n"):
        number += 1
        if directive := re.match(r"#line (\d+)", line):
            number = int(directive.group(1)) - 1
        elif text in line:
            return number
    raise AssertionError(f"{text!r} is not in\n{c}")


def test_golden_sample() -> None:
    """`UPDATE_GOLDEN=1` writes the file anew; review the difference."""
    program = compile_source(SAMPLE.read_text(encoding="utf-8"), "sample_policy.py")
    own = tuple(f for f in program.functions if f.filename == "sample_policy.py")
    assert len(own) == 6
    found = emit_c(dataclasses.replace(program, functions=own))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8")


def test_the_same_text_gives_the_same_c() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert emitted(text) == emitted(text)


def test_each_statement_knows_its_line() -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    c = emitted(text)
    lines = text.split("\n")
    for in_c, in_python in [
        ("hook_preempts(", "def preempts"),
        ("total + (u64)i * 3", "total += u64(i) * 3"),
        ("for (s64 i = 0", "for i in range(4)"),
        ("back = -1", "back = -1"),
        ("fn_halved(s8", "def halved"),
        ("} else if (task_is_batch", "elif task.is_batch"),
    ]:
        wanted = next(i for i, line in enumerate(lines, 1) if in_python in line)
        assert line_of(c, in_c) == wanted, in_c


def test_names_give_way_to_keywords_macros_and_functions() -> None:
    body = "\n".join(
        f"{name} = a + {i}"
        for i, name in enumerate(
            ["int_", "linux", "register", "task_nice", "fn_fn", "py_hide", "u"]
        )
    )
    c = emitted(
        policy_text.with_body(f"{body}\nreturn s64(linux + register + py_hide)"),
        macros=frozenset({"u", "task"}),
        reserved=frozenset({"fn_fn"}),
    )
    for name in ("int_", "linux_", "register_", "task_nice_", "v_fn_fn", "v_py_hide", "u_"):
        assert f"u64 {name} = " in c
    assert "fn_fn_(" in c
    assert "*task," in c, "parameters of hooks keep their names"


def test_reserved_names_stay_free() -> None:
    """Nothing but hooks, their parameters and what the templates offer has a template's name."""
    program = compile_source(SAMPLE.read_text(encoding="utf-8"), "sample_policy.py")
    c = emit_c(program, reserved_identifiers())
    defined = set(re.findall(r"\b(?:u8|u16|u32|u64|s8|s16|s32|s64|bool) (\w+)(?= =|;|\()", c))
    hooks = {name for name in defined if name.startswith("hook_")}
    assert defined - hooks
    assert not (defined - hooks) & reserved_identifiers()


@pytest.mark.parametrize("name", ['a"b\\c.py', "new\nline.py", "\N{SNOWMAN}??/.py", "\udcff.py"])
def test_file_names_cannot_leave_their_string(name: str) -> None:
    c = emitted(policy_text.with_body("return 0"), name)
    own = [line for line in c.split("\n") if line.startswith("#line") and "core.py" not in line]
    assert own
    for line in own:
        assert re.fullmatch(r'#line \d+ "(?:[^"\\?]|\\[0-7]{3})+"', line, re.ASCII)


def test_docstrings_cannot_leave_their_comment() -> None:
    doc = '"""Ends */ int x; /* \\\\ \N{SNOWMAN} ??/\\nsecond line"""'
    c = emitted(policy_text.with_body(f"{doc}\nreturn 0"))
    assert "/* Ends * / int x; / * / ? ??/ */\n" in c


def test_smallest_numbers_are_spelt_out() -> None:
    c = emitted(policy_text.with_body("return min(b, -(1 << 63)) + min(s64(d), -(1 << 31))"))
    assert "(-9223372036854775807LL - 1)" in c
    assert "-2147483648LL" in c


def test_constants_keep_their_type_where_c_would_lose_it() -> None:
    c = emitted(policy_text.with_body("return (1 if p else 2) << g"))
    assert "(p ? 1LL : 2) << (g & 63)" in c.replace("(s64)(u64)", "").replace("((", "(")


def test_loops_that_share_a_variable_own_it() -> None:
    body = "x = 0\nfor i in range(3):\n    x += i\nfor i in range(2):\n    x -= i\nreturn x"
    c = emitted(policy_text.with_body(body))
    assert c.count("for (s64 i = 0; ") == 2


@pytest.mark.parametrize("code", [False, True])
def test_clang_takes_the_sample(tmp_path: Path, code: bool) -> None:
    clang = policy_text.find_clang()
    if clang is None:
        pytest.skip("clang is not installed")
    program = compile_source(SAMPLE.read_text(encoding="utf-8"), str(SAMPLE))
    source = policy_text.complete_c(program)
    assert policy_text.clang_complaints(clang, tmp_path, [source], code=code) == ""


@pytest.mark.parametrize(
    "body",
    [
        # clang would make formulas and overflow tests of these, with 128-bit products
        "x: u64 = 0\nfor i in range(min(a, 99)):\n    x += u64(i) * u64(i) * u64(i)\nreturn s64(x)",
        "x: u64 = 0\nfor i in range(100):\n    x += u64(i) * a\nreturn s64(x)",
        "return s64(a * u64(b)) if a != 0 and (a * u64(b)) // a != u64(b) else 0",
        "return 1 if u64(-1) // a < u64(b) else 0",
        "return 1 if (a * 3) // 3 != a else 0",
        "return 1 if u64(-1) // 7 < a else 0",
        "return 1 if (b * d) // b != d else 0",
    ],
)
def test_no_call_of_a_128_bit_product(tmp_path: Path, body: str) -> None:
    clang = policy_text.find_clang()
    if clang is None:
        pytest.skip("clang is not installed")
    source = policy_text.complete_c(compile_source(policy_text.with_body(body), "example.py"))
    assert policy_text.clang_complaints(clang, tmp_path, [source], code=True) == ""
