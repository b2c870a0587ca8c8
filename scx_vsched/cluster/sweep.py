"""Many simulations of one trace: which ones, their outcomes as rows, and what is kept of them.

Every outcome is appended to a file when it is there, so that an interrupt costs only what was under
way; asked for again, what is kept is not simulated again. Rows hold nothing that depends on who
simulated them or when.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from scx_vsched.cluster.metrics import Summary
from scx_vsched.errors import UserError
from scx_vsched.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from scx_vsched.cluster.setup import Setup
    from scx_vsched.numa.policies import Policy

__all__ = ["Kept", "Outcome", "Run", "row", "trace_name", "write_rows"]

type Row = dict[str, Any]

_SUMMARY = tuple(field.name for field in fields(Summary))


@dataclass(frozen=True, slots=True)
class Run:
    """One simulation: a setup, whose seed counts, and a policy."""

    setup: Setup
    policy: Policy


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run."""

    run: Run
    summary: Summary

    @property
    def policy(self) -> Policy:
        """The run's policy."""
        return self.run.policy

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.run.setup.seed


def trace_name(folder: Path, machines: int | None) -> str:
    """A name for what is simulated and by what.

    Other files, another choice of machines or another version of the package have another name.
    """
    digest = hashlib.sha256(f"{VERSION} {machines}\n".encode())
    for path in sorted(folder.glob("*/*.csv*")):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def row(trace: str, run: Run, summary: Summary | None) -> Row:
    """A run as a flat row: the trace, the policy, the setup and, if it has one, the summary."""
    setup = asdict(run.setup)
    limits = setup.pop("limits")
    head: Row = {"trace": trace, "policy": str(run.policy)} | setup | limits
    return head if summary is None else head | asdict(summary)


def _key(found: Mapping[str, Any]) -> str:
    """What tells rows apart: all that is not in the summary. 1 and 1.0 are the same."""
    own = {name: found[name] for name in found if name not in _SUMMARY}
    numbers = {name: float(value) for name, value in own.items() if isinstance(value, int | float)}
    return json.dumps(own | numbers, sort_keys=True)


class Kept:
    """Outcomes in a file, and beside it those of a sweep that has not finished.

    Without a file nothing is kept. Raises UserError for a file that cannot be read or written, or
    that holds no outcomes of this trace.
    """

    def __init__(self, path: Path | None, trace: str) -> None:
        self._path, self._trace = path, trace
        self._rows: dict[str, Row] = {}
        self._partial = None if path is None else path.with_name(path.name + ".partial")
        self._file = None
        if path is None or self._partial is None:
            return
        if path.suffix not in {".json", ".parquet"}:
            raise UserError(f"{path}: results are kept as .json or .parquet")
        try:
            if path.exists():
                self._take(read_rows(path), path)
            if self._partial.exists():
                self._take(_whole_lines(self._partial), self._partial)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("a")
        except OSError as error:
            raise UserError(f"{error.filename or path}: {error.strerror or error}") from None

    def _take(self, rows: Iterable[Row], path: Path) -> None:
        for one in rows:
            if one.get("trace") != self._trace:
                raise UserError(
                    f"{path} has results of another trace or version", "name another file"
                )
            self._rows[_key(one)] = one

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def lasting(self) -> bool:
        """Whether outcomes are kept beyond this process."""
        return self._file is not None

    def find(self, run: Run) -> Outcome | None:
        """The outcome of a run, if it is kept."""
        found = self._rows.get(_key(row(self._trace, run, None)))
        if found is None:
            return None
        return Outcome(run, Summary(**{name: found[name] for name in _SUMMARY}))

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome from now on."""
        found = row(self._trace, outcome.run, outcome.summary)
        self._rows[_key(found)] = found
        if self._file is not None:
            self._file.write(json.dumps(found) + "\n")
            self._file.flush()

    def rows(self, runs: Iterable[Run]) -> list[Row]:
        """Those of `runs`, in their order."""
        return [self._rows[_key(row(self._trace, run, None))] for run in runs]

    def finish(self, runs: Iterable[Run]) -> None:
        """Write the file, the outcomes of `runs` first and in their order; others of it stay."""
        if self._path is None or self._partial is None:
            return
        ordered = {_key(one): one for one in self.rows(runs)}
        write_rows(self._path, [*(ordered | self._rows).values()])
        self._partial.unlink()


def _whole_lines(path: Path) -> list[Row]:
    """The rows of an unfinished sweep; a line that an interrupt cut off is none."""
    whole, _, _ = path.read_text().rpartition("\n")
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError:
        raise UserError(
            f"{path} is damaged", "remove it; what it kept is simulated again"
        ) from None


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote. Raises UserError for anything else."""
    import polars as pl  # noqa: PLC0415 - only Parquet needs it

    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path).to_dicts()
        rows = json.loads(path.read_text())["runs"]
    except (ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} holds no results of a sweep ({error})") from None
    return [dict(one) for one in rows]


def write_rows(path: Path, rows: list[Row]) -> None:
    """Rows as JSON or Parquet, by the end of the file's name; the file is whole or not there."""
    import polars as pl  # noqa: PLC0415 - only Parquet needs it

    new = path.with_name(path.name + ".new")
    try:
        if path.suffix == ".parquet":
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(new)
        else:
            new.write_text(json.dumps({"runs": rows}, indent=1) + "\n")
        new.replace(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
