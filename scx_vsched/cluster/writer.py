"""Writes the parts of a table as the trace has them: gzip CSV that covers so much time each."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, BinaryIO

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scx_vsched.cluster.schema import Table

__all__ = ["PART_S", "PartWriter"]

PART_S = 29 * 86_400 / 500  # the real trace: 29 days in 500 parts


class PartWriter:
    """The parts of one table, one after the other; makes the table's folder, which must be new.

    Raises OSError where that cannot be written.
    """

    def __init__(self, folder: Path, table: Table, parts: int) -> None:
        self._folder, self._table, self._parts = folder / table.name, table, parts
        self._folder.mkdir(parents=True)
        self._part = -1
        self._file: gzip.GzipFile | None = None
        self._raw: BinaryIO | None = None
        self.rows = 0

    def write(self, time_s: float, columns: Mapping[str, object]) -> None:
        """Add rows of the period that starts at `time_s`; unnamed columns stay empty."""
        part = min(int(time_s / PART_S), self._parts - 1)
        while self._part < part:
            self._open(self._part + 1)
        empty = pl.lit(None, pl.String)
        frame = pl.DataFrame(dict(columns)).select(
            pl.col(name) if name in columns else empty.alias(name) for name in self._table.columns
        )
        if frame.is_empty():
            return
        text = io.BytesIO()
        frame.write_csv(text, include_header=False, float_precision=7)
        if self._file is not None:
            self._file.write(text.getbuffer())
        self.rows += frame.height

    def _open(self, part: int) -> None:
        self.close()
        self._part = part
        path = self._folder / f"part-{part:05}-of-{self._parts:05}.csv.gz"
        # Without a name and a time in the header the same rows are the same bytes.
        self._raw = path.open("wb")
        self._file = gzip.GzipFile("", "wb", 1, self._raw, mtime=0)

    def close(self) -> None:
        """Finish the part."""
        for file in (self._file, self._raw):
            if file is not None:
                file.close()
        self._file = self._raw = None
