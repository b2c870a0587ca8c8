"""QEMU, accelerator, command line and the life of the process, with real processes."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.vm import accelerator, boot
from scx_vsched.vm.accelerator import Accelerator, choose, has_virtualization_flag
from scx_vsched.vm.boot import VmLost, VmNotBooted, VmTimeout, run_job
from scx_vsched.vm.job import Job, Step
from scx_vsched.vm.kernels import Kernel
from scx_vsched.vm.machine import Shape, machine_process, virtme_argv
from scx_vsched.vm.monitor import Emulator, ask, monitor_options, monitor_socket
from scx_vsched.vm.qemu import Qemu, find_qemu, parse_version, require

if TYPE_CHECKING:
    from collections.abc import Callable

KERNEL = Kernel("6.12.1", "6.12", Path("/k/bzImage"), None, True, "test")


def test_version() -> None:
    text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright"
    assert parse_version(text) == (10, 0, 2)
    assert parse_version("no such option") is None


def test_old_qemu_is_refused_under_tcg_only() -> None:
    old = Qemu(Path("/usr/bin/qemu"), (7, 2, 22))
    with pytest.raises(UserError, match=r"QEMU 7\.2\.22 .* crashes guests under TCG") as caught:
        require(old, "tcg")
    assert "QEMU 10" in caught.value.hint
    require(old, "kvm")
    require(Qemu(Path("/usr/bin/qemu"), (10, 0, 0)), "tcg")


def test_no_qemu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not installed"):
        find_qemu(str(tmp_path))
    script(tmp_path / "qemu-system-x86_64", "echo broken; exit 1")
    with pytest.raises(UserError, match="does not tell its version: broken"):
        find_qemu(str(tmp_path))


def test_virtualization_flag() -> None:
    assert has_virtualization_flag("processor: 0\nflags\t\t: fpu vmx sse\n")
    assert has_virtualization_flag("flags : svm\n")
    assert not has_virtualization_flag("flags\t\t: fpu hypervisor\n")
    assert not has_virtualization_flag("Features : fp asimd\n")


def test_forced_accelerator() -> None:
    qemu = Qemu(Path("/usr/bin/qemu"), (10, 0, 0))
    assert choose(qemu, Path("/k"), "tcg") == Accelerator("tcg", "asked for")
    with pytest.raises(UserError, match="unknown accelerator 'hvf'"):
        choose(qemu, Path("/k"), "hvf")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("echo 'VFS: Unable to mount root fs on unknown-block(0,0)'", ""),
        ("sleep 60", "did not finish in 1 s"),
        ("echo 'KVM internal error' >&2; exit 1", "failed: KVM internal error"),
    ],
)
def test_trial_boot(tmp_path: Path, behaviour: str, reason: str) -> None:
    qemu = Qemu(script(tmp_path / "qemu", behaviour), (10, 0, 0))
    failure = accelerator.trial_boot(qemu, Path("/k"), limit_s=1)
    assert (reason in failure) if reason else failure == ""


def test_command_line_of_a_shaped_vm(tmp_path: Path) -> None:
    shape = Shape(
        cpus="8,sockets=2,cores=2,threads=2",
        memory="1G",
        numa=("512M,cpus=0-3", "512M,cpus=4-7"),
        distances=("0,1=40",),
        kernel_args=("nohz=off",),
    )
    argv = virtme_argv(KERNEL, shape, "tcg", tmp_path)
    pairs = list(itertools.pairwise(argv))
    assert ("--cpus", "8,sockets=2,cores=2,threads=2") in pairs
    assert ("--numa", "512M,cpus=0-3") in pairs
    assert ("--numa", "512M,cpus=4-7") in pairs
    assert ("--numa-distance", "src=0,dst=1,val=40") in pairs
    assert ("--mods", "none") in pairs
    assert ("--kopt", "tsc=reliable") in pairs
    assert ("--kopt", "nohz=off") in pairs
    assert ("--rwdir", f"/run/vsched={tmp_path}") in pairs
    assert "--disable-kvm" in argv
    assert "--disable-kvm" not in virtme_argv(KERNEL, shape, "kvm", tmp_path)
    modular = replace(KERNEL, modules_dir=Path("/m"))
    with_modules = virtme_argv(modular, shape, "tcg", tmp_path)
    assert ("--mods", "auto") in list(itertools.pairwise(with_modules))


@pytest.mark.parametrize("text", ["", "0,1", "0=20", "0,1=x", "a,1=20"])
def test_what_is_no_distance(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="not a NUMA distance"):
        virtme_argv(KERNEL, Shape(distances=(text,)), "tcg", tmp_path)


def test_process_and_its_children_end_with_the_block(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 100 & echo started; sleep 100"]
    with machine_process(argv, tmp_path / "log", 50) as process:
        deadline = time.monotonic() + 10
        while "started" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        started = [process.pid, *(pid for each in children(process.pid) for pid in children(each))]
        assert len(started) >= 3
    assert (tmp_path / "log").read_text() == "started\n"
    time.sleep(0.1)
    assert [pid for pid in started if Path(f"/proc/{pid}/stat").exists() and not zombie(pid)] == []


def test_process_ends_when_this_one_is_killed(tmp_path: Path) -> None:
    source = (
        "import pathlib, sys, time\n"
        "from scx_vsched.vm.machine import machine_process\n"
        "argv = ['sh', '-c', 'echo $$; sleep 100 & sleep 100']\n"
        "with machine_process(argv, pathlib.Path(sys.argv[1]), 50):\n"
        "    time.sleep(60)\n"
    )
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", source, str(log)])
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"))
    shell = int(log.read_text())
    wait_until(lambda: len(children(shell)) == 2)
    started = [shell, *children(shell)]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(alive(pid) for pid in started))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return not zombie(pid)
    except OSError:
        return False


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="needs QEMU")
def test_emulator_tells_its_threads() -> None:
    found: list[Emulator | None] = []
    with monitor_socket() as socket:
        assert ask(socket) is None
        options = ["-machine", "q35,accel=tcg", "-smp", "3", "-S", "-display", "none"]
        process = subprocess.Popen(["qemu-system-x86_64", *options, *monitor_options(socket)])
        try:
            wait_until(lambda: found.append(ask(socket)) or found[-1] is not None)
            emulator = found[-1]
            assert emulator is not None
            assert emulator.pid == process.pid
            assert list(emulator.threads) == [0, 1, 2]
            own = {int(task.name) for task in Path(f"/proc/{process.pid}/task").iterdir()}
            assert own > set(emulator.threads.values())
        finally:
            process.kill()
            process.wait()
        assert ask(socket) is None, "nobody answers any more"


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH and cache of a host whose virtme-ng and QEMU the test provides as scripts."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))  # virtme-run is beside it
    script(tmp_path / "qemu-system-x86_64", "echo QEMU emulator version 10.0.2")
    return tmp_path


def vm(directory: Path, body: str) -> None:
    """A virtme-run that does `body` with $D, the job's directory."""
    find = 'for a in "$@"; do case $a in /run/vsched=*) D=${a#*=};; esac; done'
    script(directory / "virtme-run", f"{find}\n{body}")


def event(text: str) -> str:
    return f"echo '{text}' >> $D/events.jsonl"


HELLO = event('{"event": "hello", "release": "6.12.1", "clocksource": "tsc"}')
STEP = event(
    '{"event": "step", "name": "one", "value": 5, "error": "", "traceback": "", "seconds": 1}'
)
END = event('{"event": "end", "scheduler": "disabled"}')
JOB = Job((Step("module:one"),))


def run(**options: float) -> boot.Outcome:
    return run_job(KERNEL, JOB, force_accelerator="tcg", **options)  # type: ignore[arg-type]


def test_job_that_ends(host: Path) -> None:
    vm(host, f"{HELLO}\n{STEP}\n{END}\nsleep 0.2")
    outcome = run()
    assert [(step.name, step.value) for step in outcome.steps] == [("one", 5)]
    assert (outcome.scheduler, outcome.lost) == ("disabled", 0)
    assert outcome.where == "Linux 6.12.1, tcg, vCPUs 2, clocksource tsc"


def test_vm_that_never_boots_is_tried_twice(host: Path) -> None:
    vm(host, "echo attempt >> $D/../attempts; echo 'qemu-system-x86_64: no such image' >&2; exit 1")
    with pytest.raises(
        VmNotBooted, match=r"did not boot under tcg: qemu-system.*no such image.*tried 2 times"
    ):
        run()
    assert (host / "cache/scx_vsched/vm/attempts").read_text().count("attempt") == 2


def test_vm_that_says_nothing_in_time(host: Path) -> None:
    vm(host, "sleep 100")
    started = time.monotonic()
    with pytest.raises(VmNotBooted, match="did not boot within 1 s"):
        run(boot_s=1, attempts=1)
    assert time.monotonic() - started < 10


def test_panic_is_a_lost_vm(host: Path) -> None:
    vm(host, f"{HELLO}\n{STEP}\necho '[ 1.0] Kernel panic - not syncing: x'\nexit 255")
    with pytest.raises(VmLost, match=r"went away .*\(after one\).*Kernel panic - not syncing: x"):
        run(attempts=1)


def test_lost_vm_is_tried_again_and_counted(host: Path) -> None:
    vm(
        host,
        f"{HELLO}\nif [ -e {host}/second ]; then {STEP}; {END}; fi\ntouch {host}/second; sleep 0.2",
    )
    outcome = run()
    assert outcome.lost == 1


def test_one_attempt_is_for_what_had_begun(host: Path) -> None:
    vm(
        host,
        f"if [ -e {host}/second ]; then {HELLO}; {STEP}; {END}; sleep 0.2; else exit 1; fi &\n"
        f"wait; touch {host}/second",
    )
    outcome = run(attempts=1)
    assert outcome.lost == 1


def test_hanging_job_is_a_timeout_and_not_tried_again(host: Path) -> None:
    vm(host, f"{HELLO}\necho x >> $D/../attempts\nsleep 100")
    with pytest.raises(VmTimeout, match=r"no end after 1 s \(in its first step\)"):
        run(timeout_s=1)
    assert (host / "cache/scx_vsched/vm/attempts").read_text() == "x\n"


def test_torn_line_is_no_event(host: Path) -> None:
    vm(host, f'{HELLO}\n{STEP}\nprintf \'{{"event": "en\' >> $D/events.jsonl')
    with pytest.raises(VmLost):
        run(attempts=1)


def test_virtme_is_missing(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(host))
    with pytest.raises(UserError, match="virtme-ng is not installed"):
        run()
