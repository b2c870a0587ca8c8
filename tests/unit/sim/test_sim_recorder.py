"""The recorder of tasks: what it counts and writes, against ftrace and the kernel's own figures."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scx_vsched.backend.compiler import require
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.errors import UserError
from scx_vsched.sim import recorder
from scx_vsched.sim.recorder import Activity, Recording, activity, as_text, record
from scx_vsched.sim.sched_trace import trace_workload

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACING = Path("/sys/kernel/tracing")
SECONDS = 1.0
MS = 1_000_000


def event(at_ms: int, cpu: int, kind: int, **values: int | bytes) -> recorder._Event:
    return recorder._Event(at_ns=at_ms * MS, cpu=cpu, kind=kind, prio=120, next_prio=120, **values)


def switch(at_ms: int, cpu: int, pid: int, to: int, state: int = 1) -> recorder._Event:
    return event(at_ms, cpu, 0, pid=pid, next_pid=to, state=state, comm=b"a", next_comm=b"b")


SAMPLE = Recording(
    0,
    100 * MS,
    (
        switch(10, 0, 0, 7),
        event(15, 0, 1, by=7, pid=8, comm=b"b"),
        switch(15, 1, 0, 8),
        switch(30, 0, 7, 0),
        event(35, 1, 1, by=8, in_irq=1, pid=7, comm=b"b c"),
        switch(36, 0, 0, 7),
        switch(60, 1, 8, 0, state=128 | 16),
    ),
    {},
)


def test_activity_is_the_time_with_a_task() -> None:
    assert activity(SAMPLE) == (Activity(0, 84 * MS, 2), Activity(1, 45 * MS, 1))


def test_the_text_is_what_ftrace_prints_and_replays() -> None:
    lines = as_text(SAMPLE).splitlines()
    assert lines[2] == "<...>-7 [000] d... 0.015000000: sched_waking: comm=b pid=8 prio=120"
    assert lines[5] == "<...>-8 [001] d.h. 0.035000000: sched_waking: comm=b c pid=7 prio=120"
    assert "prev_state=X ==> next_comm=b next_pid=0" in lines[7]
    programs = {program.name: program for program in trace_workload(as_text(SAMPLE), "x").programs}
    assert [(s.op, s.a) for s in programs["b 7"].instructions][:3] == [
        ("compute", 5 * MS),
        ("stamp", 0),
        ("send", 0),
    ]


def test_events_without_room_make_a_record_that_is_refused() -> None:
    found = Recording(SAMPLE.start_ns, SAMPLE.end_ns, SAMPLE.events, {1: 3})
    with pytest.raises(UserError, match="LOST 3 EVENTS on CPU 1"):
        trace_workload(as_text(found), "x")


def test_a_kernel_with_other_tasks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_FIELDS", {"x": ("no_such_member", 0, 8)})
    with pytest.raises(UserError, match="task_struct has no no_such_member"):
        recorder._fields()


def test_every_kind_of_interrupt_has_both_its_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def compile_programs(text: str, fields: object) -> bytes:
        del fields
        texts.append(text)
        return b""

    monkeypatch.setattr(recorder, "compile_programs", compile_programs)
    monkeypatch.setattr(recorder, "_fields", dict)
    recorder._built.__wrapped__()
    (text,) = texts
    for kind in ("irq_handler", "softirq", "hrtimer_expire"):
        for way in ("entry", "exit"):
            assert text.count(f'@section("tp_btf/{kind}_{way}")\ndef on_{kind}_{way}(') == 1
    assert text.count("@section") == 9


# ---- On this kernel ----


@pytest.fixture
def permitted() -> None:
    """Skips where the packages are missing."""
    try:
        require()
    except UserError as error:
        pytest.skip(f"{error.message} ({error.hint})")


@contextlib.contextmanager
def at_work() -> Iterator[list[int]]:
    """Threads that wake and sleep meanwhile, by their ids."""
    stop = threading.Event()

    def nap() -> None:
        while not stop.wait(0.002):
            sum(range(20_000))

    threads = [threading.Thread(target=nap) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield [thread.native_id or 0 for thread in threads]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def recorded() -> Recording:
    try:
        return record(SECONDS)
    except BpfError as error:
        pytest.skip(f"this kernel lets us load no BPF ({error})")


def accounted_ns(thread: int) -> int:
    """How long it has run, as the kernel has it."""
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0])


def seen_ns(found: Recording, thread: int) -> int:
    """How long it ran in the record."""
    total = came = 0
    for e in found.events:
        if e.kind == 0 and e.next_pid == thread:
            came = e.at_ns
        elif e.kind == 0 and e.pid == thread and came:
            total, came = total + e.at_ns - came, 0
    return total


@pytest.mark.bpf
@pytest.mark.usefixtures("permitted")
def test_tasks_run_as_long_as_the_kernel_accounts() -> None:
    recorder._built()
    with at_work() as threads:
        before = [accounted_ns(thread) for thread in threads]
        found = recorded()
        after = [accounted_ns(thread) for thread in threads]
    assert found.lost == {}
    for thread, start, end in zip(threads, before, after, strict=True):
        # read some milliseconds before the record begins and after it ends
        assert seen_ns(found, thread) == pytest.approx(end - start, rel=0.2, abs=20 * MS)
    assert sum(seen_ns(found, thread) for thread in threads) > 20 * MS


@pytest.mark.bpf
@pytest.mark.usefixtures("permitted")
def test_no_switch_is_missed_that_ftrace_sees() -> None:
    recorder._built()
    instance = TRACING / "instances" / f"vsched-{os.getpid()}"
    try:
        instance.mkdir()
    except OSError as error:
        pytest.skip(f"no ftrace: {error}")
    try:
        (instance / "trace_clock").write_text("mono")
        (instance / "buffer_size_kb").write_text("8192")
        enable = instance / "events/sched/sched_switch/enable"
        enable.write_text("1")
        with at_work():
            found = recorded()
        enable.write_text("0")
        text = (instance / "trace").read_text()
    finally:
        instance.rmdir()
    form = re.compile(
        r"\[(\d+)\]\s+\S+\s+(\d+)\.(\d+): sched_switch:.* prev_pid=(\d+) .*next_pid=(\d+)"
    )
    ours = collections.Counter((e.cpu, e.pid, e.next_pid) for e in found.events if e.kind == 0)
    theirs: collections.Counter[tuple[int, ...]] = collections.Counter()
    for match in form.finditer(text):
        cpu, seconds, us, *pids = map(int, match.groups())
        # their times are in microseconds, and taken a moment before or after ours
        if found.start_ns + MS < seconds * 10**9 + us * 1000 < found.end_ns - MS:
            theirs[cpu, *pids] += 1
    assert theirs.total() > 100
    assert theirs <= ours, theirs - ours
