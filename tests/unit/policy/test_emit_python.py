"""Importing a policy file: hooks in CPython, tunables, and line numbers of the file itself."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import policy_text
import pytest
from policy_text import IMPORT

from scx_vsched.errors import UserError
from scx_vsched.policy import Sched, Task, VCpu
from scx_vsched.policy.base import policy_class
from scx_vsched.policy.compiler import compile_file, compile_source
from scx_vsched.policy.diagnostics import PolicyError

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[3]
TEXT = f'''{IMPORT}

STEP = 200


def scaled(x: u8) -> u8:
    """Wraps."""
    return x * 2


class Small(Policy):
    """Doc of the class."""

    mechanism = guest

    slice_us = tunable(4000, unit="us", min=100, max=9000)

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Doc of the hook."""
        return self.slice_us * 1000 + scaled(u8(task.nice) + STEP)

    def steals(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        return distance < victim.queued
'''


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(tmp_path: Path) -> ModuleType:
    path = tmp_path / "small.py"
    path.write_text(TEXT, encoding="utf-8")
    return load(path)


def test_imported_hooks_compute_as_in_bpf(small: ModuleType) -> None:
    views = Task(nice=-1), VCpu(), Sched()
    assert small.Small().slice_ns(*views) == 4_000_000 + (199 * 2) % 256
    assert small.Small(slice_us=100).slice_ns(*views) == 100_000 + (199 * 2) % 256
    assert small.scaled(200) == 144, "helpers of the module wrap as well"


def test_scalar_arguments_take_their_types(small: ModuleType) -> None:
    """As C converts an argument: 2**32 + 1 is 1 as a u32."""
    assert small.Small().steals(VCpu(), VCpu(queued=2), 2**32 + 1) is True


def test_hooks_left_out_are_inherited(small: ModuleType) -> None:
    assert small.Small().queue_key(Task(vtime=9), VCpu(), Sched()) == 9


def test_the_class_keeps_its_documentation(small: ModuleType) -> None:
    assert small.Small.__doc__ == "Doc of the class."
    assert small.Small.slice_ns.__doc__ == "Doc of the hook."
    assert small.Small.slice_ns.__module__ == "small"
    assert small.Small.slice_ns.__qualname__ == "Small.slice_ns"
    assert small.Small.mechanism.name == "guest"


@pytest.mark.parametrize(
    ("tunables", "message"),
    [
        ({"slice_us": 99}, "slice_us = 99 is not an integer from 100 to 9000"),
        ({"slice_us": 9001}, "slice_us = 9001"),
        ({"slice_us": 1.5}, "slice_us = 1.5"),
        ({"slice": 1}, "no tunable 'slice'"),
    ],
)
def test_tunables_are_checked(small: ModuleType, tunables: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("*", ".")):
        small.Small(**tunables)


def test_a_policy_does_not_change(small: ModuleType) -> None:
    with pytest.raises(AttributeError, match="make another one with slice_us=5000"):
        small.Small().slice_us = 5000


def test_tracebacks_point_into_the_policy_file(small: ModuleType) -> None:
    with pytest.raises(AttributeError) as caught:
        small.Small().slice_ns(None, VCpu(), Sched())
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename == small.__file__
    assert frame.line == "return self.slice_us * 1000 + scaled(u8(task.nice) + STEP)"
    assert frame.colno is not None
    assert TEXT.split("\n")[frame.lineno - 1][frame.colno : frame.end_colno] == "task.nice"


def test_breakpoints_find_the_hook(small: ModuleType) -> None:
    code = small.Small.slice_ns.__code__
    assert code.co_filename == small.__file__
    assert TEXT.split("\n")[code.co_firstlineno - 1].strip().startswith("def slice_ns")


def test_a_wrong_policy_cannot_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(TEXT.replace("* 1000", "/ 1000"), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"wrong\.py:20:16: `/` gives a fraction"):
        load(path)


def test_a_policy_in_a_test_file_is_told_to_move() -> None:
    with pytest.raises(PolicyError, match=r"imports from scx_vsched\.policy only"):

        class Local(policy_class(compile_source(TEXT, "x.py")).__base__):  # type: ignore[misc]
            pass


def test_checking_a_file_does_not_run_it(tmp_path: Path) -> None:
    """Neither the compiler nor `policy_class` imports the policy."""
    path = tmp_path / "evil.py"
    witness = tmp_path / "witness"
    path.write_text(f"open({str(witness)!r}, 'w')\n{TEXT}", encoding="utf-8")
    with pytest.raises(PolicyError):
        compile_file(path)
    path.write_text(TEXT, encoding="utf-8")
    assert policy_class(compile_file(path))().slice_ns(Task(), VCpu(), Sched()) == 4_000_144
    assert not witness.exists()
    assert "evil" not in sys.modules


def test_the_language_imports_fast() -> None:
    """The command line imports it for --help; the compiler stays out until it is needed."""
    script = (
        "import sys, scx_vsched.policy, scx_vsched.policies\n"
        "assert 'scx_vsched.policy.compiler' not in sys.modules\n"
        "assert 'ast' not in sys.modules or 'inspect' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_values_outside_of_a_field_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Task\.nice = 2147483648 does not fit s32"):
        Task(nice=1 << 31)
    with pytest.raises(ValueError, match=r"VCpu\.queued = -1 does not fit u32"):
        VCpu(queued=-1)
    with pytest.raises(TypeError, match=r"Task\.is_batch = 1 is not a bool"):
        Task(is_batch=1)
    with pytest.raises(TypeError, match=r"Task\.nice = 0\.5 is not an integer"):
        Task(nice=0.5)


def test_everything_computes_within_its_type() -> None:
    assert policy_text.evaluate("u8(a) + 1", "u8", a=255) == 0
