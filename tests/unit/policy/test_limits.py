"""The largest functions that the compiler accepts are still C that clang makes BPF code of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import policy_text
import pytest

from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import PolicyError
from scx_vsched.policy.emit_python import emit_python

if TYPE_CHECKING:
    from pathlib import Path

# How one more level is put around an expression.
NESTS = {
    "sum": "(b + {})",
    "left sum": "({} - b)",
    "shift": "(b << {})",
    "left shift": "({} << d)",
    "narrow": "s64(s8(h * s8({})))",
    "division": "(b // {})",
    "remainder": "({} % d)",
    "min": "min(b, {}, d)",
    "abs": "abs({})",
    "negation": "-{}",
    "inversion": "~{}",
    "conditional": "(b if p else {})",
    "test": "(b if {} else d)",
    "comparison": "(1 if b < {} else 0)",
    "mixed comparison": "(1 if a < {} else 0)",
    "chain": "(1 if 0 < {} < b else 0)",
    "logic": "(1 if p or ({} > 3 and q) else 0)",
    "call": "self.next_(task, {})",
}


def source(body: str) -> str:
    text = policy_text.with_body(body)
    return text + "    def next_(self, task: Task, x: s64) -> s64:\n        return x + task.nice\n"


def largest(make, most: int) -> str:  # type: ignore[no-untyped-def]
    """The text for the largest size that is accepted, by bisection; there must be a limit."""
    low, high = 1, most
    with pytest.raises(PolicyError):
        compile_source(make(high), "example.py")
    while high - low > 1:
        middle = (low + high) // 2
        try:
            compile_source(make(middle), "example.py")
            low = middle
        except PolicyError:
            high = middle
    return str(make(low))


def check(tmp_path: Path, text: str) -> None:
    program = compile_source(text, "example.py")
    emit_python(program)
    clang = policy_text.find_clang()
    if clang is None:
        pytest.skip("clang is not installed")
    complaints = policy_text.clang_complaints(
        clang, tmp_path, [policy_text.complete_c(program)], code=True
    )
    assert complaints == ""


@pytest.mark.parametrize("level", NESTS.values(), ids=NESTS.keys())
def test_deepest_expressions(tmp_path: Path, level: str) -> None:
    def make(depth: int) -> str:
        found = "b"
        for _ in range(depth):
            found = level.format(found)
        return source(f"return {found}")

    check(tmp_path, largest(make, 70))


def test_longest_chain_of_conditions(tmp_path: Path) -> None:
    def make(length: int) -> str:
        arms = "".join(f"if a == {i}:\n    x = {i}\nel" for i in range(length))
        return source(f"{arms}se:\n    x = 0\nreturn x")

    check(tmp_path, largest(make, 70))


@pytest.mark.parametrize("level", ["if p:", "for i{} in range(2):"])
def test_deepest_blocks(tmp_path: Path, level: str) -> None:
    def make(depth: int) -> str:
        lines = ["x = 0"]
        lines += ["    " * i + level.format(i) for i in range(depth)]
        return source("\n".join([*lines, "    " * depth + "x += 1", "return x"]))

    check(tmp_path, largest(make, 70))


@pytest.mark.parametrize(
    "line",
    [
        "x //= d",
        "x += b * d - (b ^ x) + f",
        "x = self.next_(task, x) * self.next_(task, x)",
        "x += 1 if 0 < abs(x) < d else 2",
        "x += s64(sched.now_ns) if x < task.vtime else s64(task.total_ns)",
    ],
)
def test_longest_functions(tmp_path: Path, line: str) -> None:
    check(tmp_path, largest(lambda n: source("x = b\n" + f"{line}\n" * n + "return x"), 500))


def test_most_variables(tmp_path: Path) -> None:
    """All of them live at once, with as many fields as there are: BPF has 512 bytes of stack."""
    fields = ["task.vtime", "task.ran_ns", "task.total_ns", "sched.now_ns", "sched.vtime"]

    def make(count: int) -> str:
        body = [f"x{i} = s64({fields[i % 5]}) * {i + 3} // d" for i in range(count)]
        body += [f"x{i} ^= x{i - 1} % (x{count - 1 - i} | 1)" for i in range(1, count)]
        return source("\n".join([*body, "return " + " ^ ".join(f"x{i}" for i in range(count))]))

    check(tmp_path, largest(make, 60))
