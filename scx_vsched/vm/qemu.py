"""The emulator: finding it, and refusing versions that break guests."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scx_vsched.errors import UserError

__all__ = ["Qemu", "find_qemu", "parse_version", "require"]

_BINARY = "qemu-system-x86_64"

# Seen on busy 4-vCPU guests under TCG: with 7.2.22 each died with "Oops: int3" within nine attach
# and detach cycles, because the kernel's live text patching races with translated code; with
# 10.0.2 none did in a hundred cycles.
_FIRST_SAFE_TCG = (10, 0, 0)


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU binary and its version."""

    path: Path
    version: tuple[int, int, int]

    @property
    def version_text(self) -> str:
        """The version as people write it: "10.0.2"."""
        return ".".join(str(number) for number in self.version)


def parse_version(text: str) -> tuple[int, int, int] | None:
    """The version in the output of `qemu-system-x86_64 --version`, or None."""
    match = re.search(r"version (\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def find_qemu(search: str | None = None) -> Qemu:
    """The QEMU on PATH (or on the path list `search`).

    Raises:
        UserError: there is none, or it does not tell its version.
    """
    found = shutil.which(_BINARY, path=search)
    if found is None:
        raise UserError(
            f"{_BINARY} is not installed", "run tools/setup, or install QEMU 10 or later"
        )
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    version = parse_version(done.stdout)
    if version is None:
        raise UserError(
            f"{found} does not tell its version: {(done.stderr or done.stdout).strip()}"
        )
    return Qemu(Path(found), version)


def require(qemu: Qemu, accelerator: str) -> None:
    """Refuse a QEMU that cannot run what this project does under `accelerator`.

    Raises:
        UserError: the version crashes guests.
    """
    if accelerator == "tcg" and qemu.version < _FIRST_SAFE_TCG:
        raise UserError(
            f"QEMU {qemu.version_text} at {qemu.path} crashes guests under TCG when a scheduler is "
            "attached (its translated code races with the kernel's live patching)",
            "install QEMU 10 or later (tools/setup takes it from Debian's backports), or use KVM",
        )
