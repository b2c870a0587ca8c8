"""The command line of `scx_vsched vm`: lists, refusals, exit codes; nothing is booted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

GOOD = "CONFIG_SCHED_CLASS_EXT=y\nCONFIG_DEBUG_INFO_BTF=y\nCONFIG_BPF_SYSCALL=y\n"


def vm(*arguments: str, cache: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "PATH": path or os.environ["PATH"]}
    return subprocess.run(
        [sys.executable, "-m", "scx_vsched", "vm", *arguments],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A directory with one kernel, of a series that nothing else here has."""
    directory = tmp_path / "kernels"
    directory.mkdir()
    (directory / "vmlinuz-99.1.2-test").write_bytes(b"MZ")
    (directory / "config-99.1.2-test").write_text(GOOD)
    return directory


def test_kernels_of_a_directory(kernels: Path, tmp_path: Path) -> None:
    done = vm("kernels", "--dir", str(kernels), "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)[0]
    assert found["release"] == "99.1.2-test"
    assert found["image"] == str(kernels / "vmlinuz-99.1.2-test")
    assert found["has_sched_ext"] is True
    table = vm("kernels", "--dir", str(kernels), cache=tmp_path).stdout
    assert "99.1.2-test" in table
    assert "yes" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["kernels", "--fetch"], "--fetch needs series"),
        (["kernels", "6.18"], "series are named to fetch them"),
        (["kernels", "--fetch", "5.10"], "no packages of series '5.10'"),
        (["kernels", "--dir", "/nonexistent"], "/nonexistent is not a directory"),
        (["run", "-k", "99.9", "--", "true"], "no kernel '99.9' with sched_ext found"),
        (["run", "-k", "/nonexistent/image", "--", "true"], "no kernel image at /nonexistent"),
        (["run", "--no-scheduler", "-p", "core", "--", "true"], "--no-scheduler contradicts"),
        (["run", "-p", "core", "--object", "x.o", "--", "true"], "--policy or --object, not both"),
        (["run", "--set", "slice_us", "-k", "IMAGE", "--", "true"], "not NAME=INTEGER"),
        (["run", "-p", "nonsense", "-k", "IMAGE", "--", "true"], "nonsense"),
        (["run", "--accel", "hvf", "-k", "IMAGE", "--", "true"], "unknown accelerator 'hvf'"),
        (["verify", "--kernels", "99.9", "-q"], "no kernel '99.9' with sched_ext found"),
        (["verify", "--kernels", "IMAGE", "-p", "nonsense", "-q"], "nonsense"),
        (["verify", "--baseline", "BROKEN", "-q"], "is not a record of verifier costs"),
        (["bench", "-k", "IMAGE", "--workload", "doom", "-q"], "unknown workload doom"),
    ],
)
def test_mistakes(arguments: list[str], message: str, kernels: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("no record")
    given = {"IMAGE": str(kernels / "vmlinuz-99.1.2-test"), "BROKEN": str(broken)}
    done = vm(*(given.get(argument, argument) for argument in arguments), cache=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_qemu(kernels: Path, tmp_path: Path) -> None:
    image = str(kernels / "vmlinuz-99.1.2-test")
    done = vm(
        "run", "--no-scheduler", "-k", image, "--", "true", cache=tmp_path, path=str(tmp_path)
    )
    assert done.returncode == 1
    assert "qemu-system-x86_64 is not installed" in done.stderr
    assert "tools/setup" in done.stderr
