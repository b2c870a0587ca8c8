"""docs/policies.md: its example, the example's test and the diagnostic that it shows are real."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from scx_vsched.policy.compiler import compile_source
from scx_vsched.policy.diagnostics import PolicyError

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
POLICY, TEST = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


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
