"""Boots a job in a VM through virtme-ng and brings its events back.

The guest's root is the host's file system, read-only over 9p; a directory of the job's own is
writable on both sides and carries the job in and the events out, so nothing is scraped from a
console. A VM that ends without saying so is lost, which is neither success nor failure of what ran
in it: it is booted once more and then reported as its own error.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.vm import accelerator as accel
from scx_vsched.vm.job import END, HELLO, STEP, Job, StepResult, decode
from scx_vsched.vm.machine import (
    Shape,
    machine_process,
    needed_below,
    standalone_argv,
    tune,
    virtme_argv,
)
from scx_vsched.vm.monitor import ask, monitor_options, monitor_socket
from scx_vsched.vm.paths import cache_dir
from scx_vsched.vm.qemu import find_qemu, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scx_vsched.vm.kernels import Kernel
    from scx_vsched.vm.monitor import Emulator
    from scx_vsched.vm.qemu import Qemu

__all__ = ["Outcome", "VmLost", "VmNotBooted", "VmTimeout", "run_job"]

_BOOT_S = 120.0
_BOOTS = 2  # of a VM that never ran its job: nothing of that is lost
_POWER_OFF_S = 10.0
_POLL_S = 0.05
_TMP = "/tmp"  # noqa: S108 - the guest's is another
_KEPT_RUNS = 40
# What a console says when a kernel or its emulator goes down.
_SIGNS = ("Kernel panic", "Oops", "BUG:", "qemu-system", "Out of memory")


class VmLost(UserError):  # noqa: N818 - what happened, not an error in it
    """The VM went away before its job ended; says nothing about what ran in it."""


class VmNotBooted(VmLost):
    """The kernel never got as far as running the job."""


class VmTimeout(UserError):  # noqa: N818 - likewise
    """The job did not end in the time given to it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A job that ran to its end.

    `facts` is what the guest said about itself (release, clocksource, …), `scheduler` the state of
    sched_ext at the very end, `directory` holds the logs, `lost` counts VMs lost before this one.
    """

    kernel: Kernel
    accelerator: accel.Accelerator
    shape: Shape
    facts: dict[str, Any]
    steps: tuple[StepResult, ...]
    scheduler: str
    directory: Path
    seconds: float
    lost: int

    @property
    def where(self) -> str:
        """Kernel, accelerator, vCPUs and clocksource, for every report."""
        return (
            f"Linux {self.facts['release']}, {self.accelerator.name}, "
            f"vCPUs {self.shape.cpus}, clocksource {self.facts['clocksource']}"
        )


def run_job(
    kernel: Kernel,
    job: Job,
    *,
    shape: Shape | None = None,
    force_accelerator: str | None = None,
    timeout_s: float = 300.0,
    boot_s: float = _BOOT_S,
    files: Mapping[str, Path] | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    on_poll: Callable[[Path], None] | None = None,
    on_machine: Callable[[Emulator], None] | None = None,
    attempts: int = 2,
) -> Outcome:
    """Run `job` in a VM on `kernel`.

    `files` are copied into the job's directory under their names. `on_event` gets each event as it
    arrives; `on_poll` gets the job's directory some times a second and once more at the end;
    `on_machine` gets the emulator once its vCPU threads run.

    `timeout_s` bounds the whole, `boot_s` the time until the job's first sign of life. A lost VM
    is tried again up to `attempts` times in all, one that did not boot twice; a time-out is not.

    Raises:
        VmLost, VmNotBooted: every attempt was lost.
        VmTimeout: the job did not end in time.
        UserError: QEMU or virtme-ng are missing or too old, or the accelerator is unusable.
    """
    qemu = find_qemu()
    chosen = accel.choose(qemu, kernel.image, force_accelerator)
    require(qemu, chosen.name)
    shape = shape or Shape()
    job = replace(job, visible=(*job.visible, *(str(path) for path in needed_below(_TMP))))
    lost = 0
    while True:
        directory = _job_directory(kernel.release)
        (directory / "job.json").write_text(job.to_json())
        for name, path in (files or {}).items():
            shutil.copyfile(path, directory / name)
        run = _Run(
            qemu=qemu,
            kernel=kernel,
            shape=shape,
            accelerator=chosen,
            directory=directory,
            timeout_s=timeout_s,
            boot_s=boot_s,
            on_event=on_event or (lambda _: None),
            on_poll=on_poll or (lambda _: None),
            on_machine=on_machine or (lambda _: None),
        )
        try:
            return replace(run.follow(), lost=lost)
        except VmLost as error:
            lost += 1
            if lost >= (max(attempts, _BOOTS) if isinstance(error, VmNotBooted) else attempts):
                times = f" (tried {lost} times)" if lost > 1 else ""
                raise type(error)(error.message + times, error.hint) from None
            if on_event is not None:
                on_event({"event": "lost", "text": error.message})


def _job_directory(release: str) -> Path:
    base = cache_dir() / "vm"
    base.mkdir(parents=True, exist_ok=True)
    # Old runs go, newest kept; an hour spares those that still run.
    runs = sorted(base.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in runs[:-_KEPT_RUNS]:
        if time.time() - old.stat().st_mtime > 3600:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{time.strftime('%m%d-%H%M%S')}-{release}-", dir=base))


class _Run:
    """One boot: the process, its log and its events."""

    def __init__(
        self,
        *,
        qemu: Qemu,
        kernel: Kernel,
        shape: Shape,
        accelerator: accel.Accelerator,
        directory: Path,
        timeout_s: float,
        boot_s: float,
        on_event: Callable[[dict[str, Any]], None],
        on_poll: Callable[[Path], None],
        on_machine: Callable[[Emulator], None],
    ) -> None:
        self.qemu, self.kernel, self.shape, self.accelerator = qemu, kernel, shape, accelerator
        self.directory, self.timeout_s, self.boot_s = directory, timeout_s, boot_s
        self._on_event, self._on_poll, self._on_machine = on_event, on_poll, on_machine
        self.log = directory / "console.log"
        self._facts: dict[str, Any] | None = None
        self._steps: list[StepResult] = []
        self._final: str | None = None

    def follow(self) -> Outcome:
        """Boot, pass events on until the end, and power off."""
        started = time.monotonic()
        limit_s = self.timeout_s + _POWER_OFF_S
        with (
            monitor_socket() as monitor,
            machine_process(self._argv(monitor), self.log, limit_s) as process,
        ):
            emulator: Emulator | None = None
            for event in self._events(process, started):
                if emulator is None and (emulator := ask(monitor)) is not None:
                    tune(emulator, self.shape.pin)
                    self._on_machine(emulator)
                self._on_poll(self.directory)
                if event is not None:
                    self._take(event)
                    self._on_event(event)
            self._on_poll(self.directory)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POWER_OFF_S)
        if self._final is None:  # asked here, where the log is complete
            raise self._lost()
        assert self._facts is not None  # noqa: S101 - END comes after HELLO
        return Outcome(
            self.kernel,
            self.accelerator,
            self.shape,
            self._facts,
            tuple(self._steps),
            self._final,
            self.directory,
            time.monotonic() - started,
            lost=0,
        )

    def _argv(self, monitor: Path) -> list[str]:
        kernel, shape, name = self.kernel, self.shape, self.accelerator.name
        if kernel.standalone:
            argv = standalone_argv(self.qemu.path, kernel, shape, name, self.directory)
        else:
            argv = virtme_argv(kernel, shape, name, self.directory)
        return [*argv, *monitor_options(monitor)]

    def _events(
        self, process: subprocess.Popen[bytes], started: float
    ) -> Iterator[dict[str, Any] | None]:
        """Events as they come, None while there are none, until END or the end of the process."""
        path = self.directory / "events.jsonl"
        path.touch()
        rest = ""
        with path.open(encoding="utf-8", errors="replace") as file:
            while self._final is None:
                ended = process.poll() is not None
                *lines, rest = (rest + file.read()).split("\n")
                for line in lines:
                    event = decode(line)
                    if event is not None:
                        yield event
                if ended and not lines:
                    return
                self._check_time(time.monotonic() - started)
                if not lines:
                    yield None
                    time.sleep(_POLL_S)

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == HELLO:
            self._facts = event
        elif event["event"] == STEP:
            fields = (event[key] for key in ("name", "value", "error", "traceback", "seconds"))
            self._steps.append(StepResult(*fields))
        elif event["event"] == END:
            self._final = str(event["scheduler"])

    def _check_time(self, elapsed: float) -> None:
        if self._facts is None and elapsed > self.boot_s:
            raise VmNotBooted(
                f"Linux {self.kernel.release} did not boot within {self.boot_s:.0f} s under "
                f"{self.accelerator.name}{self._complaint()}",
                f"its console is in {self.log}",
            )
        if elapsed > self.timeout_s:
            raise VmTimeout(
                f"the VM on Linux {self.kernel.release} was stopped: no end after "
                f"{self.timeout_s:.0f} s ({self._last_step()}){self._complaint()}",
                f"its console is in {self.log}",
            )

    def _lost(self) -> VmLost:
        hint = f"its console is in {self.log}"
        if self._facts is None:
            return VmNotBooted(
                f"Linux {self.kernel.release} ({self.kernel.image}) did not boot under "
                f"{self.accelerator.name}{self._complaint(last=True)}",
                hint,
            )
        return VmLost(
            f"the VM on Linux {self.kernel.release} ({self.accelerator.name}) went away before its "
            f"job ended ({self._last_step()}){self._complaint()}",
            hint,
        )

    def _last_step(self) -> str:
        return f"after {self._steps[-1].name}" if self._steps else "in its first step"

    def _complaint(self, last: bool = False) -> str:
        """What the console says went wrong, as the tail of a message."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        for line in lines:
            if any(sign in line for sign in _SIGNS):
                return f": {line.strip()}"
        texts = [line.strip() for line in lines if line.strip()]
        return f": {texts[-1]}" if last and texts else ""
