"""Builds that end a run at undefined behaviour and at accesses outside of what was allocated.

The address sanitizer's run-time library has to be the first that a process loads, so such a build
runs in a process that was started with `environment()`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scx_vsched.errors import UserError

__all__ = [
    "SANITIZE",
    "environment",
    "find_gcc",
    "require_loaded",
    "start_again",
    "without_runtime",
]

SANITIZE = (
    "-O1",  # quicker to compile
    "-fsanitize=address,undefined",
    # an invalid access is noted, and ends the run where the engine looks: guard.c
    "-fsanitize-recover=address",
    "-fsanitize-undefined-trap-on-error",
    # BPF maps are as aligned as BPF has them
    "-fno-sanitize=alignment",
)
_OPTIONS = (
    "halt_on_error=0",
    "detect_leaks=0",  # CPython's
    "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0",  # they are the engine's
    "log_path=/dev/null",  # the run's failure says it
)


@functools.cache
def find_gcc() -> tuple[str, str]:
    """Path and version of gcc; UserError without it."""
    path = shutil.which("gcc")
    if not path:
        raise UserError(
            "gcc is not installed; it builds what runs under sanitizers",
            "Debian: apt-get install gcc",
        )
    return path, _print(path, "-dumpfullversion")


@functools.cache
def _library() -> str:
    path = _print(find_gcc()[0], "-print-file-name=libasan.so")
    if not Path(path).is_absolute():
        raise UserError(
            "gcc's address sanitizer is not installed", "Debian: apt-get install gcc libc6-dev"
        )
    return str(Path(path).resolve())


def _print(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def environment() -> dict[str, str]:
    """Of a process that can load builds with sanitizers."""
    return os.environ | {"LD_PRELOAD": _library(), "ASAN_OPTIONS": ":".join(_OPTIONS)}


def without_runtime() -> dict[str, str]:
    """Of a process that this one starts and that is not concerned."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def _is_loaded() -> bool:
    return "libasan" in os.environ.get("LD_PRELOAD", "")


def require_loaded() -> None:
    """Raises UserError where this process cannot load builds with sanitizers."""
    if not _is_loaded():
        raise UserError(
            "this process was started without the address sanitizer",
            "`sim run`, `sim replay` and `sim fuzz` with --sanitize start one with it",
        )


def start_again() -> None:
    """Begins this command anew in a process that can, unless it is one."""
    if not _is_loaded():
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment())  # noqa: S606
