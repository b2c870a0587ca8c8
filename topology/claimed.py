"""The graph of what the guest is told, before anything is measured."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin, Snapshot
from scx_vsched.topology.sysfs import read_claims

__all__ = ["claimed_graph", "snapshot_here"]

_CLOCKSOURCE = "devices/system/clocksource/clocksource0/current_clocksource"


def snapshot_here(origin: Origin, sys: Path = Path("/sys")) -> Snapshot:
    """Now, on this machine."""
    try:
        clocksource = (sys / _CLOCKSOURCE).read_text(encoding="ascii").strip()
    except OSError:
        clocksource = ""
    return Snapshot(
        origin,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        monotonic_ns=time.monotonic_ns(),
        kernel=os.uname().release,
        clocksource=clocksource,
    )


def claimed_graph(sys: Path = Path("/sys")) -> VCpuGraph:
    """The graph that sysfs below `sys` claims: domains, and nothing measured.

    Raises UserError when sysfs describes no CPU.
    """
    return VCpuGraph(read_claims(sys).domains, snapshot=snapshot_here(Origin.CLAIMED, sys))
