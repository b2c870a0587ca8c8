"""In the guest: a short trace of what ran where, for the timeline."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.lab.guest_measure import measuring
from scx_vsched.lab.guest_sides import Knowledge, at_work
from scx_vsched.vm.lab.guest import phase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.vm.agent import Guest

__all__ = ["CLOCK", "pictures", "trace_name"]

# The event by which the host learns how far its clock is from the guest's.
CLOCK = "clock"

_TRACING = Path("/sys/kernel/tracing")
_EVENTS = ("sched/sched_switch", "sched/sched_migrate_task", "sched/sched_wakeup")
_BUFFER_KB = 16_384
_CLOCKS = 5


def trace_name(arm: str) -> str:
    """The file of the job's directory that holds the trace of `arm`."""
    return f"trace-{arm}"


def pictures(
    guest: Guest,
    *,
    arms: Sequence[Mapping[str, Any]],
    load: Mapping[str, Any],
    learn_s: float,
    seconds: float,
    program: str,
) -> dict[str, Any]:
    """A trace of `seconds` of `load` under each scheduler, in phases called `picture-ARM`."""
    traced = []
    with measuring(guest, program, learn_s + seconds, 0.0) as meter:
        knowledge = Knowledge()
        with knowledge.feeding:
            for arm in arms:
                guest.progress(f"tracing {arm['name']}")
                with (
                    phase(guest, f"picture-{arm['name']}"),
                    at_work(arm["object"], knowledge) as side,
                ):
                    side.tune(arm["tunables"])
                    text: list[str] = []
                    watcher = threading.Thread(
                        target=_watch, args=(guest, learn_s, seconds, text), daemon=True
                    )
                    watcher.start()
                    meter.run_threads(load, 1, learn_s + 2 * seconds + 1, 0.0)
                    watcher.join()
                    side.check()
                (guest.directory / trace_name(arm["name"])).write_text("".join(text))
                traced.append(arm["name"])
    return {"traced": traced}


def _watch(guest: Guest, wait_s: float, seconds: float, text: list[str]) -> None:
    time.sleep(wait_s)
    with _traced():
        for _ in range(_CLOCKS):
            guest.emit(CLOCK, guest_ns=time.monotonic_ns())
            time.sleep(seconds / _CLOCKS)
        (_TRACING / "tracing_on").write_text("0")
        text.append(f"# pid {os.getpid()}\n")
        text.append((_TRACING / "trace").read_text(errors="replace"))


@contextlib.contextmanager
def _traced() -> Iterator[None]:
    """The kernel's log of switches, wake-ups and migrations, on CLOCK_MONOTONIC."""

    def write(name: str, value: str) -> None:
        (_TRACING / name).write_text(value)

    write("trace_clock", "mono")
    write("buffer_size_kb", str(_BUFFER_KB))
    write("trace", "")
    for event in _EVENTS:
        write(f"events/{event}/enable", "1")
    write("tracing_on", "1")
    try:
        yield
    finally:
        for event in _EVENTS:
            write(f"events/{event}/enable", "0")
        write("trace", "")
