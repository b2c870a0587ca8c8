"""Guest side of the tests of `scx_vsched run`: the command in forked children of the agent.

A fork costs nothing, a new Python several seconds under TCG; what runs is the command itself.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from scx_vsched.cli import main
from scx_vsched.runtime.socket import SOCKET_PATH

if TYPE_CHECKING:
    from scx_vsched.vm.agent import Guest

PATIENCE_S = 90.0

# What the children need, imported once before they are forked; typer imports most of what it needs
# only when it reads a command line.
for name in ("cli.app", "cli.run", "cli.vm", "runtime.probing", "runtime.monitor", "runtime.run"):
    importlib.import_module(f"scx_vsched.{name}")
sys.argv = ["scx_vsched", "run", "--help-stats"]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()


_NUMBERS = itertools.count()


class Command:
    """`scx_vsched ARGUMENTS` in a child, its output in files."""

    def __init__(self, guest: Guest, arguments: list[str]) -> None:
        self._guest = guest
        self._files = [guest.directory / f"cli.{next(_NUMBERS)}.{name}" for name in ("out", "err")]
        for path in self._files:
            path.touch()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            self._child(arguments)

    def _child(self, arguments: list[str]) -> None:
        code = 70
        try:
            for number, path in enumerate(self._files, start=1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.argv = ["scx_vsched", *arguments]
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended(0):
            self.signal(signal.SIGKILL)
            self.ended()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ended(self, seconds: float = PATIENCE_S) -> bool:
        """Whether it ends within so many seconds."""
        deadline = time.monotonic() + seconds
        while self._status is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.05)
        return self._status is not None

    def result(self, seconds: float = PATIENCE_S) -> dict[str, Any]:
        """Exit code and output; it is killed where it does not end in time."""
        in_time = self.ended(seconds)
        if not in_time:
            self.signal(signal.SIGKILL)
            self.ended()
        out, err = (path.read_text(errors="replace") for path in self._files)
        return {
            "code": self._status if in_time else None,
            "out": out[-20000:],
            "err": err[-20000:],
            "state": self._guest.scheduler_state(),
            "socket": SOCKET_PATH.exists(),
        }

    def wait_state(self, state: str) -> bool:
        """Whether sched_ext gets into `state` while the command is at work."""
        deadline = time.monotonic() + PATIENCE_S
        while self._guest.scheduler_state() != state:
            if self.ended(0.05) or time.monotonic() > deadline:
                return self._guest.scheduler_state() == state
        return True

    def wait_lines(self, count: int) -> None:
        """Wait until it has written so many lines."""
        deadline = time.monotonic() + PATIENCE_S
        while self._files[0].read_text().count("\n") < count and time.monotonic() < deadline:
            if self.ended(0.05):
                return

    def wait_socket(self) -> bool:
        """Whether the statistics socket appears while the command is at work."""
        deadline = time.monotonic() + PATIENCE_S
        while not SOCKET_PATH.exists() and time.monotonic() < deadline and not self.ended(0.05):
            pass
        return SOCKET_PATH.exists()


def run(guest: Guest, arguments: list[str]) -> dict[str, Any]:
    """Run the command to its end."""
    with Command(guest, arguments) as command:
        return command.result()


def _ask(*lines: str) -> list[Any]:
    """What a client that knows nothing of this project gets for its lines."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(SOCKET_PATH))
        stream = client.makefile("rw")
        answers = []
        for line in lines:
            stream.write(line + "\n")
            stream.flush()
            answers.append(json.loads(stream.readline()))
        return answers


def serve(guest: Guest, object_path: str) -> dict[str, Any]:
    """A scheduler at work: a second one, clients of its socket, the monitor; ended by SIGTERM."""
    with Command(guest, ["run", "--object", object_path]) as first:
        attached, served = first.wait_state("enabled"), first.wait_socket()
        mode = SOCKET_PATH.stat().st_mode & 0o777 if served else 0
        second = run(guest, ["run", "--object", object_path])
        answers = _ask(
            '{"req":"stats_meta"}',
            "not JSON",
            '{"req":"stats","args":{"target":"top"}}',
            '{"req":"stats","args":{"target":"top"}}',
        )
        with Command(guest, ["run", "--monitor", "0.2", "--stats-json"]) as monitor:
            monitor.wait_lines(3)
            monitor.signal(signal.SIGINT)
            monitored = monitor.result()
        first.signal(signal.SIGTERM)
        return {
            "attached": attached,
            "mode": mode,
            "second": second,
            "answers": answers,
            "monitor": monitored,
            "first": first.result(),
        }


def killed(guest: Guest, object_path: str) -> dict[str, Any]:
    """A scheduler ended by SIGKILL, and the next one after it."""
    with Command(guest, ["run", "--object", object_path]) as first:
        attached, served = first.wait_state("enabled"), first.wait_socket()
        first.signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while guest.scheduler_state() != "disabled" and time.monotonic() < deadline:
        time.sleep(0.05)
    return {
        "attached": attached and served,
        "after": guest.scheduler_state(),
        "left": SOCKET_PATH.exists(),
        "next": run(guest, ["run", "--object", object_path, "--duration", "1"]),
    }


def sysrq(guest: Guest, object_path: str) -> dict[str, Any]:
    """A scheduler that somebody at the console ends by SysRq-S."""
    with Command(guest, ["run", "--object", object_path]) as command:
        command.wait_state("enabled")
        command.wait_socket()
        Path("/proc/sysrq-trigger").write_text("S")
        return command.result()
