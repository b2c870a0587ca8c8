"""Showing that something long is going on: a spinner on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["lines", "step"]


@contextlib.contextmanager
def step(title: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show `title` on standard error while the body runs; the yielded function tells the detail.

    On a terminal the detail replaces the last one beside a spinner; elsewhere each detail is a
    line of its own, with the seconds since the start. `quiet` shows nothing.
    """
    if quiet:
        yield lambda _: None
        return
    started = time.monotonic()

    def seconds() -> str:
        return f"{time.monotonic() - started:.0f} s"

    if sys.stderr.isatty():
        from rich.console import Console  # noqa: PLC0415 - rich takes 0.1 s to import

        with Console(stderr=True).status(title) as status:
            yield lambda text: status.update(f"{title}: {text} ({seconds()})")
        return
    print(f"{title} …", file=sys.stderr, flush=True)
    yield lambda text: print(f"  [{seconds():>6}] {text}", file=sys.stderr, flush=True)


def lines(quiet: bool = False) -> Callable[[str], None]:
    """A function that prints lines to standard error, beside a command's own output."""
    if quiet:
        return lambda _: None
    return lambda text: print(f"scx_vsched: {text}", file=sys.stderr, flush=True)
