"""Guest side of `vm run`: a command, under a scheduler or without."""

# ruff: noqa: PLC0415 - what a scheduler needs is slow to import under TCG

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.vm.lab.guest import phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.vm.agent import Guest

__all__ = ["run_command", "run_under_scheduler"]

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as a shell says it


def _load_overlayfs() -> None:
    """Load overlayfs where it is a module; the guest has the kernel's modules in the host's place.

    virtme-ng names that place on the command line, and cannot link it to /lib/modules where the
    host has no such directory.
    """
    words = Path("/proc/cmdline").read_text(encoding="utf-8").split()
    for word in words:
        name, _, place = word.partition("=")
        if name == "virtme_link_mods":
            root = Path(place).parents[2]  # of ROOT/lib/modules/RELEASE
            subprocess.run(
                ["modprobe", "-d", str(root), "overlay"], capture_output=True, check=False
            )


def _make_writable(directory: Path) -> None:
    """Lay a writable layer in memory over the read-only `directory`, as far as the kernel can.

    Programs such as stress-ng refuse to work where they cannot write.
    """
    if os.access(directory, os.W_OK):
        return
    _load_overlayfs()
    layers = Path(tempfile.mkdtemp(prefix="cwd-"))
    upper, work = layers / "upper", layers / "work"
    upper.mkdir()
    work.mkdir()
    options = f"lowerdir={directory},upperdir={upper},workdir={work}"
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(directory)],
        capture_output=True,
        check=False,  # without overlayfs the command sees a read-only directory
    )


def run_command(
    guest: Guest,
    argv: Sequence[str],
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    shaped: str = "",
) -> dict[str, Any]:
    """Run `argv` with its output in the job's files `stdout` and `stderr`; the exit code.

    `cwd` can be written to, though nothing of it reaches the host. A command that a signal ends has
    128 + the signal's number, one that cannot start 127 or 126. The host shapes the VM meanwhile
    as its phase `shaped` says, unless that is empty.
    """
    where = Path(cwd) if Path(cwd).is_dir() else Path("/tmp")  # noqa: S108 - the guest's own
    _make_writable(where)
    with (
        (guest.directory / "stdout").open("ab") as out,
        (guest.directory / "stderr").open("ab") as err,
        phase(guest, shaped) if shaped else contextlib.nullcontext(),
    ):
        try:
            code = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=where,
                env={**os.environ, "TERM": "dumb", **(env or {})},
                check=False,
            ).returncode
        except FileNotFoundError:
            err.write(f"{argv[0]}: not found\n".encode())
            code = _NOT_FOUND
        except OSError as error:
            err.write(f"{argv[0]}: {error.strerror}\n".encode())
            code = _NOT_EXECUTABLE
    return {"exit_code": 128 - code if code < 0 else code}


def run_under_scheduler(
    guest: Guest,
    argv: Sequence[str],
    *,
    object_path: str,
    tunables: Mapping[str, int],
    probe: bool,
    topology_path: str = "",
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    shaped: str = "",
) -> dict[str, Any]:
    """Attach the scheduler in `object_path`, run `argv`, detach.

    The vCPUs are as the document in `topology_path` or else the machine says, and with `probe` as
    they are measured meanwhile. Besides the exit code: the statistics at the end, and
    `exit_info` if the scheduler left by itself in the meantime.
    """
    from scx_vsched.runtime.feeding import Feeding
    from scx_vsched.runtime.session import document_topology
    from scx_vsched.vm.guest_sched import attached

    topology = document_topology(Path(topology_path)) if topology_path else None
    feeding = Feeding(say=guest.progress) if probe else None
    with attached(object_path, tunables, topology=topology, feeding=feeding) as scheduler:
        guest.progress(f"{scheduler.policy} attached")
        result = run_command(guest, argv, cwd, env, shaped)
        return {**result, "stats": scheduler.stats(), "exit_info": scheduler.exit_info()}
