"""The host's side while a VM of the lab runs: it shapes, and notes what the vCPUs get from when on.

Marks are readings of the vCPU threads' counters at moments that the guest names. Its events are
seen some tens of milliseconds late, at the beginning of a measurement as at its end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.lab.guest_measure import MARK
from scx_vsched.lab.guest_picture import CLOCK
from scx_vsched.vm.lab.accounting import read_schedstat
from scx_vsched.vm.lab.guest import BEGIN
from scx_vsched.vm.lab.session import Session

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from scx_vsched.vm.lab.placing import Plan

__all__ = ["LabSession", "Mark"]


@dataclass(frozen=True, slots=True)
class Mark:
    """When (CLOCK_MONOTONIC), and how long each vCPU's thread had run by then."""

    at_ns: int
    run_ns: Mapping[int, int]


class LabSession(Session):
    """Phases of one VM, marks by label, and when each phase began.

    `clocks` are (guest's clock, the host's at the last look before, the host's then) in ns.
    """

    def __init__(self, plans: Mapping[str, Plan], untraced: Collection[str] = ()) -> None:
        super().__init__(plans, untraced)
        self.marks: dict[str, Mark] = {}
        self.began_ns: dict[str, int] = {}
        self.clocks: list[tuple[int, int, int]] = []
        self._looked_ns = 0
        self._looks_ns = 0

    def on_poll(self, directory: Path) -> None:
        """As the base class; notes when it was."""
        super().on_poll(directory)
        self._looked_ns, self._looks_ns = self._looks_ns, time.monotonic_ns()

    def on_event(self, event: dict[str, Any]) -> None:
        """Besides phases: marks and clocks."""
        super().on_event(event)
        now = time.monotonic_ns()
        if event["event"] == MARK:
            self.marks[event["label"]] = Mark(now, self._ran())
        elif event["event"] == CLOCK:
            self.clocks.append((event["guest_ns"], self._looked_ns, now))
        elif event["event"] == BEGIN:
            self.began_ns[event["phase"]] = now

    def _ran(self) -> dict[int, int]:
        emulator, now = self._emulator, time.monotonic_ns()
        if emulator is None:
            return {}
        read = {
            vcpu: read_schedstat(emulator.pid, tid, now) for vcpu, tid in emulator.threads.items()
        }
        return {vcpu: stat.run_ns for vcpu, stat in read.items() if stat is not None}

    def used(self, before: str, after: str) -> tuple[float, ...] | None:
        """Host CPUs that each vCPU used between two marks; None where one was not seen."""
        first, last = self.marks.get(before), self.marks.get(after)
        if first is None or last is None or not first.run_ns or not last.run_ns:
            return None
        wall = last.at_ns - first.at_ns
        if wall <= 0:
            return None
        return tuple((ran - first.run_ns.get(vcpu, 0)) / wall for vcpu, ran in last.run_ns.items())
