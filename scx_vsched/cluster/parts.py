"""The parts of a table, read in pieces: memory is bounded, and every mistake has a file and a line.

A part that is cut off or has a row of the wrong width ends the reading with its place: such a file
is not the published one. A row without a mandatory value is skipped and counted; any other value
that is no number, or NaN, counts as missing.
"""

from __future__ import annotations

import gzip
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import polars as pl

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from scx_vsched.cluster.schema import Table

__all__ = ["find_parts", "read_parts"]

_PIECE_BYTES = 48 << 20
_NO_SEPARATORS = bytes(byte for byte in range(256) if byte not in b",\n")
_TYPES = {"t": pl.UInt64, "i": pl.Int64, "f": pl.Float64, "s": pl.String}


def find_parts(folder: Path, table: Table, *, needed: bool = True) -> list[Path]:
    """The parts of `table` under `folder`, in the order of their names.

    Raises UserError when there are none and they are `needed`, or `folder` is no folder.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder", "scx_vsched cluster generate makes one to try with"
        )
    parts = sorted(
        path for path in (folder / table.name).glob("*.csv*") if path.suffix in {".csv", ".gz"}
    )
    if needed and not parts:
        raise UserError(
            f"{folder / table.name} holds no part-*.csv.gz",
            "give the folder that has task_events/ and task_usage/ as ClusterData-2011-2 has them",
        )
    return parts


def read_parts(
    parts: list[Path],
    table: Table,
    columns: tuple[str, ...],
    skipped: Counter[str],
    on_part: Callable[[Path], None] = lambda path: None,
) -> Iterator[pl.DataFrame]:
    """The rows of the parts in frames of bounded size, with `columns` only, in the files' order.

    Mandatory columns are never null; floats are null rather than NaN. What was left out is added
    to `skipped`. Raises UserError as the module says.
    """
    wanted = [name for name in table.columns if name in {*table.mandatory, *columns}]
    pieces = (piece for path in parts for piece in _pieces(path))
    for path, line, data in _ahead(pieces):
        if line == 1:
            on_part(path)
        frame = _parse(path, line, data, table, wanted)
        good = frame.drop_nulls(list(table.mandatory))
        if good.height != frame.height:
            skipped[f"{table.name}: rows without a mandatory value"] += frame.height - good.height
        yield good.with_columns(pl.col(pl.Float64).fill_nan(None)).select(columns)


def _ahead[Piece](pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The same pieces, each decompressed by a thread while the one before it is parsed."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = pool.submit(next, pieces, None)
            yield piece


def _pieces(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    """Whole lines of a part, some 50 MB at a time, with the part and the number of the first."""
    line, rest = 1, b""
    try:
        with path.open("rb") if path.suffix == ".csv" else gzip.open(path) as file:
            while data := file.read(_PIECE_BYTES):
                whole, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    yield path, line, whole + newline
                    line += whole.count(b"\n") + 1
                elif len(rest) > 2 * _PIECE_BYTES:
                    raise UserError(f"{path}:{line}: no line ends here", "this is no CSV file")
    except EOFError:
        raise UserError(
            f"{path} is cut off: the compressed data end in the middle, after line {line - 1}",
            "fetch this part again; its SHA-256 is in the trace's SHA256SUM",
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}: broken compressed data ({error}), after line {line - 1}",
            "fetch this part again; its SHA-256 is in the trace's SHA256SUM",
        ) from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    if rest:
        yield path, line, rest + b"\n"


def _parse(path: Path, line: int, data: bytes, table: Table, columns: list[str]) -> pl.DataFrame:
    """`columns` of whole lines, the first of which has the number `line`."""
    width = len(table.columns)
    # What is left without all but commas and line ends says the width of each row.
    rows = data.count(b"\n")
    if data.translate(None, _NO_SEPARATORS) != (b"," * (width - 1) + b"\n") * rows:
        for number, row in enumerate(data.split(b"\n"), line):
            if row.count(b",") != width - 1:
                raise UserError(
                    f"{path}:{number}: {row.count(b',') + 1} columns instead of {width}",
                    f"{table.name} has {width} columns: {', '.join(table.columns)}",
                )
    return pl.read_csv(
        data,
        has_header=False,
        schema={name: _TYPES[kind] for name, kind in zip(table.columns, table.kinds, strict=True)},
        columns=[table.columns.index(name) for name in columns],
        ignore_errors=True,
        quote_char=None,
    )
