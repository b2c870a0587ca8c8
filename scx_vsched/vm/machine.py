"""The virtual machine as a process: its shape, virtme-ng's command line, threads and end."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.initramfs import write_initramfs
from scx_vsched.vm.job import GUEST_DIR
from scx_vsched.vm.paths import PACKAGE_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.monitor import Emulator

__all__ = [
    "Shape",
    "machine_process",
    "needed_below",
    "standalone_argv",
    "tune",
    "virtme_argv",
]

# virtme-ng's init puts empty file systems over these, so what lies below must be mounted again.
_MASKED = ("/var/tmp", "/var/log", "/var/cache", "/run")  # noqa: S108 - only compared


@dataclass(frozen=True, slots=True)
class Shape:
    """What the VM looks like.

    `cpus` is QEMU's -smp ("4", "8,sockets=2,cores=2,threads=2", "2,maxcpus=4"), `memory` its -m;
    `numa` are virtme-ng's --numa values ("512M,cpus=0-1"), which must add up to `memory`;
    `distances` are between two nodes ("0,1=20"); `pin` lists the host CPUs that vCPU 0, 1, … are
    bound to.
    """

    cpus: str = "2"
    memory: str = "2G"
    numa: tuple[str, ...] = ()
    distances: tuple[str, ...] = ()
    kernel_args: tuple[str, ...] = ()
    pin: tuple[int, ...] = ()


def needed_below(*directories: str) -> list[Path]:
    """What the guest needs of this process that lies below one of `directories`."""
    needed = [Path(sys.prefix), Path(sys.base_prefix), PACKAGE_ROOT, Path.cwd()]
    below = (path for path in needed if any(path.is_relative_to(each) for each in directories))
    return list(dict.fromkeys(below))


def virtme_argv(kernel: Kernel, shape: Shape, accelerator: str, directory: Path) -> list[str]:
    """The command that boots `kernel` and runs the job in `directory`, as an argument list.

    More options of QEMU's may follow.
    """
    guest = shlex.join([sys.executable, "-m", "scx_vsched.vm.agent", f"{GUEST_DIR}/job.json"])
    argv = [
        *(_virtme_run(), "--kimg", str(kernel.image)),
        *("--mods", "none" if kernel.modules_dir is None else "auto"),
        # One way for every kernel and host: 9p, a full PC, and QEMU's own consoles.
        *("--force-9p", "--disable-microvm", "--disable-monitor", "--show-boot-console"),
        *("--cpus", shape.cpus, "--memory", shape.memory),
        *("--rwdir", f"{GUEST_DIR}={directory}"),
    ]
    if accelerator == "tcg":
        argv.append("--disable-kvm")
    for path in needed_below(*_MASKED):
        argv += ["--rodir", str(path)]
    for node in shape.numa:
        argv += ["--numa", node]
    for distance in shape.distances:
        argv += ["--numa-distance", _distance(distance)]
    # Without it some boots drop the TSC for a far slower clock, and every timing with it.
    for option in ("tsc=reliable", *shape.kernel_args):
        argv += ["--kopt", option]
    search = shlex.join([f"PYTHONPATH={PACKAGE_ROOT}", "PYTHONDONTWRITEBYTECODE=1"])
    argv += ["--script-sh", f"exec env {search} {guest}"]
    return [*argv, "--qemu-opts", "-name", "scx_vsched"]


def _distance(text: str) -> str:
    """A distance as virtme-run wants it: "src=0,dst=1,val=20" for "0,1=20"."""
    nodes, _, value = text.partition("=")
    source, _, target = nodes.partition(",")
    if not (source.isdigit() and target.isdigit() and value.isdigit()):
        raise UserError(f"not a NUMA distance: {text}", "write it as NODE,NODE=DISTANCE: 0,1=20")
    return f"src={source},dst={target},val={value}"


def _virtme_run() -> str:
    beside = Path(sys.executable).parent / "virtme-run"
    found = str(beside) if beside.exists() else shutil.which("virtme-run")
    if found is None:
        raise UserError("virtme-ng is not installed", "run tools/setup, or: pip install virtme-ng")
    return found


def standalone_argv(
    qemu: Path, kernel: Kernel, shape: Shape, accelerator: str, directory: Path
) -> list[str]:
    """The command that boots a standalone `kernel` with its user space in the initramfs.

    More options of QEMU's may follow.
    """
    if shape.numa or shape.distances:
        raise UserError(
            f"Linux {kernel.release} has no modules and boots without NUMA nodes only",
            "choose a kernel that `vm kernels` lists with modules",
        )
    archive = directory / "initramfs.cpio"
    write_initramfs(directory, archive)
    options = ("console=ttyS0", "quiet", "panic=-1", "tsc=reliable", *shape.kernel_args)
    return [
        *(str(qemu), "-machine", "q35", "-accel", accelerator, "-cpu", "max"),
        *("-smp", shape.cpus, "-m", shape.memory),
        *("-display", "none", "-monitor", "none", "-net", "none", "-no-reboot"),
        *("-serial", "stdio", "-serial", f"file:{directory / 'events.jsonl'}"),
        *("-kernel", str(kernel.image), "-initrd", str(archive)),
        *("-append", " ".join(options), "-name", "scx_vsched"),
    ]


@contextlib.contextmanager
def machine_process(
    argv: list[str], log: Path, limit_s: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `argv` in a session of its own, its output in `log`; nothing of it outlives the block.

    If this process is killed without a chance to clean up, the kernel tells `timeout`, which ends
    the VM.
    """
    bounded = [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "timeout",
        "--signal=KILL",
        f"{limit_s:.0f}",
        *argv,
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            bounded,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        # A pipe rather than the file itself: QEMU opens it once per console and would truncate.
        copier = threading.Thread(target=_copy, args=(process.stdout, sink), daemon=True)
        copier.start()
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            copier.join(5)
            process.stdout.close()


def _copy(source: IO[bytes], sink: IO[bytes]) -> None:
    while chunk := source.read1(65536):  # type: ignore[attr-defined]
        sink.write(chunk)
        sink.flush()


def tune(emulator: Emulator, pin: tuple[int, ...]) -> None:
    """Set priorities and affinity of `emulator`.

    Under TCG QEMU's main loop fires the guest's timers: without priority over the vCPU threads
    they come late whenever the host is full. Where that is not permitted the VM runs all the same.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(
            emulator.pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1)
        )
    for index, thread in emulator.threads.items():
        if pin:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(thread, {pin[index % len(pin)]})
