"""Any file at all is an error with a place, or C that clang accepts; never anything else.

`--long` or `VSCHED_FUZZ` ask for more cases, `VSCHED_SEED` repeats a run.
"""

from __future__ import annotations

import ast
import os
import random
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import policy_text
import pytest
from harness import known_fields
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import BOOL, TYPES, Generator

from scx_vsched.policies import builtin_policies, gallery_policies
from scx_vsched.policy.compiler import compile_file, compile_source
from scx_vsched.policy.diagnostics import PolicyError
from scx_vsched.policy.emit_python import emit_python
from scx_vsched.policy.views import VIEWS

if TYPE_CHECKING:
    from scx_vsched.policy.program import PolicyProgram

CASES, MANY_CASES = 200, 4000
BATCH = 60
DOCS = Path(__file__).parents[3] / "docs" / "policies.md"
WITH_CODE = 3  # one accepted case in this many is compiled in full

WORDS = """
int for register asm typeof bool true NULL linux bpf u64 s8 task self tunables py_hide py_value
py_min_u64 fn_lag hook_slice_ns fn_is_before task_nice vcpu_capacity middle1 i_trip SEC inline
__builtin_memcpy __asm__ __init__ _ __ x1 guest Policy Task tunable range min max abs lambda yield
await match type case print exec breakpoint __import__ len float str None Ellipsis def class
return if else elif while with try import from global del pass break continue assert 0 1 -1 127
128 255 256 65535 2147483647 2147483648 -2147483648 4294967295 9223372036854775807
9223372036854775808 -9223372036854775808 18446744073709551615 18446744073709551616 1e309 0.5 1j
0x8000000000000000 1_000 0b1 0o7 99999999999999999999999999999999999999999999999 "a" b"a" f"{x}" +
- * / // % ** & | ^ ~ << >> < <= > >= == != and or not is in := -> : , . ( ) [ ] { } @ ; = += *=
//= **= @= ... # ? task.nice task.vtime u8(x) s64(a) self.slice_us range(3) task: Task
State Account per_task per_vcpu per_domain per_scheduler counter histogram policy_of_task
policy_sched policy_vcpu policy_record_hits frozen_tunables STAT_HITS NR_STATS self.account(task)
self.account self.load(vcpu.id) self.pool self.pool.left account.credit += -= kick(1)
random_u32() now_ns()
vcpus_of(a) lowest_bit(a) bit_count(a) self.hits.add() None: () on_timer on_start runnable
"""
HOSTILE = [
    *WORDS.split(),
    *("\\", "*/", "/*", "??/", "\\\n", '"*/ #error "', "\t", "\f", "\r", "\0", "\ufeff", "\ud800"),
    *("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "\u0430", "\N{LATIN SMALL LIGATURE FI}"),
]


def corpus() -> list[str]:
    """Real policies and random programs."""
    files = [*builtin_policies().values(), *gallery_policies().values()]
    texts = [path.read_text(encoding="utf-8") for path in files]
    examples = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    texts += [text for text in examples if "(Policy):" in text]
    texts.append((Path(__file__).parent / "sample_policy.py").read_text(encoding="utf-8"))
    fields = {
        view: {f.name: TYPES[f.type.name] if f.type else BOOL for f in known_fields(view)}
        for view in VIEWS
    }
    views = {"task": "Task", "vcpu": "VCpu", "sched": "Sched"}
    for seed in range(12):
        generator = Generator(random.Random(seed), fields, {"trips": (64, False)})
        made = generator.function("fn", method=True, views=views, full=True)
        body = "\n".join(line[4:] for line in made.source().split("\n")[1:])
        text = policy_text.with_body(body, made.source().partition(" -> ")[2].partition(":")[0])
        texts.append(text.replace("guest\n", "guest; trips = tunable(3, min=0, max=5)\n", 1))
    return texts


CORPUS = corpus()


def mutate(rng: random.Random, text: str) -> str:
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        text = rng.choice([replace_word, replace_word, swap_trees, swap_trees, edit_text])(
            rng, text
        )
    return text


def replace_word(rng: random.Random, text: str) -> str:
    """Another word, mostly a hostile one, in the place of one."""
    words = text.split(" ")
    i = rng.randrange(len(words))
    words[i] = rng.choice([rng.choice(HOSTILE), rng.choice(HOSTILE), rng.choice(words), ""])
    return " ".join(words)


def edit_text(rng: random.Random, text: str) -> str:
    i = rng.randrange(len(text) + 1)
    j = min(len(text), i + rng.choice([0, 0, 1, 2, 5, 40]))
    inserted = rng.choice([rng.choice(HOSTILE), chr(rng.randrange(0x2FF)), text[i:j] * 2, "", "("])
    return text[:i] + inserted + text[j:]


def swap_trees(rng: random.Random, text: str) -> str:
    """An expression, a statement or a name from elsewhere in the place of one."""
    try:
        tree = ast.parse(text)
        other = ast.parse(rng.choice([text, rng.choice(CORPUS)]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    kind = rng.choice([ast.expr, ast.expr, ast.stmt, ast.Name, ast.Constant, ast.operator])
    sources = [node for node in ast.walk(other) if isinstance(node, kind)]
    holders = [
        (node, field, i)
        for node in ast.walk(tree)
        for field, value in ast.iter_fields(node)
        for i, item in enumerate(value if isinstance(value, list) else [value])
        if isinstance(item, kind)
    ]
    if not sources or not holders:
        return text
    node, field, i = rng.choice(holders)
    value = getattr(node, field)
    if isinstance(value, list):
        value[i] = rng.choice(sources)
    else:
        setattr(node, field, rng.choice(sources))
    try:
        return ast.unparse(tree)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return text


def compiled(text: str) -> PolicyProgram | None:
    """The program, or None for a refusal that is as it should be."""
    try:
        program = compile_source(text, 'fuzz\n"\\?*/\N{SNOWMAN}.py')
    except PolicyError as error:
        lines = text.count("\n") + text.count("\r") + 1
        assert error.diagnostics
        for found in error.diagnostics:
            assert 1 <= found.line <= lines
            assert found.column >= 1
            assert found.width >= 1
            assert found.message
        assert all(c.isprintable() or c in "\n\t" for c in error.message)
        return None
    emit_python(program)
    return program


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_mutated_policies(tmp_path: Path, long_run: bool) -> None:
    cases = int(os.environ.get("VSCHED_FUZZ") or (MANY_CASES if long_run else CASES))
    clang = policy_text.find_clang()
    if clang is None:
        pytest.skip("clang is not installed")
    seed = int(os.environ.get("VSCHED_SEED") or secrets.randbits(32))
    print(f"VSCHED_SEED={seed}")
    rng = random.Random(seed)
    accepted: list[str] = []
    sources: list[str] = []
    for _ in range(cases):
        text = mutate(rng, rng.choice(CORPUS))
        try:
            program = compiled(text)
        except BaseException:
            print(text)
            raise
        if program is not None:
            accepted.append(text)
            sources.append(policy_text.complete_c(program))
    print(f"{cases} files, {len(accepted)} accepted")
    assert len(accepted) >= cases // 50, "the mutations are too wild to test the emitter"
    for i in range(0, len(sources), BATCH):
        batch = sources[i : i + BATCH]
        assert not policy_text.clang_complaints(clang, tmp_path, batch, code=False)
    in_full = sources[::WITH_CODE][:BATCH]
    assert not policy_text.clang_complaints(clang, tmp_path, in_full, code=True)


@given(st.text())
def test_any_text(text: str) -> None:
    assert compiled(text) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.py"
    path.write_bytes(data)
    with pytest.raises(PolicyError):
        compile_file(path)


@given(st.lists(st.sampled_from(HOSTILE), max_size=30))
def test_any_words_in_a_body(words: list[str]) -> None:
    compiled(policy_text.with_body(" ".join(words).replace("\n", " ")))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "[" * 90 + "]" * 90,
        "x = " + "-" * 50_000 + "1",
        "x = " + "not " * 20_000 + "1",
        "x = " + "1+" * 60_000 + "1",
        "x = " + "1 if 1 else " * 9_000 + "1",
        "x" + ".x" * 60_000,
        "x" + "()" * 60_000,
        "x = " + "lambda:" * 9_000 + "0",
        "".join("    " * i + "if 1:\n" for i in range(90)) + "    " * 90 + "pass",
        "x = 0x" + "f" * 200_000,
        "x = " + "9" * 5_000,
        "x = 1 << 1 << 1 << 1 << 126 << 126 << 126",
        "x = 1 << 100_000_000_000",
        "x = " + "*".join(["18446744073709551615"] * 60),
        "\0",
        "half a pair: \ud800",
        "x = 1\0",
        "\ufeff\ufeff",
        "\x0c" * 100,
        "#" * 300_000,
        "'" * 3 + "*/" * 1000,
        "class P(Policy): pass",
        "return",
        "break",
        "yield",
        "await x",
        "def f(a, a): pass",
        "def f(): nonlocal x",
        "x: int",
        "from __future__ import braces",
        "from __future__ import barry_as_FLUFL\n1 <> 2",
        "async def f(): pass",
        "print(1)",
        "match x:\n    case 1: pass",
        "type X = int",
        "@f\nclass A[T](B, metaclass=C): x: int",
        "if True:\n\tx = 1\n        y = 2",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_hostile_files(text: str) -> None:
    assert compiled(text) is None


def test_a_deep_call_stack_does_not_matter() -> None:
    """The compiler needs little of the recursion limit, however the tree is built."""

    def deeper(levels: int) -> PolicyProgram | None:
        return deeper(levels - 1) if levels else compiled(nested)

    body = "x = a\nreturn x" + " + (x" * 40 + ")" * 40
    nested = policy_text.with_body(body, "u64")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)  # Python's own; libraries that other tests import raise it
    try:
        assert deeper(300) is not None
    finally:
        sys.setrecursionlimit(before)
