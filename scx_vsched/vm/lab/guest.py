"""The guest's side of a shaped run: it tells the host what to begin and waits until it has."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scx_vsched.vm.agent import Guest

__all__ = ["BEGIN", "FINISH", "go_file", "phase"]

# Events: the guest is ready for a phase, and it is over.
BEGIN, FINISH = "begin", "finish"
_POLL_S = 0.02
_WAIT_S = 60.0


def go_file(name: str) -> str:
    """The file in the job's directory by which the host says that phase `name` has begun."""
    return f"go-{name}"


@contextlib.contextmanager
def phase(guest: Guest, name: str) -> Iterator[None]:
    """Run the body while the host has the VM shaped as phase `name` says, and measures it.

    Raises:
        TimeoutError: the host does not answer.
    """
    guest.emit(BEGIN, phase=name)
    deadline = time.monotonic() + _WAIT_S
    while not (guest.directory / go_file(name)).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the host did not begin phase {name}")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        guest.emit(FINISH, phase=name)
