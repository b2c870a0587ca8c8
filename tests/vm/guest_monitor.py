"""Guest side of tests/vm/test_monitor.py: what `monitor` says of a scheduler under load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import prometheus_client  # noqa: F401 - slow to import, and slower under load
import rich.table  # noqa: F401 - likewise
from guest_feed import SPIN, _running
from typer.testing import CliRunner

from scx_vsched.cli.monitor import app
from scx_vsched.runtime.metrics import read_all, serve
from scx_vsched.runtime.socket import SOCKET_PATH

if TYPE_CHECKING:
    from scx_vsched.vm.agent import Guest

READY_S = 60.0
PORT = 9911
POLITE = ["nice", "-n", "19"]
NAPS = ["sh", "-c", "while :; do sleep 0.01; done"]


def _said(*arguments: str) -> str:
    """What the command prints; in this process, for Python starts slowly in a guest."""
    result = CliRunner().invoke(app, list(arguments))
    return result.output if result.exception is None else str(result.exception)


def _served() -> str:
    server, _ = serve(lambda: read_all(SOCKET_PATH), f"127.0.0.1:{PORT}")
    try:
        url = f"http://127.0.0.1:{PORT}/metrics"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return str(answer.read().decode())
    finally:
        server.shutdown()


def watch(guest: Guest, object_path: str) -> dict[str, Any]:
    """Everything that `monitor` shows, while two tasks spin and others nap."""
    del guest
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    options = ["--object", object_path, "--explain", "--no-probe", "--stats-json"]
    run = [sys.executable, "-m", "scx_vsched", "run", *options]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL) as scheduler:
        try:
            deadline = time.monotonic() + READY_S
            while not SOCKET_PATH.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            with _running([*POLITE, *SPIN], [*POLITE, *SPIN], NAPS, NAPS) as (spinner, pinned, *_):
                os.sched_setaffinity(pinned.pid, {0})
                time.sleep(1)
                return {
                    "json": json.loads(_said("--once", "--json", "--interval", "1")),
                    "text": _said("--once"),
                    "spinner": json.loads(_said("--explain", str(spinner.pid), "--json")),
                    "pinned": _said("--explain", str(pinned.pid)),
                    "nobody": _said("--explain", "4000000"),
                    "openmetrics": _said("--openmetrics"),
                    "served": _served(),
                    "exit": None,
                }
        finally:
            scheduler.terminate()
