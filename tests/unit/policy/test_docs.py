"""docs/policies.md: its example, the example's test and the diagnostic that it shows are real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scx_vsched.bpf.render import render
from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import PolicyError
from scx_vsched.policy.mechanism import MECHANISMS
from scx_vsched.policy.scope import LANGUAGE_NAMES
from scx_vsched.policy.types import INT_TYPES

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
POLICY, TEST, *EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
PAIRS = list(zip(EXAMPLES[::2], EXAMPLES[1::2], strict=True))


def test_the_example_passes_its_test(tmp_path: Path) -> None:
    (tmp_path / "gentle.py").write_text(POLICY, encoding="utf-8")
    (tmp_path / "test_gentle.py").write_text(TEST, encoding="utf-8")
    script = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; import test_gentle as t; "
    done = subprocess.run(
        [sys.executable, "-c", script + "t.test_slices_shrink_with_the_queue()"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_diagnostic_is_as_shown() -> None:
    shown = re.search(r"```\n(gentle\.py:.*?)\n```", TEXT, re.DOTALL)
    assert shown is not None
    try:
        compile_source(POLICY.replace("// (1 + min(vcpu.queued, 7))", "/ 2"), "gentle.py")
    except PolicyError as error:
        assert error.message == shown.group(1)
    else:
        raise AssertionError("accepted")


@pytest.mark.parametrize(("policy", "test"), PAIRS)
def test_the_examples_of_the_reference_work(policy: str, test: str, tmp_path: Path) -> None:
    """Each is a policy that compiles without a warning, and a test that passes."""
    program = compile_source(policy, "example.py")
    assert program.warnings == ()
    assert render(program)
    name = f"example_{program.name.lower()}"
    (tmp_path / f"{name}.py").write_text(policy, encoding="utf-8")
    head = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        f"from {name} import {program.name}\n"
        "from scx_vsched.policy import Sched, Task, VCpu\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + test], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_reference_names_all_that_a_policy_may_import() -> None:
    for name in LANGUAGE_NAMES - INT_TYPES.keys():
        assert re.search(rf"[`( ]{name}\b", TEXT), name


def test_the_documentation_names_every_hook() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    for mechanism in MECHANISMS.values():
        for hook in mechanism.hooks:
            assert any(f"`{hook.name}`" in text for text in texts), hook.name


def test_the_warning_is_as_shown() -> None:
    shown = re.search(r"```\n(sums\.py:.*?)\n```", TEXT, re.DOTALL)
    assert shown is not None
    source = (
        "from scx_vsched.policy import Policy, guest, u32\n\n"
        "BIG: u32 = 4_000_000_000\n\nclass Sums(Policy):\n    mechanism = guest\n"
        "    def fn(self) -> u32:\n        return BIG + BIG\n"
    )
    found = str(compile_source(source, "sums.py").warnings[0])
    assert found.splitlines()[:-1] == shown.group(1).splitlines()
