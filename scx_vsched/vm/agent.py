"""The guest's side: `python -m scx_vsched.vm.agent JOB.json` prepares the guest and runs the steps.

Python takes seconds to start under TCG, so one agent does everything of a boot. It appends events
to `events.jsonl` beside the job; the last one says `end`, and a file without it means that the VM
was lost.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from scx_vsched.vm.job import END, HELLO, PROGRESS, STEP, Job, Step

__all__ = ["Guest", "main"]

_SCHED_EXT = Path("/sys/kernel/sched_ext")
_TMP = "/tmp"  # noqa: S108 - the guest's own, for its programs


class Guest:
    """What a step's function gets as its first argument."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._events = (directory / "events.jsonl").open("a", encoding="utf-8")

    def emit(self, event: str, **fields: Any) -> None:
        """Append an event and push it out of the guest at once."""
        self._events.write(json.dumps({"event": event, **fields}) + "\n")
        self._events.flush()

    def progress(self, text: str, **fields: Any) -> None:
        """Tell the host, and whoever watches, what is going on; `fields` is for programs."""
        self.emit(PROGRESS, text=text, **fields)

    @staticmethod
    def scheduler_state() -> str:
        """`enabled`, `disabled`, … of sched_ext, or `absent`."""
        try:
            return (_SCHED_EXT / "state").read_text().strip()
        except OSError:
            return "absent"


def _mounted() -> set[str]:
    return {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}


def _mount(kind: str, target: str, options: str = "") -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", kind, *(("-o", options) if options else ()), kind, target]
    subprocess.run(argv, check=True, capture_output=True)


def _private_tmp(visible: tuple[str, ...]) -> None:
    """An empty /tmp with `visible` as the host has it."""
    root = Path("/run/host")
    root.mkdir()
    subprocess.run(["mount", "--bind", "/", str(root)], check=True)
    _mount("tmpfs", _TMP, "mode=1777")
    for path in visible:
        Path(path).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", f"{root}{path}", path], check=True)


def prepare(job: Job) -> None:
    """Mount what schedulers, measurements and programs need."""
    have = _mounted()
    for kind, target in (
        ("cgroup2", "/sys/fs/cgroup"),
        ("bpf", "/sys/fs/bpf"),
        ("tracefs", "/sys/kernel/tracing"),
        ("debugfs", "/sys/kernel/debug"),
    ):
        if target not in have:
            with contextlib.suppress(subprocess.CalledProcessError, OSError):
                _mount(kind, target)
    # The root is read-only; programs expect to write temporary files.
    if _TMP not in have and not os.access(_TMP, os.W_OK):
        _private_tmp(job.visible)
    with contextlib.suppress(OSError):
        Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+cpu +cpuset")
    sys.path[:0] = job.path


def facts() -> dict[str, Any]:
    """What the guest is: kernel, clock, CPUs, sched_ext."""
    clock = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    cpus = Path("/sys/devices/system/cpu")
    return {
        "release": platform.release(),
        "clocksource": clock.read_text().strip(),
        "online": (cpus / "online").read_text().strip(),
        "possible": (cpus / "possible").read_text().strip(),
        "sched_ext": Guest.scheduler_state(),
        "uptime_s": float(Path("/proc/uptime").read_text().split()[0]),
    }


def run_step(guest: Guest, step: Step) -> bool:
    """Run one step and report its outcome; whether it returned."""
    started = time.monotonic()
    fields: dict[str, Any] = {"name": step.title, "value": None, "error": "", "traceback": ""}
    try:
        module, _, function = step.task.partition(":")
        fields["value"] = getattr(importlib.import_module(module), function)(guest, **step.args)
    except Exception as error:  # the host judges it, and the job goes on
        fields["error"] = str(error) or type(error).__name__
        fields["traceback"] = traceback.format_exc()
    guest.emit(STEP, seconds=round(time.monotonic() - started, 3), **fields)
    return not fields["error"]


def main(argv: list[str]) -> int:
    """Run the job in the file `argv[0]`; 0 when every step ran, whatever the steps found."""
    path = Path(argv[0])
    job = Job.from_json(path.read_text())
    guest = Guest(path.parent)
    prepare(job)
    guest.emit(HELLO, **facts())
    for step in job.steps:
        if not run_step(guest, step) and step.required:
            break
    guest.emit(END, scheduler=Guest.scheduler_state())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
