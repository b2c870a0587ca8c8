"""What a machine must have to run a scheduler, and how to get what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.kernel import SCHED_EXT, VMLINUX_BTF, attached_scheduler
from scx_vsched.bpf.libbpf import library
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Machine", "Missing", "check_machine", "missing"]

_CAP_SYS_ADMIN, _CAP_BPF = 21, 39  # include/uapi/linux/capability.h


@dataclass(frozen=True, slots=True)
class Machine:
    """Where to look; the defaults are the running system's."""

    sched_ext: Path = SCHED_EXT
    btf: Path = VMLINUX_BTF
    lockdown: Path = Path("/sys/kernel/security/lockdown")
    status: Path = Path("/proc/self/status")
    release: str = os.uname().release


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the machine lacks, and how to get it."""

    what: str
    remedy: str


def missing(machine: Machine) -> Iterator[Missing]:
    """All that keeps a scheduler from being attached, most fundamental first."""
    if not machine.sched_ext.is_dir():
        yield Missing(
            f"kernel {machine.release} has no sched_ext ({machine.sched_ext} is missing)",
            "boot Linux 6.12 or newer built with CONFIG_SCHED_CLASS_EXT=y, as most distributions' "
            "are (Debian: linux-image-amd64 of trixie-backports; Debian's own 6.12 has it off), "
            "or try it in a VM: scx_vsched vm run",
        )
    if not machine.btf.exists():
        yield Missing(
            f"kernel {machine.release} has no BTF ({machine.btf} is missing)",
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions' are",
        )
    held = _capabilities(machine.status)
    lacking = [
        name
        for name, bit in (("CAP_BPF", _CAP_BPF), ("CAP_SYS_ADMIN", _CAP_SYS_ADMIN))
        if not held >> bit & 1
    ]
    if lacking:
        yield Missing(
            f"this process lacks {' and '.join(lacking)}", "run it as root (sudo scx_vsched …)"
        )
    # Only `confidentiality` closes the helpers that read kernel memory (LOCKDOWN_BPF_READ_KERNEL).
    if "[confidentiality]" in _read(machine.lockdown):
        yield Missing(
            "the kernel is locked down (confidentiality), which closes BPF's view of it",
            "boot with lockdown=integrity or without lockdown",
        )
    if other := attached_scheduler(machine.sched_ext):
        yield Missing(
            f"another sched_ext scheduler is attached: {other}",
            "stop it first (systemctl stop scx, or end its process)",
        )


def check_machine(machine: Machine | None = None) -> None:
    """Raise one UserError that names all that is missing; libbpf's own where that is too old."""
    found = list(missing(machine or Machine()))
    if len(found) == 1:
        raise UserError(found[0].what, found[0].remedy)
    if found:
        lines = "".join(f"\n  - {each.what}\n    {each.remedy}" for each in found)
        raise UserError(f"this machine cannot run a scheduler yet:{lines}")
    library()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _capabilities(status: Path) -> int:
    """The effective set, as /proc/PID/status shows it."""
    for line in _read(status).splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
