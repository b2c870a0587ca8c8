"""KVM or TCG: decided by trying, because /dev/kvm may exist and still be of no use.

Some nested clouds offer a /dev/kvm that emulates guest kernels instruction by instruction and
fails on a few of them; their CPU flags lack svm and vmx. Where the flags are there a kernel is
booted under a time limit until it complains that it has no root file system.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.vm.paths import cache_dir

if TYPE_CHECKING:
    from scx_vsched.vm.qemu import Qemu

__all__ = ["Accelerator", "choose", "has_virtualization_flag", "trial_boot"]

_TRIAL_S = 30.0
_NO_ROOT = "Unable to mount root fs"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """`name` is "kvm" or "tcg"; `reason` says why it was chosen."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def has_virtualization_flag(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo shows a CPU that can run guests (svm or vmx)."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return flags is not None and bool({"svm", "vmx"} & set(flags[1].split()))


def trial_boot(qemu: Qemu, image: Path, limit_s: float = _TRIAL_S) -> str:
    """Boot `image` under KVM up to the missing root file system; "" or why that failed."""
    argv = [
        str(qemu.path),
        *("-accel", "kvm", "-cpu", "host", "-m", "512M", "-smp", "2"),
        *("-display", "none", "-monitor", "none", "-serial", "stdio", "-net", "none"),
        *("-no-reboot", "-kernel", str(image), "-append", "console=ttyS0 panic=-1 root=none"),
    ]
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=limit_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"a trial boot under KVM did not finish in {limit_s:.0f} s"
    if _NO_ROOT.encode() in done.stdout:
        return ""
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return f"a trial boot under KVM failed{': ' if last else ''}{''.join(last)}"


def choose(qemu: Qemu, image: Path, forced: str | None = None) -> Accelerator:
    """The accelerator for VMs on this host; the trial's outcome is kept until the host reboots.

    Raises:
        UserError: `forced` is neither "kvm" nor "tcg", KVM is forced where it cannot be opened, or
            the host is not x86-64.
    """
    if platform.machine() != "x86_64":
        raise UserError(f"VMs are booted on x86-64 hosts only, and this is {platform.machine()}")
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    if forced is not None:
        if forced not in ("kvm", "tcg"):
            raise UserError(f"unknown accelerator {forced!r}", "choose kvm or tcg")
        if forced == "kvm" and not usable:
            raise UserError("KVM was asked for and /dev/kvm cannot be opened", "use --accel tcg")
        return Accelerator(forced, "asked for")
    if not usable:
        return Accelerator("tcg", "/dev/kvm cannot be opened")
    if not has_virtualization_flag(Path("/proc/cpuinfo").read_text()):
        return Accelerator("tcg", "/dev/kvm exists but the CPU has neither svm nor vmx")
    return _tried(qemu, image)


def _tried(qemu: Qemu, image: Path) -> Accelerator:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot_id} {qemu.path} {qemu.version_text}"
    cache = cache_dir() / "accelerator.json"
    try:
        known = json.loads(cache.read_text())
        if known["key"] == key:
            return Accelerator(known["name"], known["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    failure = trial_boot(qemu, image)
    chosen = Accelerator("tcg", failure) if failure else Accelerator("kvm", "a trial boot worked")
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"key": key, **asdict(chosen)}))
    return chosen
