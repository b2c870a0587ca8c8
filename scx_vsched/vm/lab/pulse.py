"""A process that takes vCPUs away in exact windows, by a timer, and writes down when it did.

Two ways. A co-runner spins at real-time priority on one host CPU while it is that CPU's turn to be
away, as a rival VM with strict priority would. The freezer way writes to the freezer files of
single threads. Windows repeat every period from the start; what really happened is logged in
nanoseconds of CLOCK_MONOTONIC.

Nothing of it can run away: the process dies with its parent, lives no longer than told, and the
kernel kills it when it uses its CPU for longer than its longest window without sleeping
(RLIMIT_RTTIME). It talks to its parent over pipes: the first line in is a `Program`, "ready" goes
out, the second line in is the start time, and at the end of the input the log goes out.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import resource
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Program", "Pulse", "Switch", "main", "run_windows", "windows"]

CORUNNER_PRIORITY = 1
FREEZER_PRIORITY = 3  # above the emulator's main loop, which comes above co-runners
_PR_SET_PDEATHSIG = 1
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_SLACK_NS = 20_000_000  # what a window may be longer than asked before the kernel steps in


@dataclass(frozen=True, slots=True)
class Pulse:
    """Away for `away_ns` at the end of each `period_ns`, between two times after the start.

    `target` is an index into the program's switches; the first period begins `phase_ns` after
    `from_ns`.
    """

    target: int
    from_ns: int
    to_ns: int
    period_ns: int
    away_ns: int
    phase_ns: int = 0


@dataclass(frozen=True, slots=True)
class Switch:
    """A freezer file and what to write to it; an empty path stands for spinning."""

    path: str = ""
    away: str = ""
    back: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """What a process does: `cpu` is the host CPU that it is bound to, -1 for none."""

    switches: tuple[Switch, ...]
    pulses: tuple[Pulse, ...]
    cpu: int
    limit_s: float

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Program:
        """The program in `text`, as `to_json` wrote it."""
        raw = json.loads(text)
        return cls(
            tuple(Switch(**each) for each in raw["switches"]),
            tuple(Pulse(**each) for each in raw["pulses"]),
            raw["cpu"],
            raw["limit_s"],
        )


def windows(pulse: Pulse, number: int) -> tuple[int, int] | None:
    """The `number`th window of `pulse`: from when to when away; None after its last one."""
    begin = pulse.from_ns + pulse.phase_ns + (number + 1) * pulse.period_ns - pulse.away_ns
    if begin >= pulse.to_ns:
        return None
    return begin, min(begin + pulse.away_ns, pulse.to_ns)


def run_windows(
    pulses: Sequence[Pulse],
    begin: Callable[[Pulse, int], None],
    end: Callable[[Pulse, int], None],
    sleep_until: Callable[[int], bool],
) -> None:
    """Call `begin` and `end` of every window in the order of time.

    Both get the pulse and the time at which the window is over; times are nanoseconds after the
    start. `sleep_until` returns True when it is time to stop.
    """
    # At the same time an end comes before a beginning: windows of one target may touch.
    queue: list[tuple[int, int, int, int, int]] = []

    def push(index: int, number: int) -> None:
        window = windows(pulses[index], number)
        if window is not None:
            heapq.heappush(queue, (window[0], 1, index, number, window[1]))

    for index in range(len(pulses)):
        push(index, 0)
    while queue:
        at, is_begin, index, number, over = heapq.heappop(queue)
        if sleep_until(at):
            return
        if is_begin:
            begin(pulses[index], over)
            heapq.heappush(queue, (over, 0, index, number, over))
        else:
            end(pulses[index], over)
            push(index, number + 1)


class _Log:
    """When each target went away and came back: (target, away_ns, back_ns)."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, int]] = []
        self._since: dict[int, int] = {}

    def away(self, target: int) -> None:
        self._since[target] = time.monotonic_ns()

    def back(self, target: int) -> None:
        since = self._since.pop(target, None)
        if since is not None:
            self.entries.append((target, since, time.monotonic_ns()))


def _bound(program: Program) -> None:
    """Everything that keeps this process from doing harm, then real-time priority."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent or parent == 1:
        sys.exit(1)
    signal.setitimer(signal.ITIMER_REAL, program.limit_s)  # SIGALRM ends the process
    longest = max((pulse.away_ns for pulse in program.pulses), default=0) + _SLACK_NS
    spins = longest // 1000
    resource.setrlimit(resource.RLIMIT_RTTIME, (spins, spins))
    libc.mlockall(_MCL_CURRENT | _MCL_FUTURE)
    if program.cpu >= 0:
        os.sched_setaffinity(0, {program.cpu})
    priority = CORUNNER_PRIORITY if program.cpu >= 0 else FREEZER_PRIORITY
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def _ended(timeout_s: float) -> bool:
    """Sleep for `timeout_s`; whether the parent wants the end."""
    return bool(select.select([0], [], [], max(0.0, timeout_s))[0])


def _perform(program: Program, start_ns: int) -> _Log:
    log = _Log()
    files = [os.open(each.path, os.O_WRONLY) if each.path else -1 for each in program.switches]

    def sleep_until(at: int) -> bool:
        return _ended((start_ns + at - time.monotonic_ns()) / 1e9)

    def write(target: int, text: str) -> None:
        with contextlib.suppress(OSError):  # the thread is gone with its VM
            os.write(files[target], text.encode())

    def begin(pulse: Pulse, over: int) -> None:
        if files[pulse.target] >= 0:
            write(pulse.target, program.switches[pulse.target].away)
            log.away(pulse.target)
            return
        log.away(pulse.target)
        until = start_ns + over
        while time.monotonic_ns() < until:
            pass

    def end(pulse: Pulse, over: int) -> None:
        del over
        if files[pulse.target] >= 0:
            write(pulse.target, program.switches[pulse.target].back)
        log.back(pulse.target)

    try:
        run_windows(program.pulses, begin, end, sleep_until)
        while not _ended(3600):
            pass
    finally:
        for index, each in enumerate(program.switches):
            if each.path:
                write(index, each.back)
                log.back(index)
    return log


def main() -> int:
    """Run the program on standard input; see the module's text for the protocol."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to end
    source = sys.stdin
    program = Program.from_json(source.readline())
    try:
        _bound(program)
    except PermissionError as error:
        print(json.dumps({"error": f"{error.strerror}"}), flush=True)
        return 1
    print(json.dumps({"ready": True}), flush=True)
    line = source.readline()
    if not line:
        return 0
    gc.disable()
    log = _perform(program, int(line))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    answer: dict[str, Any] = {"log": log.entries}
    print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
