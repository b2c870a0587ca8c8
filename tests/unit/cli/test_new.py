"""From nothing to a policy: the files of `new`, and the path that the documentation shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.new import app
from scx_vsched.errors import UserError
from scx_vsched.policy.compiler import compile_file
from scx_vsched.policy.starter import write_starter
from scx_vsched.policy.stubs import HOOKS_FILE, stub_text

ROOT = Path(__file__).parents[3]
DOCS = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
NEEDS_A_MACHINE = ("vm run", "sudo")
MOST_COMMANDS = 15


def commands() -> list[str]:
    """What the documentation tells a newcomer to type."""
    found = re.search(r"## From nothing to a running policy\n.*?```sh\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    lines = [line.partition("#")[0].strip() for line in found[1].splitlines()]
    return [line for line in lines if line]


def test_the_files_work_as_they_are(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["my_first", "-C", str(tmp_path)])
    assert done.exit_code == 0, done.output
    program = compile_file(tmp_path / "my_first.py")
    assert program.name == "MyFirst"
    assert program.warnings == ()
    assert [state.scope for state in program.states] == ["task"]
    assert program.counters


@pytest.mark.parametrize("name", ["My", "1st", "for", "int", "policy", "tunable", "a" * 49, "a/b"])
def test_bad_names_are_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        write_starter(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        write_starter("mine", tmp_path)
    assert not (tmp_path / "mine.py").exists()
    with pytest.raises(UserError, match="cannot write"):
        write_starter("other", tmp_path / "nowhere")


def test_the_newcomers_path(tmp_path: Path) -> None:
    """Every command of the documentation that needs neither root nor a VM, as it stands there."""
    shown = commands()
    assert len(shown) < MOST_COMMANDS
    assert sum("sudo" in line or "vm run" in line for line in shown) >= 2
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if not shutil.which("clang-19"):
        shown = [line for line in shown if " sim " not in line and " build " not in line]
    for line in shown:
        if any(word in line for word in NEEDS_A_MACHINE):
            continue
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_a_type_checker_knows_hooks_and_state(tmp_path: Path) -> None:
    """What editors show: the new file is clean, and mistakes in it are found."""
    mypy = pytest.importorskip("mypy.api")
    links = tmp_path / "links" / "scx_vsched"
    links.mkdir(parents=True)
    for entry in (ROOT / "scx_vsched").iterdir():
        (links / entry.name).symlink_to(entry)
    (links / "topology").symlink_to(ROOT / "topology")
    policy, test = write_starter("typed", tmp_path)
    wrong = tmp_path / "wrong.py"
    text = policy.read_text(encoding="utf-8").replace("record.wakeups +=", "record.wakeup +=")
    wrong.write_text(text.replace("task: Task, sched: Sched) -> u64", "task: Task) -> u64"))
    os.environ["MYPYPATH"] = str(links.parent)
    try:
        cache = f"--cache-dir={tmp_path / 'cache'}"
        out, _, code = mypy.run(["--strict", cache, str(policy), str(test), str(wrong)])
    finally:
        del os.environ["MYPYPATH"]
    assert code == 1
    lines = [line for line in out.splitlines() if ": error: " in line]
    assert all("wrong.py" in line for line in lines), out
    assert any('has no attribute "wakeup"' in line for line in lines), out
    assert any("incompatible with supertype" in line for line in lines), out


def test_check_answers_within_a_second(tmp_path: Path) -> None:
    policy, _ = write_starter("quick", tmp_path)
    command = [sys.executable, "-m", "scx_vsched", "check", str(policy)]
    took = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        # its own time: what others take of a busy machine says nothing
        took.append(after.children_user + after.children_system)
        took[-1] -= before.children_user + before.children_system
    assert min(took) < 1.0, took


def test_the_hooks_that_editors_see_are_the_mechanisms() -> None:
    """`python -m scx_vsched.policy.stubs` writes the file anew."""
    assert HOOKS_FILE.read_text(encoding="utf-8") == stub_text()
