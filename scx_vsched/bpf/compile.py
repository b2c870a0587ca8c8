"""Finds clang and turns generated C into a BPF object with BTF, CO-RE and line information."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.bpf.render import include_dir
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["CLANG_MIN", "Clang", "CompileError", "compile_c", "find_clang", "run_compiler"]

# 16 is the first that emits the 64-bit enums of sched_ext's flags as BTF_KIND_ENUM64 relocations
# and the type tags of kernel pointers in maps without warnings.
CLANG_MIN = 16
_CLANG_NEWEST_TRIED = 30
_FLAGS = (
    "-target",
    "bpf",
    "-mcpu=v3",  # the newest instruction set that every supported kernel and clang has
    "-std=gnu11",
    "-O2",
    "-g",
    "-fwrapv",  # the policy language wraps
    "-fno-strict-aliasing",
    "-fdebug-compilation-dir=.",  # the same object wherever it is built
    "-Wall",
    "-Werror",
    "-Wno-unused-function",  # hooks of a feature that is left out
    "-Wno-unused-const-variable",
)


class CompileError(UserError):
    """clang refused generated C: a defect of the generator, reported with clang's message."""


@dataclass(frozen=True, slots=True)
class Clang:
    """A usable clang: its path and major version."""

    path: str
    version: int


def _version(path: str) -> int | None:
    try:
        out = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"clang version (\d+)", out)
    return int(match.group(1)) if match else None


@functools.cache
def find_clang(path: str | None = None) -> Clang:
    """The clang at `path`, else the one in $CLANG, else the newest on PATH.

    Raises UserError when there is none, or none of version `CLANG_MIN` or newer.
    """
    hint = f"install clang {CLANG_MIN} or newer (Debian: apt-get install clang-19)"
    explicit = path or os.environ.get("CLANG")
    if explicit:
        version = _version(explicit)
        if version is None:
            raise UserError(f"{explicit} is not a clang", hint)
        if version < CLANG_MIN:
            raise UserError(f"{explicit} is clang {version}, too old for sched_ext", hint)
        return Clang(explicit, version)

    names = [f"clang-{n}" for n in range(_CLANG_NEWEST_TRIED, CLANG_MIN - 1, -1)]
    too_old = ""
    for name in [*names, "clang"]:
        found = shutil.which(name)
        version = _version(found) if found else None
        if found and version is not None:
            if version >= CLANG_MIN:
                return Clang(found, version)
            too_old = f"{found} is clang {version}, too old for sched_ext"
    raise UserError(too_old or "clang is not installed; it compiles policies to BPF", hint)


def run_compiler(
    command: Sequence[str],
    out: Path,
    source: str | None = None,
    *,
    minutes: int,
    env: Mapping[str, str] | None = None,
) -> str:
    """Makes `out` by `command` with `-o FILE` added, replacing it only on success.

    `source` is the compiler's input. Returns what it said when it refused that, else "". Raises
    UserError when `out` cannot be written, CompileError when the compiler takes too long.
    """
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        done = subprocess.run(
            [*command, "-o", str(partial)],
            input=source,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60 * minutes,
            env=env,
            check=False,
        )
        if done.returncode:
            return done.stderr.strip() or f"it ended with {done.returncode}"
        partial.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"{command[0]} did not finish within {minutes} minutes") from error
    finally:
        partial.unlink(missing_ok=True)
    return ""


def compile_c(source: str, out: Path, clang: str | None = None) -> None:
    """Compiles the C text `source` to the BPF object `out`, replacing it only on success.

    Raises UserError when clang is missing or `out` cannot be written, CompileError when clang
    refuses the source.
    """
    compiler = find_clang(clang)
    command = [compiler.path, *_FLAGS, f"-I{include_dir()}", "-x", "c", "-c", "-"]
    refusal = run_compiler(command, out, source, minutes=2)
    if refusal:
        if not out.parent.is_dir():
            raise UserError(f"{out.parent} is not a directory", "create it first")
        raise CompileError(
            f"clang {compiler.version} refused the generated C:\n{refusal}",
            "this is a defect of scx_vsched; please report it with the policy",
        )
