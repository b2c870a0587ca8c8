"""`lab run` from the command to the report: one shaped VM, two schedulers, one round."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from commands import Done, command

from scx_vsched.lab.document import Profile, load
from scx_vsched.lab.figures import capacity, share_of_capacity
from scx_vsched.vm.lab.groups import find_hierarchies, owner_name
from scx_vsched.vm.lab.placing import host_cpus

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.vm.kernels import Kernel

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(os.geteuid() != 0, reason="shaping a VM needs root"),
    pytest.mark.skipif(len(host_cpus()) < 2, reason="needs two host CPUs"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def done(vm_kernels: dict[str, Kernel], folder: Path) -> Done:
    """The command, once."""
    return command(
        "lab", "run", "--profile", "half-few", "-w", "compute-1", "-s", "all", "--rounds", "1",
        "--quick", "--json", "-k", str(vm_kernels["oldest"].release), "-o", folder / "lab.json",
        "--html", folder / "lab.html", "--markdown", folder / "lab.md",
    )  # fmt: skip


@pytest.fixture(scope="module")
def profile(done: Done, folder: Path) -> Profile:
    assert done.returncode == 0, done.stderr
    (found,) = load(folder / "lab.json").profiles
    return found


def test_both_schedulers_were_measured(profile: Profile) -> None:
    assert not profile.error
    assert [found.scheduler for found in profile.measurements] == ["default", "all"]
    for found in profile.measurements:
        assert not found.error
        assert found.values["done"][0] > 0
        assert found.used is not None
    default, ours = profile.measurements
    assert not default.counters
    assert ours.counters
    assert len(ours.seen) == 3


def test_the_host_says_what_the_vcpus_can_give(profile: Profile) -> None:
    assert 0.5 < capacity(profile) < 1.7, "three vCPUs of half a CPU each"
    for name in ("default", "all"):
        share = share_of_capacity(profile, "compute-1", name)
        assert share is not None
        assert 0.05 < share < 1.2


def test_json_and_reports_are_of_the_same_run(done: Done, folder: Path) -> None:
    assert json.loads(done.stdout) == json.loads((folder / "lab.json").read_text())
    assert "compute-1: done, /s" in (folder / "lab.md").read_text()
    assert "<svg" in (folder / "lab.html").read_text()
    again = command("lab", "report", folder / "lab.json")
    assert again.stdout == (folder / "lab.md").read_text()


def test_progress_was_shown(done: Done) -> None:
    assert "round 1, all: compute-1" in done.stderr


def test_the_host_is_as_before(done: Done) -> None:
    del done
    name = owner_name(os.getpid())
    assert name is not None
    assert not [root / name for root in find_hierarchies().roots if (root / name).exists()]
