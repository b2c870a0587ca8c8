"""Records what this machine's tasks do, by BPF programs in Python: `sim record FILE.txt`.

The programs are `scx_vsched/backend/switches.py`, compiled by pythonbpf; the record is the text
that ftrace would print, which `sched_trace` reads. Times are CLOCK_MONOTONIC's.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.resources
import mmap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.backend.compiler import compile_programs
from scx_vsched.bpf.kernel import kernel_btf
from scx_vsched.bpf.object import Object
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Activity", "Recording", "activity", "as_text", "record"]

_POLL_S = 0.02
_BUSY, _DISCARDED = 1 << 31, 1 << 30  # include/uapi/linux/bpf.h, BPF_RINGBUF_*_BIT
_HEADER = 8
_SWITCH, _WAKING, _WAKEUP_NEW = range(3)
_NAMES = ("sched_switch", "sched_waking", "sched_wakeup_new")
# include/linux/sched.h, TASK_REPORT and TASK_DEAD, in the tracepoint's letters
_STATES = ((1, "S"), (2, "D"), (4, "T"), (8, "t"), (16, "X"), (32, "Z"), (64, "P"), (128, "X"))
# members of a task that the programs read: what they call them, where in it, bytes
_FIELDS = {
    "pid": ("pid", 0, 4),
    "prio": ("prio", 0, 4),
    "exit_state": ("exit_state", 0, 4),
    "comm0": ("comm", 0, 8),
    "comm1": ("comm", 8, 8),
}


# kinds of interrupts whose programs are those of irq_handler by another name
_TWINS = {"irq_handler": ("softirq", "hrtimer_expire")}
_NUMBERS = ("kind", "cpu", "by", "in_irq", "preempted", "exit_state")


class _Event(ctypes.Structure):
    """event_t of switches.py."""

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("at_ns", "number", "state")),
        ("comm", ctypes.c_char * 16),
        ("next_comm", ctypes.c_char * 16),
        *((name, ctypes.c_uint32) for name in _NUMBERS),
        *((name, ctypes.c_int32) for name in ("pid", "prio", "next_pid", "next_prio")),
    )


@dataclass(frozen=True, slots=True)
class Recording:
    """Events in the order of time, and how many of each vCPU found no room."""

    start_ns: int
    end_ns: int
    events: tuple[Any, ...]
    lost: dict[int, int]


@dataclass(frozen=True, slots=True)
class Activity:
    """Of a vCPU in the time recorded: how long it ran tasks, and how many it began to run."""

    cpu: int
    busy_ns: int
    tasks_run: int


def record(seconds: float) -> Recording:
    """Watches all vCPUs for so long; raises UserError where the kernel or a package does not let.

    BpfError, which is one, says what the kernel refused.
    """
    with Object(_built()) as loaded:
        loaded.load()
        ring = _Ring(loaded.map("events").fd, loaded.map("events").max_entries)
        links = []
        try:
            links = [program.attach() for program in loaded.programs.values()]
            start_ns = time.monotonic_ns()
            while time.monotonic_ns() < start_ns + seconds * 1e9:
                time.sleep(_POLL_S)
                ring.drain()
            end_ns = time.monotonic_ns()
        finally:
            for link in links:
                link.close()
        ring.drain()
        events = [_Event.from_buffer_copy(raw) for raw in ring.records]
        lost = _lost(events, loaded)
        ring.close()
    events = [event for event in events if start_ns <= event.at_ns <= end_ns]
    events.sort(key=lambda event: (event.at_ns, event.cpu, event.number))
    return Recording(start_ns, end_ns, tuple(events), lost)


@functools.cache
def _built() -> bytes:
    source = importlib.resources.files("scx_vsched.backend") / "switches.py"
    text = "\n\n\n".join(_with_twins(source.read_text(encoding="utf-8").split("\n\n\n")))
    return compile_programs(text, _fields())


def _with_twins(programs: Iterable[str]) -> Iterator[str]:
    """Each program, and the like of it for what else happens so."""
    for program in programs:
        yield program
        for name, others in _TWINS.items():
            if f"/{name}_" in program:
                yield from (program.replace(name, other) for other in others)


def _fields() -> dict[str, tuple[int, int]]:
    offsets = kernel_btf().offsets("task_struct")
    missing = {member for member, _, _ in _FIELDS.values()} - offsets.keys()
    if missing:
        raise UserError(
            f"this kernel's task_struct has no {', '.join(sorted(missing))}",
            "record with `perf sched record` instead",
        )
    return {name: (offsets[of] + more, size) for name, (of, more, size) in _FIELDS.items()}


class _Ring:
    """A BPF ring buffer as user space sees it: kernel/bpf/ringbuf.c."""

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        self._consumer = mmap.mmap(fd, mmap.PAGESIZE)
        self._data = mmap.mmap(
            fd, mmap.PAGESIZE + 2 * size, prot=mmap.PROT_READ, offset=mmap.PAGESIZE
        )
        self.records: list[bytes] = []

    def drain(self) -> None:
        """Takes out what is complete."""
        consumed = int.from_bytes(self._consumer[:8], "little")
        produced = int.from_bytes(self._data[:8], "little")
        while consumed < produced:
            at = mmap.PAGESIZE + consumed % self._size
            header = int.from_bytes(self._data[at : at + 4], "little")
            if header & _BUSY:
                break
            length = header & ~(_BUSY | _DISCARDED)
            if not header & _DISCARDED:
                # the pages are mapped twice in a row, so that no record is in two pieces
                self.records.append(self._data[at + _HEADER : at + _HEADER + length])
            consumed += _HEADER + -(-length // 8) * 8
        self._consumer[:8] = consumed.to_bytes(8, "little")

    def close(self) -> None:
        self._consumer.close()
        self._data.close()


def _lost(events: Iterable[Any], loaded: Object) -> dict[int, int]:
    """Events without room, by vCPU: each numbers its own."""
    seen: dict[int, int] = {}
    for event in events:
        seen[event.cpu] = seen.get(event.cpu, 0) + 1
    numbers = loaded.map("numbers")
    made = {cpu: int.from_bytes(numbers.read(cpu), "little") for cpu in seen}
    return {cpu: made[cpu] - seen[cpu] for cpu in seen if made[cpu] > seen[cpu]}


def activity(recording: Recording) -> tuple[Activity, ...]:
    """What each vCPU did, the lowest first; those on which nothing changed are left out."""
    found = []
    switches = [event for event in recording.events if event.kind == _SWITCH]
    for cpu in sorted({event.cpu for event in switches}):
        own = [event for event in switches if event.cpu == cpu]
        since, ran, busy_ns = recording.start_ns, own[0].pid, 0
        for event in own:
            busy_ns += event.at_ns - since if ran else 0
            since, ran = event.at_ns, event.next_pid
        busy_ns += recording.end_ns - since if ran else 0
        found.append(Activity(cpu, busy_ns, sum(event.next_pid != 0 for event in own)))
    return tuple(found)


def as_text(recording: Recording) -> str:
    """The record as ftrace prints it; holes are told as perf does."""
    lines = [f"# {len(recording.events)} events, recorded by scx_vsched"]
    lines += [f"# LOST {count} EVENTS on CPU {cpu}" for cpu, count in recording.lost.items()]
    running: dict[int, int] = {}
    for event in recording.events:
        lines.append(_line(event, running.get(event.cpu, event.by)))
        if event.kind == _SWITCH:
            running[event.cpu] = event.next_pid
    return "\n".join(lines) + "\n"


def _line(event: Any, ran: int) -> str:
    by = event.pid if event.kind == _SWITCH else ran
    seconds, rest_ns = divmod(event.at_ns, 10**9)
    head = f"<...>-{by} [{event.cpu:03d}] d.{'h' if event.in_irq else '.'}. {seconds}.{rest_ns:09d}"
    if event.kind == _SWITCH:
        what = (
            f"prev_comm={_comm(event.comm)} prev_pid={event.pid} prev_prio={event.prio} "
            f"prev_state={_state(event)} ==> next_comm={_comm(event.next_comm)} "
            f"next_pid={event.next_pid} next_prio={event.next_prio}"
        )
    else:
        what = f"comm={_comm(event.comm)} pid={event.pid} prio={event.prio}"
    return f"{head}: {_NAMES[event.kind]}: {what}"


def _comm(raw: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in raw.decode("utf-8", "replace"))


def _state(event: Any) -> str:
    if event.preempted:
        return "R+"
    bits = event.state | event.exit_state
    letters = dict.fromkeys(letter for bit, letter in _STATES if bits & bit)
    return "|".join(letters) or ("D" if bits else "R")
