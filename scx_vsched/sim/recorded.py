"""Availability as the gap prober recorded it, in a file, and the machine that replays it.

    {"format": "vcpu-availability", "version": 1,
     "vcpus": [{"vcpu": 0, "core": 0, "llc": 0, "node": 0, "start_ns": 17, "end_ns": 5000000017,
                "gaps": [[4000017, 4000000], …]}, …]}

Times are CLOCK_MONOTONIC; a gap is its start and its length. The window of all vCPUs is replayed
again and again.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.sim.machine import HostThread, Machine, PCpu, VCpu

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scx_vsched.topology.model import Topology
    from scx_vsched.topology.records import Availability

__all__ = ["availability_document", "recorded_machine"]

FORMAT, VERSION = "vcpu-availability", 1
_SKEW_NS = 50_000_000  # how far the vCPUs' windows may lie apart
_MAX_NS = 10**13


def availability_document(found: Mapping[int, Availability], topology: Topology) -> str:
    """The text of a file that holds what was `found`, by vCPU."""
    rows: list[dict[str, Any]] = []
    for vcpu, seen in sorted(found.items()):
        place = topology.vcpus[vcpu]
        rows.append(
            {"vcpu": vcpu, "core": place.core, "llc": place.llc, "node": place.node}
            | {"start_ns": seen.start_ns, "end_ns": seen.end_ns}
            | {"gaps": [[gap.start_ns, gap.length_ns] for gap in seen.gaps]}
        )
    return json.dumps({"format": FORMAT, "version": VERSION, "vcpus": rows}) + "\n"


def recorded_machine(text: str, name: str) -> Machine:
    """The machine whose vCPUs come and go as recorded; raises UserError, with `name`, otherwise.

    Each vCPU has a hardware thread of its own: who took it away is not known.
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise UserError(f"{name} is not JSON: {error}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or raw.get("version") != VERSION:
        raise UserError(f"{name} is no record of availability", "`sim record` writes them")
    rows = raw.get("vcpus")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{name} names no vCPUs")
    try:
        tables = [_Row(row, f"{name}, row {number}") for number, row in enumerate(rows)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{name} is damaged: {error!r}") from None
    numbers = [row.vcpu for row in tables]
    missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
    if missing or len(set(numbers)) != len(numbers):
        which = f"vCPU {missing[0]} is missing" if missing else "a vCPU is there twice"
        raise UserError(f"{name} has a hole: {which}", "record all vCPUs in one go")
    start = min(row.start_ns for row in tables)
    late = max(tables, key=lambda row: row.start_ns)
    if late.start_ns - start > _SKEW_NS:
        raise UserError(f"{name} has a hole: vCPU {late.vcpu} was recorded at another time")
    tables.sort(key=lambda row: row.vcpu)
    return Machine(
        name=name,
        vcpus=tuple(VCpu(*row.place) for row in tables),
        pcpus=tuple(PCpu(*row.place) for row in tables),
        threads=tuple(row.thread(pcpu) for pcpu, row in enumerate(tables)),
    )


class _Row:
    """A vCPU of the file, checked."""

    def __init__(self, row: Any, where: str) -> None:
        self.vcpu = int(row["vcpu"])
        self.start_ns, self.end_ns = int(row["start_ns"]), int(row["end_ns"])
        self.place = tuple(int(row.get(key, 0)) for key in ("core", "llc", "node"))
        gaps = [(int(start), int(length)) for start, length in row["gaps"]]
        who = f"{where} (vCPU {self.vcpu})"
        if self.vcpu < 0 or min(self.place) < 0:
            raise UserError(f"{who} has a negative number")
        if not 0 < self.end_ns - self.start_ns <= _MAX_NS:
            raise UserError(f"{who} ends before it starts, or lasts for hours")
        for start, length in gaps:
            if length <= 0:
                raise UserError(f"{who} has a gap of {length} ns at {start}")
            if start < self.start_ns or start + length > self.end_ns:
                raise UserError(f"{who} has a gap at {start} outside of its time")
        for (start, length), (following, _) in pairwise(gaps):
            if following < start + length:
                raise UserError(f"{who} has gaps that overlap or are out of order at {following}")
        self.gaps = gaps
        if sum(length for _, length in gaps) >= self.end_ns - self.start_ns:
            raise UserError(f"{who} never ran")

    def thread(self, pcpu: int) -> HostThread:
        """Its times on and off, beginning behind the first gap: a pattern begins open."""
        if not self.gaps:
            return HostThread(pcpu)
        window = self.end_ns - self.start_ns
        first_start, first_length = self.gaps[0]
        pattern: list[int] = []
        for (before, lasted), (start, length) in pairwise(
            [*self.gaps, (first_start + window, first_length)]
        ):
            opened = start - before - lasted
            if opened or not pattern:
                pattern += [max(opened, 1), length]
            else:
                pattern[-1] += length
        phase = (window - (first_start - self.start_ns) - first_length) % sum(pattern)
        return HostThread(pcpu, gates_ns=tuple(pattern), phase_ns=phase)
