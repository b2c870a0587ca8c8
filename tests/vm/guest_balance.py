"""Guest side of tests/vm/test_numa_balance.py: `run --numa` on four nodes, and on one."""

from __future__ import annotations

import contextlib
import importlib
import json
import mmap
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guest_cli import PATIENCE_S, Command, run

from scx_vsched.errors import UserError
from scx_vsched.numa.client import ask_status
from scx_vsched.numa.saved import SAVED_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

STAY_S = 6.0
RETAKE_S = 8.0
ALL = set(range(8))

# What the children need: they are forked, and a new Python takes seconds.
for name in ("cli.numa", "numa.running", "numa.client", "numa.dry"):
    importlib.import_module(f"scx_vsched.{name}")


def _writer(path: Path, at: int, vcpu: int) -> int:
    """A process that writes to the buffer for ever; it begins on `vcpu` and may go anywhere."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        with path.open("r+b") as file:
            buffer = mmap.mmap(file.fileno(), 0)
        os.sched_setaffinity(0, {vcpu})
        os.sched_setaffinity(0, ALL)
        while True:
            for offset in range(at, len(buffer), 64):
                buffer[offset] = (buffer[offset] + 1) & 0xFF
            # not more than half of a vCPU: both fit on one node with room to spare
            time.sleep(0.005)
    finally:
        os._exit(1)


@contextlib.contextmanager
def _writers(*vcpus: int) -> Iterator[list[int]]:
    """Processes that share one buffer, on these vCPUs at first."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(bytes(1 << 16))
        file.flush()
        pids = [_writer(Path(file.name), number, vcpu) for number, vcpu in enumerate(vcpus)]
        try:
            yield pids
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


class _Stealing:
    """In the place of /proc/stat a file that says that hosts take most of some vCPUs."""

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp()) / "stat"
        self._ticks = dict.fromkeys(ALL, (0, 0))  # idle, stolen
        self._taken: set[int] = set()
        self._at_s = time.monotonic()

    def __enter__(self) -> _Stealing:
        self.pass_time()
        subprocess.run(["mount", "--bind", str(self._path), "/proc/stat"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "/proc/stat"], check=True)

    def take(self, node: int) -> None:
        """From now on."""
        self._taken = {2 * node, 2 * node + 1}

    def pass_time(self) -> None:
        """Let the file say what time it is."""
        now = time.monotonic()
        ticks = int((now - self._at_s) * 100)
        self._at_s += ticks / 100
        for vcpu, (idle, stolen) in self._ticks.items():
            took = ticks * 9 // 10 if vcpu in self._taken else 0
            self._ticks[vcpu] = idle + ticks - took, stolen + took
        lines = [f"cpu{n} 0 0 0 {i} 0 0 0 {s} 0 0" for n, (i, s) in self._ticks.items()]
        self._path.write_text("\n".join(["cpu  0 0 0 0 0 0 0 0 0 0", *lines, ""]))


def _answers(command: Command) -> None:
    """Wait until its socket answers: the file is there before anybody listens."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not command.ended(0.2):
        with contextlib.suppress(UserError):
            ask_status()
            return
    raise TimeoutError(f"no balancer answers: {command.result(1)['err']}")


def _node_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[36]) // 2


def _files() -> dict[str, str]:
    paths = [
        *Path("/proc/irq").glob("*/smp_affinity_list"),
        Path("/sys/devices/virtual/workqueue/cpumask"),
    ]
    return {str(path): path.read_text().strip() for path in sorted(paths)}


def _homes(pids: list[int]) -> set[int]:
    """Where the balancer says that these are bound."""
    groups = [set(group["pids"]) for group in ask_status()["groups"] if group["bound"]]
    found = ask_status()["groups"]
    if not any(set(pids) <= group for group in groups):
        return set()
    return {group["node"] for group in found if group["bound"] and set(pids) <= set(group["pids"])}


def together(guest: Guest, object_path: str) -> dict[str, Any]:
    """Two that share a buffer, from two nodes: when they are on one, and whether they stay."""
    before = _files()
    arguments = ["run", "--object", object_path, "--no-probe", "--numa", "sorted"]
    with _writers(0, 6) as pids, Command(guest, [*arguments, "--numa-period", "1"]) as command:
        _answers(command)
        started = time.monotonic()
        joined_s, homes = None, set()
        while joined_s is None and time.monotonic() - started < PATIENCE_S:
            homes = _homes(pids)
            if len(homes) == 1 and {_node_of(pid) for pid in pids} == homes:
                joined_s = time.monotonic() - started
            time.sleep(0.1)
        seen: list[list[int]] = []
        until = time.monotonic() + STAY_S
        while time.monotonic() < until:
            seen.append([_node_of(pid) for pid in pids])
            time.sleep(0.2)
        status = run(guest, ["numa", "status"])
        document = ask_status()
        command.signal(signal.SIGTERM)
        ended = command.result()
        affinities = [sorted(os.sched_getaffinity(pid)) for pid in pids]
    return {
        "exit": None,
        "joined_s": joined_s,
        "homes": sorted(homes),
        "seen": seen,
        "status": status["out"],
        "document": document,
        "ended": ended,
        "affinities": affinities,
        "restored": _files() == before,
        "left": SAVED_PATH.exists(),
    }


def follow(guest: Guest, object_path: str, policy: str) -> dict[str, Any]:
    """One that computes on a node that its host takes; then the scheduler is killed."""
    before = _files()
    record = guest.directory / f"{policy}.jsonl"
    arguments = ["run", "--object", object_path, "--no-probe", "--numa", policy]
    arguments += ["--numa-period", "1", "--numa-record", str(record)]
    moves: list[dict[str, Any]] = []
    taken = -1
    with _Stealing() as stealing, _writers(0) as pids, Command(guest, arguments) as command:
        _answers(command)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and not any(
            pids[0] in group["pids"] for group in ask_status()["groups"]
        ):
            stealing.pass_time()
            time.sleep(0.2)
        since = 0.0
        while time.monotonic() < deadline and not moves:
            if time.monotonic() - since > RETAKE_S:  # it may have gone elsewhere by itself
                taken, since = _node_of(pids[0]), time.monotonic()
                stealing.take(taken)
            stealing.pass_time()
            moves = [move for move in ask_status()["moves"] if pids[0] in move["pids"]]
            time.sleep(0.1)
        reacted_s = time.monotonic() - since
        for _ in range(10):
            stealing.pass_time()
            time.sleep(0.1)
        document = ask_status()
        changed = {p: t for p, t in _files().items() if before.get(p) != t}
        node = _node_of(pids[0])
        command.signal(signal.SIGKILL)
        command.ended()
        left = json.loads(SAVED_PATH.read_text()) if SAVED_PATH.exists() else None
        restored = run(guest, ["numa", "restore"])
        affinity = sorted(os.sched_getaffinity(pids[0]))
    return {
        "exit": None,
        "taken": taken,
        "moves": moves,
        "reacted_s": reacted_s,
        "node": node,
        "document": document,
        "changed": changed,
        "left": left,
        "restored": restored,
        "same": _files() == before,
        "affinity": affinity,
        "record": record.read_text()[:200_000],
    }


def one_node(guest: Guest, object_path: str) -> dict[str, Any]:
    """What is said where there is one node."""
    return {
        "exit": None,
        "run": run(guest, ["run", "--object", object_path, "--no-probe", "--numa", "sorted"]),
        "plan": run(guest, ["numa", "plan"]),
    }
