"""Where samples go: a table that updates itself on a terminal, lines of text or of JSON elsewhere.

Notices go to standard error, so that standard output holds nothing but statistics.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, Self

from scx_vsched.runtime.histograms import gather, without_buckets
from scx_vsched.runtime.stats import json_line, text_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console
    from rich.table import Table

    from scx_vsched.runtime.stats import Sample

__all__ = ["Display", "JsonLines", "LiveTable", "TextLines", "notice", "output_console"]

_PIPE_WIDTH = 160


def notice(text: str) -> None:
    """Tell the user something that is not a statistic."""
    print(text, file=sys.stderr, flush=True)


def output_console() -> Console:
    """Standard output: a pipe gets whole lines, whatever the width of the terminal it is not."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, and not always needed

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


class Display(Protocol):
    """Shows samples while its context is open, and a summary after that."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, sample: Sample) -> None:
        """Show what the last interval brought."""

    def summary(self, sample: Sample, extra: Mapping[str, Any]) -> None:
        """Show the totals."""


class TextLines:
    """A line for each interval, a table of totals at the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, sample: Sample) -> None:
        """Print the interval's line."""
        print(text_line(sample), flush=True)

    def summary(self, sample: Sample, extra: Mapping[str, Any]) -> None:
        """Print the totals and their rates."""
        totals = without_buckets(sample.totals)
        width = max(map(len, totals), default=0)
        took = f"{sample.elapsed_s:.1f} s"
        if restarts := extra.get("restarts"):
            took += f", {restarts} restarts"
        print(f"in {took}:")
        for name, total in totals.items():
            rate = total / sample.elapsed_s if sample.elapsed_s else 0.0
            print(f"  {name:<{width}} {total:>14,} {rate:>12,.1f}/s")
        for name, histogram in gather(sample.totals).items():
            print(f"  {histogram.shown(name)}")
        sys.stdout.flush()


class JsonLines(TextLines):
    """A JSON object for each interval and one for the totals."""

    def show(self, sample: Sample) -> None:
        """Print the interval's object."""
        print(json_line("interval", sample), flush=True)

    def summary(self, sample: Sample, extra: Mapping[str, Any]) -> None:
        """Print the object of type `summary`."""
        print(json_line("summary", sample, extra), flush=True)


class LiveTable(TextLines):
    """A table on the terminal, updated in place and gone at the end."""

    def __init__(self, title: str) -> None:
        from rich.live import Live  # noqa: PLC0415 - slow to import, and only for a terminal

        self._title = title
        self._live = Live(auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, sample: Sample) -> None:
        """Replace the table."""
        self._live.update(self._table(sample), refresh=True)

    def _table(self, sample: Sample) -> Table:
        from rich.table import Table  # noqa: PLC0415

        table = Table(box=None, title=f"{self._title}, {sample.elapsed_s:.0f} s")
        table.add_column("counter")
        table.add_column("per second", justify="right")
        table.add_column("total", justify="right")
        for name, total in without_buckets(sample.totals).items():
            rate = sample.deltas[name] / sample.interval_s if sample.interval_s else 0.0
            table.add_row(name, f"{rate:,.0f}", f"{total:,}", style=None if total else "dim")
        for name, histogram in gather(sample.deltas).items():
            shown = histogram.shown(name).partition(": ")[2]
            table.add_row(name, shown, f"{gather(sample.totals)[name].count:,}")
        return table
