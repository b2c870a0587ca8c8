"""Control groups around vCPU threads: what is written where, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.groups import (
    Groups,
    Hierarchies,
    find_hierarchies,
    owner_name,
    remove,
    remove_stale,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

HYBRID = """\
30 22 0:26 / {0} rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
31 30 0:27 / {0}/cpu,cpuacct rw,relatime shared:10 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / {0}/freezer rw,relatime shared:11 - cgroup cgroup rw,freezer
33 30 0:29 / {0}/unified rw,relatime shared:12 - cgroup2 cgroup2 rw
"""
UNIFIED = "31 30 0:27 / {0} rw,relatime - cgroup2 cgroup rw,nsdelegate\n"


@pytest.fixture
def v1(tmp_path: Path) -> Hierarchies:
    for name in ("cpu", "freezer"):
        (tmp_path / name).mkdir()
    return Hierarchies(cpu=tmp_path / "cpu", freezer=tmp_path / "freezer")


@pytest.fixture
def v2(tmp_path: Path) -> Hierarchies:
    return Hierarchies(unified=tmp_path, unified_cpu=True)


def own(root: Path) -> Path:
    return root / str(owner_name(os.getpid()))


def test_hierarchies_of_both_versions_are_found(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").write_text("memory pids\n")
    found = find_hierarchies(HYBRID.format(tmp_path))
    assert found == Hierarchies(
        tmp_path / "cpu,cpuacct", tmp_path / "freezer", tmp_path / "unified", unified_cpu=False
    )
    assert len(found.roots) == 3


def test_version_2_with_and_without_its_controller(tmp_path: Path) -> None:
    assert find_hierarchies(UNIFIED.format(tmp_path)).unified_cpu is False
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    assert find_hierarchies(UNIFIED.format(tmp_path)).unified_cpu is True
    assert find_hierarchies("") == Hierarchies()


def test_version_1_takes_threads_one_by_one(v1: Hierarchies) -> None:
    groups = Groups(v1, 100, {0: 101, 1: 102})
    groups.set_quota(1, 3_000, 10_000)
    assert v1.cpu
    group = own(v1.cpu) / "vcpu1"
    assert (group / "tasks").read_text() == "102"
    assert (group / "cpu.cfs_quota_us").read_text() == "3000"
    assert (group / "cpu.cfs_period_us").read_text() == "10000"
    assert not (group.parent / "vcpu0").exists()
    groups.set_quota(1, None, 0)
    assert (group / "cpu.cfs_quota_us").read_text() == "-1"


def test_version_2_takes_the_process_and_then_its_threads(v2: Hierarchies) -> None:
    groups = Groups(v2, 100, {0: 101, 1: 102})
    groups.set_quota(1, 3_000, 10_000)
    assert v2.unified
    parent = own(v2.unified)
    assert (parent / "cgroup.procs").read_text() == "100"
    assert (parent / "cgroup.subtree_control").read_text() == "+cpu"
    for vcpu in (0, 1):
        assert (parent / f"vcpu{vcpu}/cgroup.type").read_text() == "threaded"
    assert (parent / "vcpu1/cgroup.threads").read_text() == "102"
    assert (parent / "vcpu1/cpu.max").read_text() == "3000 10000"
    groups.set_quota(1, None, 0)
    assert (parent / "vcpu1/cpu.max").read_text().startswith("max ")


def test_freezers_of_both_versions(v1: Hierarchies, tmp_path: Path) -> None:
    path, away, back = Groups(v1, 100, {0: 101}).freezer(0)
    assert (path.name, away, back) == ("freezer.state", "FROZEN", "THAWED")
    root = tmp_path / "unified"
    root.mkdir()
    path, away, back = Groups(Hierarchies(unified=root), 100, {0: 101}).freezer(0)
    assert (path, away, back) == (own(root) / "vcpu0/cgroup.freeze", "1", "0")


def test_a_host_without_control_groups() -> None:
    groups = Groups(Hierarchies(), 100, {0: 101})
    with pytest.raises(UserError, match="no control groups for CPU bandwidth"):
        groups.set_quota(0, 1_000, 10_000)
    with pytest.raises(UserError, match="no freezer"):
        groups.freezer(0)
    assert groups.throttled(0) is None


def test_control_groups_that_cannot_be_written_to(tmp_path: Path) -> None:
    groups = Groups(Hierarchies(cpu=tmp_path / "absent"), 100, {0: 101})
    with pytest.raises(UserError, match=r"cannot be changed: .*No such file"):
        groups.set_quota(0, 1_000, 10_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nr_periods 5\nnr_throttled 3\nthrottled_time 7000\n", (3, 7000)),
        ("usage_usec 9\nnr_throttled 3\nthrottled_usec 7\n", (3, 7000)),
        ("", (0, 0)),
    ],
)
def test_throttling_is_told_in_nanoseconds(
    v1: Hierarchies, text: str, expected: tuple[int, int]
) -> None:
    groups = Groups(v1, 100, {0: 101})
    assert groups.throttled(0) is None
    groups.set_quota(0, 1_000, 10_000)
    assert v1.cpu
    (own(v1.cpu) / "vcpu0/cpu.stat").write_text(text)
    assert groups.throttled(0) == expected


def test_only_groups_of_processes_that_are_gone_are_left_over(tmp_path: Path) -> None:
    used = own(tmp_path)
    pid = gone_pid()
    names = (f"scx_vsched-{pid}-123", f"scx_vsched-{os.getpid()}-1", "scx_vsched-odd", "system")
    for name in (used.name, *names):
        (tmp_path / name / "vcpu0").mkdir(parents=True)
    found = remove_stale(Hierarchies(unified=tmp_path))
    assert found == sorted(names[:2])
    assert {path.name for path in tmp_path.iterdir()} == {used.name, *names[2:]}


def gone_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


def test_a_group_that_is_not_there_counts_as_removed(tmp_path: Path) -> None:
    assert remove(Hierarchies(unified=tmp_path), "scx_vsched-1-1")


# -- with the kernel's own control groups ---------------------------------------------------------

_SHAPES_AND_DIES = """
import os, signal, sys
from scx_vsched.vm.lab.groups import Groups, find_hierarchies
from scx_vsched.vm.lab.keeper import Keeper
pid = int(sys.argv[1])
keeper = Keeper()
groups = Groups(find_hierarchies(), pid, {0: pid})
groups.set_quota(0, 1_000, 100_000)
path, away, _ = groups.freezer(0)
path.write_text(away)
print(groups.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def usable() -> bool:
    """Whether this process may make groups of both kinds that shaping needs."""
    found = find_hierarchies()
    quota = found.cpu or (found.unified if found.unified_cpu else None)
    frozen = found.freezer or found.unified
    return os.geteuid() == 0 and bool(quota and frozen and os.access(quota, os.W_OK))


@pytest.mark.skipif(not usable(), reason="needs root and control groups that can be written to")
def test_the_host_is_restored_though_the_shaping_process_was_killed(sleeper: int) -> None:
    before = groups_of(sleeper)
    argv = [sys.executable, "-c", _SHAPES_AND_DIES, str(sleeper)]
    died = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
    assert died.returncode == -signal.SIGKILL, died.stderr
    name = died.stdout.strip()
    roots = find_hierarchies().roots
    deadline = time.monotonic() + 10
    while any((root / name).exists() for root in roots):
        assert time.monotonic() < deadline, "control groups are left"
        time.sleep(0.05)
    after = groups_of(sleeper)
    assert len(after) == len(before)
    assert not [line for line in after if name in line]


def groups_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cgroup").read_text().splitlines()
