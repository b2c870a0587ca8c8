"""Shapes a VM in phases that the guest asks for, and keeps what the host saw in each.

Its methods are the callbacks of `vm.boot.run_job`; the other end is guest.py.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.guest import BEGIN, FINISH, go_file
from scx_vsched.vm.lab.shaping import Shaping

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from scx_vsched.vm.lab.accounting import Truth
    from scx_vsched.vm.lab.placing import Plan
    from scx_vsched.vm.monitor import Emulator

__all__ = ["PhaseTruth", "Session"]


@dataclass(frozen=True, slots=True)
class PhaseTruth:
    """What the host saw in a phase.

    `stages` are the plan's stages that were reached: (number, truth by vCPU). `changed` are the
    profile's changes as (planned, done) in seconds; `inexact` says why single absences are not
    known (empty: they are); `load` is the host's load average at the end.
    """

    plan: Plan
    stages: tuple[tuple[int, tuple[Truth, ...]], ...]
    changed: tuple[tuple[float, float], ...]
    inexact: str
    load: float


class Session:
    """Phases of one VM by name; `results` has those that are over."""

    def __init__(self, plans: Mapping[str, Plan], untraced: Collection[str] = ()) -> None:
        """Phases in `untraced` may be of any length; single absences are not known of them."""
        self._plans = dict(plans)
        self._untraced = frozenset(untraced)
        self._emulator: Emulator | None = None
        self._directory: Path | None = None
        self._shaping: Shaping | None = None
        self.results: dict[str, PhaseTruth] = {}

    def on_machine(self, emulator: Emulator) -> None:
        """The emulator runs."""
        self._emulator = emulator

    def on_poll(self, directory: Path) -> None:
        """The job's directory, in which the guest waits for a word."""
        self._directory = directory

    def on_event(self, event: dict[str, Any]) -> None:
        """Begin or finish a phase when the guest says so; start over when the VM was lost.

        Raises:
            UserError: the host does not let us shape the VM.
        """
        if event["event"] == "lost":
            self.close()
            self.results.clear()
        elif event["event"] == BEGIN:
            self._begin(event["phase"])
        elif event["event"] == FINISH:
            self._finish(event["phase"])

    def _begin(self, name: str) -> None:
        assert self._directory is not None  # noqa: S101 - polled before the first event
        if self._emulator is None:
            raise UserError("the VM cannot be shaped: its monitor does not answer")
        trace = name not in self._untraced
        shaping = Shaping(self._plans[name], self._emulator, trace=trace)
        self._shaping = shaping
        shaping.__enter__()
        shaping.start()
        shaping.begin()
        (self._directory / go_file(name)).touch()

    def _finish(self, name: str) -> None:
        shaping = self._shaping
        assert shaping is not None  # noqa: S101 - a phase ends after it began
        shaping.end()
        shaping.finish()
        self.results[name] = PhaseTruth(
            shaping.plan,
            shaping.truths(),
            tuple(shaping.changed),
            shaping.why_not_exact,
            os.getloadavg()[0],
        )
        self.close()

    def close(self) -> None:
        """End a phase that is still on; the host is as before."""
        shaping, self._shaping = self._shaping, None
        if shaping is not None:
            shaping.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.close()
