"""Shows the statistics of a scheduler that is already running (`run --monitor`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from scx_vsched.runtime.socket import SOCKET_PATH, StatsClient
from scx_vsched.runtime.stats import Meter, Sample, json_line, text_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["monitor"]


def monitor(interval_s: float, *, as_json: bool = False, path: Path = SOCKET_PATH) -> None:
    """Print a line every `interval_s` until the scheduler ends; raises UserError without one."""
    with StatsClient(path) as client:
        counters = _counters(client.request("stats_meta"))
        meter = Meter()
        meter.start()
        try:
            first = client.request("stats")
            meter.sample({name: first[name] for name in counters})
            while True:
                time.sleep(interval_s)
                values = client.request("stats")
                sample = meter.sample({name: values[name] for name in counters})
                _show(sample, as_json=as_json)
        except EOFError:
            return


def _counters(meta: dict[str, Any]) -> list[str]:
    """Names of the integers in the structure that is marked as the top one."""
    for structure in meta.values():
        if "top" in structure:
            return [name for name, of in structure["fields"].items() if of.get("datum") == "u64"]
    return []


def _show(sample: Sample, *, as_json: bool) -> None:
    print(json_line("interval", sample) if as_json else text_line(sample), flush=True)
