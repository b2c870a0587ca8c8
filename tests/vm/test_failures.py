"""What goes wrong around a VM: each ends with one clear message and leaves nothing behind."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scx_vsched.vm.boot import VmLost, VmNotBooted, VmTimeout, run_job
from scx_vsched.vm.job import Job, Step

if TYPE_CHECKING:
    from conftest import Guests

    from scx_vsched.errors import UserError
    from scx_vsched.vm.kernels import Kernel

pytestmark = pytest.mark.vm


def processes_of(error: UserError) -> list[str]:
    """Processes of the VM that `error` tells about: each has its job's directory as an argument."""
    directory = Path(error.hint.removeprefix("its console is in ")).parent
    assert (directory / "console.log").exists()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = entry.read_text(errors="replace").replace("\0", " ")
            if directory.name in command:
                found.append(command)
    return found


def test_image_that_is_not_a_kernel(vm_kernels: dict[str, Kernel], tmp_path: Path) -> None:
    image = tmp_path / "vmlinuz-9.9.9"
    image.write_bytes(b"this boots nothing\n" * 1000)
    broken = replace(vm_kernels["oldest"], release="9.9.9", image=image, modules_dir=None)
    with pytest.raises(VmNotBooted, match=r"9\.9\.9.*did not boot") as caught:
        run_job(broken, Job(()), timeout_s=20, boot_s=10)
    assert processes_of(caught.value) == []


def test_hanging_vm_is_stopped(guests: Guests) -> None:
    started = time.monotonic()
    with pytest.raises(VmTimeout, match="stopped: no end after 40 s") as caught:
        guests.run("oldest", [Step("guest_jobs:hang")], timeout_s=40)
    assert time.monotonic() - started < 60
    assert processes_of(caught.value) == []


def test_crashing_kernel_is_lost_and_tried_again(guests: Guests) -> None:
    with pytest.raises(VmLost, match=r"went away .*Kernel panic.*tried 2 times") as caught:
        guests.run("oldest", [Step("guest_jobs:crash")], timeout_s=120)
    assert not isinstance(caught.value, VmNotBooted)


def test_run_hands_on_output_and_exit_code(vm_kernels: dict[str, Kernel]) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "scx_vsched", "vm", "run", "--timeout", "120"),
            *("--kernel", str(vm_kernels["oldest"].image), "--"),
            *("sh", "-c", "echo out; echo err >&2; exit 7"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout == "out\n"
    assert "err" in done.stderr.splitlines()
    assert "statistics" in done.stderr


def test_run_without_scheduler(vm_kernels: dict[str, Kernel]) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "scx_vsched", "vm", "run", "--timeout", "120", "--quiet"),
            *("--kernel", str(vm_kernels["newest"].image), "--no-scheduler", "--"),
            *("cat", "/sys/kernel/sched_ext/state"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "disabled\n"), done.stderr
