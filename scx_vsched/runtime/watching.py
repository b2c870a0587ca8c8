"""What a scheduler at work knows of its vCPUs and has decided about tasks, over its socket.

Three requests besides statistics and tunables: `vcpus`, `decisions` (the last ones, newest first),
and `explain` with a `pid`. Decisions are noted where the scheduler was started with `--explain`.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scx_vsched.bpf.loader import Attached
    from scx_vsched.runtime.reading import Reading
    from scx_vsched.runtime.socket import Command

__all__ = [
    "DECISIONS",
    "Decision",
    "VcpuState",
    "read_decisions",
    "read_vcpus",
    "watch_commands",
    "why_hidden",
]

DECISIONS = 4096
"""About how many tasks the last decision is noted."""

_LAST = 20
_FULL = 1024
_IDLE_CLASS = 1  # TASK_IDLE_CLASS of templates/guest/views.h.j2
_PIDFD_THREAD = os.O_EXCL  # since Linux 6.9: of any thread


@dataclass(frozen=True, slots=True)
class VcpuState:
    """What the scheduler knows of a vCPU, and what runs there.

    `capacity` is of 1024, `latency_us` the mean time for which it is taken away, `gaps` how often
    it was gone while it was busy and `gaps_ms` for how long in all. `pid` is 0 unless a task of the
    scheduler's runs. `why` says why it is hidden, empty unless it is.
    """

    vcpu: int
    online: bool
    capacity: int
    latency_us: int
    state: str
    pid: int
    task: str
    queued: int
    hidden: bool
    why: str
    gaps: int
    gaps_ms: float
    llc: int
    node: int
    stack: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The last decision about a task: counted as `counter`, for `vcpu` while it was on `source`.

    `before` is the counter of the one before, empty without any. Times in ns, CLOCK_MONOTONIC.
    """

    pid: int
    task: str
    at_ns: int
    counter: str
    why: str
    vcpu: int
    source: int
    before: str


def read_vcpus(running: Attached) -> list[VcpuState]:
    """Every vCPU that there may be, in the order of their numbers."""
    count = len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*")))
    copy = running.number("epoch") & 1
    vcpus, activities = running.records("vcpus", count), running.records("activities", count)
    usages = running.records("usages", count) or [{} for _ in range(count)]
    online = [v["capacity"] for v, a in zip(vcpus, activities, strict=True) if a["online"]]
    mean = sum(online) / len(online) if online else _FULL
    tunables = running.tunables()
    found = []
    for number, (vcpu, activity, usage) in enumerate(zip(vcpus, activities, usages, strict=True)):
        hidden, pid = bool(usage.get("hidden")), _pid_on(vcpu, usage)
        stack = vcpu[f"spots[{copy}].stack"]
        found.append(
            VcpuState(
                vcpu=number,
                online=bool(activity["online"]),
                capacity=vcpu["capacity"],
                latency_us=vcpu["latency_us"],
                state=_state(vcpu, activity),
                pid=pid,
                task=_name(pid) if pid else "",
                queued=vcpu["queued"],
                hidden=hidden,
                why=why_hidden(number, stack, vcpu["capacity"], mean, tunables) if hidden else "",
                gaps=activity["gaps"],
                gaps_ms=activity["gaps_ns"] / 1e6,
                llc=vcpu[f"spots[{copy}].llc"],
                node=vcpu[f"spots[{copy}].node"],
                stack=stack,
            )
        )
    return found


def _pid_on(vcpu: Mapping[str, int], usage: Mapping[str, int]) -> int:
    if not vcpu["running"]:
        return 0
    return usage.get("pid") or vcpu["running_pid"]


def _state(vcpu: Mapping[str, int], activity: Mapping[str, int]) -> str:
    if not activity["online"]:
        return "offline"
    if not vcpu["running"]:
        return "idle"
    return "best effort" if vcpu["running_class"] & _IDLE_CLASS else "busy"


def why_hidden(
    vcpu: int, stack: int, capacity: int, mean: float, tunables: Mapping[str, int]
) -> str:
    """In words, as the policy vsched judges; for others only that theirs did."""
    if stack != vcpu:
        return f"shares a hardware thread with vCPU {stack}"
    part = capacity * 100 / mean if mean else 0.0
    bound, until = tunables.get("straggler_in"), tunables.get("straggler_out")
    if bound is None or until is None:
        return "the policy's is_harmful says so"
    text = f"straggler: {part:.0f} % of the mean capacity"
    if part < bound:
        return f"{text}, below {bound} % (straggler_in)"
    return f"{text}, shown again from {until} % on (straggler_out)"


def read_decisions(running: Attached) -> list[Decision]:
    """Those that were noted, newest first."""
    names = [(stat.name, stat.doc) for stat in running.meta.stats]
    found = []
    for raw in running.records("decisions"):
        if not raw["at_ns"] or raw["stat"] >= len(names):
            continue
        counter, why = names[raw["stat"]]
        before = names[raw["before"]][0] if raw["before"] < len(names) else ""
        found.append(
            Decision(
                pid=raw["pid"],
                task="",
                at_ns=raw["at_ns"],
                counter=counter,
                why=why,
                vcpu=raw["vcpu"],
                source=raw["source"],
                before=before,
            )
        )
    return sorted(found, key=lambda decision: -decision.at_ns)


def _notes(running: Attached) -> bool:
    """Whether decisions are noted: it was asked to, and can."""
    try:
        return running.number("nr_decisions") > 0
    except KeyError:
        return False


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "gone"


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    fd = None
    for flags in (_PIDFD_THREAD, 0):
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid, flags)
            break
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _stat(pid: int) -> Sequence[str]:
    """The fields of /proc/PID/stat from the state on; raises UserError without such a task."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise UserError(f"there is no task {pid}") from None


def _allowed(pid: int) -> list[int]:
    try:
        return sorted(os.sched_getaffinity(pid))
    except OSError:
        return []


def explain(running: Attached, pid: int) -> dict[str, Any]:
    """What is known of the task: where it is, the last decision about it, its vCPU, its habits."""
    fields = _stat(pid)
    vcpu = int(fields[36])
    states = read_vcpus(running)
    decision = next((d for d in read_decisions(running) if d.pid == pid), None)
    with _pidfd(pid) as fd:
        record = running.task_record(fd) if fd is not None else None
    habits = {
        name: record[name]
        for name in ("burst_ns", "interval_ns", "moved_ns")
        if record is not None and name in record
    }
    return {
        "pid": pid,
        "task": _name(pid),
        "state": fields[0],
        "vcpu": asdict(states[vcpu]),
        "allowed": _allowed(pid),
        "policy": os.sched_getscheduler(pid),
        "nice": int(fields[16]),
        "ours": record is not None,
        "noted": _notes(running),
        "decision": asdict(decision) if decision else None,
        "now_ns": time.monotonic_ns(),
        "habits": habits,
        "small_us": running.tunables().get("small_us"),
        "hidden": [s.vcpu for s in states if s.hidden],
    }


def watch_commands(reading: Reading) -> dict[str, Command]:
    """What the scheduler's side of the socket answers."""

    def vcpus(_: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [asdict(state) for state in reading.ask(read_vcpus)]

    def decisions(_: Mapping[str, Any]) -> dict[str, Any]:
        found = reading.ask(read_decisions)[:_LAST]
        rows = [{**asdict(decision), "task": _name(decision.pid)} for decision in found]
        noted = reading.ask(_notes)
        return {"now_ns": time.monotonic_ns(), "noted": noted, "decisions": rows}

    def one(arguments: Mapping[str, Any]) -> dict[str, Any]:
        text = str(arguments.get("pid", ""))
        if not text.isdigit():
            raise UserError("explain needs a pid")
        return reading.ask(lambda running: explain(running, int(text)))

    return {"vcpus": vcpus, "decisions": decisions, "explain": one}
