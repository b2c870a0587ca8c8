"""Runs cases in a process apart, so that one that crashes or hangs is a finding like any other."""

from __future__ import annotations

import json
import os
import select
import signal
import traceback
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from scx_vsched.sim.case import run_case
from scx_vsched.sim.run import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from scx_vsched.sim.case import Case

__all__ = ["Verdict", "run_apart"]

_PATIENCE_S = 150.0  # more than a case's own limit of real time and what compiling takes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the case drawn for `number`."""

    number: int
    failure: Failure | None
    events: int = 0
    records: int = 0
    digest: str = ""


def run_apart(
    numbers: Sequence[int], make: Callable[[int], Case], *, sanitize: bool = False
) -> Iterator[Verdict]:
    """Runs `make(number)` for each of `numbers`, in order.

    A case that ends its process has failed with `crash`, one that does not return with `hang`.
    """
    at = 0
    while at < len(numbers):
        worker = _Worker(numbers[at:], make, sanitize)
        try:
            for verdict in worker.verdicts():
                at += 1
                yield verdict
        finally:
            ended = worker.close()
        if at < len(numbers):
            yield Verdict(numbers[at], Failure(*ended, 0))
            at += 1


class _Worker:
    """A forked process that writes a line for each case."""

    def __init__(self, numbers: Sequence[int], make: Callable[[int], Case], sanitize: bool) -> None:
        self._from, write = os.pipe()
        self._late = False
        self._left = len(numbers)
        self._pid = os.fork()
        if not self._pid:
            os.close(self._from)
            status = 1
            try:
                _work(write, numbers, make, sanitize)
                status = 0
            except Exception:  # the parent sees that the process ended
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(write)

    def verdicts(self) -> Iterator[Verdict]:
        """Those that come before the process ends or takes too long."""
        rest = b""
        while self._left:
            if not select.select([self._from], [], [], _PATIENCE_S)[0]:
                self._late = True
                return
            read = os.read(self._from, 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                self._left -= 1
                raw = json.loads(line)
                failure = raw.pop("failure")
                yield Verdict(failure=Failure(**failure) if failure else None, **raw)

    def close(self) -> tuple[str, str]:
        """Ends the process; says how it ended, as a failure's name and message."""
        if self._late or self._left:
            os.kill(self._pid, signal.SIGKILL)
        os.close(self._from)
        status = os.waitpid(self._pid, 0)[1]
        if self._late:
            return "hang", f"no end within {_PATIENCE_S:g} s"
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return "crash", f"the simulator's process ended by {name}"
        return "crash", f"the simulator's process ended with {os.waitstatus_to_exitcode(status)}"


def _work(write: int, numbers: Sequence[int], make: Callable[[int], Case], sanitize: bool) -> None:
    for number in numbers:
        outcome = run_case(make(number), sanitize=sanitize)
        failure = asdict(outcome.failure) if outcome.failure else None
        verdict = Verdict(number, None, outcome.events, outcome.records, outcome.digest)
        os.write(write, json.dumps(asdict(verdict) | {"failure": failure}).encode() + b"\n")
