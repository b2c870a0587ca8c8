"""Runs cases in a process apart, so that one that crashes or hangs is a finding like any other."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from scx_vsched.errors import UserError
from scx_vsched.sim.run import Failure
from scx_vsched.sim.sanitize import environment

if TYPE_CHECKING:
    from scx_vsched.sim.case import Case

__all__ = ["Apart", "Verdict"]

_PATIENCE_S = 150.0  # more than a case's own limit of real time and what compiling takes
_START_S = 60.0
WORKER = (sys.executable, "-m", "scx_vsched.sim.worker")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a case."""

    failure: Failure | None
    events: int = 0
    records: int = 0
    digest: str = ""


class Apart:
    """A process that runs cases one by one; where it ends or hangs, another takes its place."""

    def __init__(self, *, sanitize: bool = False) -> None:
        self._command = [*WORKER, *(("--sanitize",) if sanitize else ())]
        self._environment = environment() if sanitize else None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process if there is one."""
        self._end()

    def run(self, case: Case) -> Verdict:
        """Runs `case`: one that ends the process fails with `crash`, one that stays with `hang`."""
        process = self._process or self._start()
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).write(json.dumps(case.to_json()).encode() + b"\n")
            _pipe(process.stdin).flush()
        answer = _answer(process, _PATIENCE_S)
        if answer is None:
            process.kill()
            self._end()
            return Verdict(Failure("hang", f"no end within {_PATIENCE_S:g} s", 0))
        if not answer.endswith(b"\n"):
            return Verdict(Failure("crash", f"the simulator's process ended {self._end()}", 0))
        raw = json.loads(answer)
        failure = raw.pop("failure")
        return Verdict(failure=Failure(**failure) if failure else None, **raw)

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
        )
        if not _answer(self._process, _START_S):
            raise UserError(f"the simulator's process does not start: it ended {self._end()}")
        return self._process

    def _end(self) -> str:
        """Ends the process; says how it had ended if it had."""
        process, self._process = self._process, None
        if process is None:
            return ""
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            status = process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        return f"by {signal.Signals(-status).name}" if status < 0 else f"with {status}"


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end is not None  # noqa: S101 - both ends were asked for
    return end


def _answer(process: subprocess.Popen[bytes], patience_s: float) -> bytes | None:
    """A line of the process, cut short where it ended; None where none comes in time."""
    pipe = _pipe(process.stdout)
    answer = b""
    while not answer.endswith(b"\n"):
        if not select.select([pipe], [], [], patience_s)[0]:
            return None
        read = os.read(pipe.fileno(), 65536)
        if not read:
            break
        answer += read
    return answer
