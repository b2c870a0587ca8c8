"""Guest side of `vm run`: a command, under a scheduler or without."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scx_vsched.vm.agent import Guest

__all__ = ["run_command", "run_under_scheduler"]

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126  # as a shell says it


def run_command(
    guest: Guest, argv: Sequence[str], cwd: str = "/", env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run `argv` with its output in the job's files `stdout` and `stderr`; the exit code.

    A command that a signal ends has 128 + the signal's number, one that cannot start 127 or 126.
    """
    with (
        (guest.directory / "stdout").open("ab") as out,
        (guest.directory / "stderr").open("ab") as err,
    ):
        try:
            code = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=cwd if Path(cwd).is_dir() else "/",
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
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Attach the scheduler in `object_path`, run `argv`, detach.

    Besides the exit code: the statistics at the end, and `exit_info` if the scheduler left by
    itself in the meantime.
    """
    from scx_vsched.vm.guest_sched import attached  # noqa: PLC0415 - slow to import under TCG

    with attached(object_path, tunables) as scheduler:
        guest.progress(f"{scheduler.policy} attached")
        result = run_command(guest, argv, cwd, env)
        return {**result, "stats": scheduler.stats(), "exit_info": scheduler.exit_info()}
