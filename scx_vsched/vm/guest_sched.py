"""Guest side: a scheduler attached by the agent itself, and the same as a context."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.feed import feed
from scx_vsched.bpf.loader import Attached, SchedulerObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Scheduler", "attached", "loaded"]


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A scheduler at work in this guest; `load_ms` and `attach_ms` say how long it took."""

    policy: str
    running: Attached
    load_ms: float
    attach_ms: float

    def stats(self) -> dict[str, int]:
        """Its counters since it was attached."""
        return self.running.stats()

    def exit_info(self) -> dict[str, Any] | None:
        """Why it left, or None while it is at work."""
        info = self.running.exit_info()
        return None if info is None else {**dataclasses.asdict(info), "summary": info.summary()}


@contextlib.contextmanager
def loaded(
    object_path: str, tunables: Mapping[str, int], verifier_stats: bool = False
) -> Iterator[tuple[SchedulerObject, float]]:
    """The object in `object_path`, verified and fed, and the milliseconds that loading took."""
    with SchedulerObject.open(Path(object_path)) as obj:
        obj.set_tunables(tunables)
        started = time.monotonic()
        obj.load(verifier_stats=verifier_stats)
        load_ms = (time.monotonic() - started) * 1000
        feed(obj)
        yield obj, load_ms


@contextlib.contextmanager
def attached(object_path: str, tunables: Mapping[str, int] | None = None) -> Iterator[Scheduler]:
    """The scheduler in `object_path` at work for the length of the block."""
    with loaded(object_path, tunables or {}) as (obj, load_ms):
        started = time.monotonic()
        with obj.attach() as running:
            attach_ms = (time.monotonic() - started) * 1000
            yield Scheduler(obj.meta.policy, running, load_ms, attach_ms)
