"""Guest side of the tests of `scx_vsched tune`: a scheduler at work, and the command beside it."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from guest_cli import Command

from scx_vsched.cli import tune as _tune  # noqa: F401 - imported before children are forked

if TYPE_CHECKING:
    from scx_vsched.vm.agent import Guest


def tune(guest: Guest, object_path: str, commands: list[list[str]]) -> dict[str, Any]:
    """Run the object, and each of the commands meanwhile, with a busy task beside them."""
    spinner = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        arguments = ["run", "--object", object_path, "--no-probe", "--stats-json"]
        with Command(guest, arguments) as scheduler:
            assert scheduler.wait_socket()
            results = []
            for command in commands:
                with Command(guest, command) as running:
                    results.append(running.result())
                time.sleep(2)
            scheduler.signal(signal.SIGINT)
            return {"commands": results, "run": scheduler.result()}
    finally:
        spinner.kill()
        spinner.wait()
