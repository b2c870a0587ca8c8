"""What a run of the lab found, as records and as the JSON file that reports are made of."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["FORMAT", "Document", "Measurement", "Picture", "Profile", "load", "save"]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """One workload under one scheduler in one round.

    `values` are (value, unit) by measure; `curves` are latencies in us at the quantiles of
    `guest_measure.QUANTILES`; `rates` are pieces of work a second in each tenth of one, and
    `changed_s` when in that time the profile changed. `used` is what each vCPU used by the host's
    account, in host CPUs (None: not seen). `seen` is (capacity, latency in us) of each vCPU as the
    scheduler was told, `probing` the CPUs that its probers used. With an `error` there are no
    values.
    """

    round: int
    scheduler: str
    workload: str
    values: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    curves: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rates: tuple[float, ...] = ()
    changed_s: float | None = None
    used: tuple[float, ...] | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    seen: tuple[tuple[int, float], ...] = ()
    probing: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A short while under one scheduler: what ran where, and when the host kept a vCPU away.

    `running` are (from, to, pid) and `away` (from, to) by vCPU, `moves` (at, pid, from vCPU, to
    vCPU), all in ns from the beginning. `longest_wait_ns` is what a task waited at most for its
    turn, of all that was traced.
    """

    scheduler: str
    length_ns: int
    running: tuple[tuple[tuple[int, int, int], ...], ...]
    away: tuple[tuple[tuple[int, int], ...], ...]
    moves: tuple[tuple[int, int, int, int], ...]
    longest_wait_ns: int
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Profile:
    """One VM: what was asked of each vCPU (host CPUs), `note` what the scaling did to the profile.

    `capacity` is what the host gave each vCPU while all were busy, empty when that was not seen.
    `error` says why it is not complete.
    """

    name: str
    description: str
    note: str
    asked: tuple[float, ...]
    stacks: tuple[tuple[int, ...], ...] = ()
    where: str = ""
    capacity: tuple[float, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    pictures: tuple[Picture, ...] = ()
    load: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole run; `missing` are programs that are not installed: (workload, program, command)."""

    version: str
    host: str
    started: str
    command: str
    rounds: int
    seconds: float
    profiles: tuple[Profile, ...] = ()
    missing: tuple[tuple[str, str, str], ...] = ()
    error: str = ""


def save(document: Document, path: Path) -> None:
    """Write the file; raises UserError where that cannot be."""
    try:
        path.write_text(json.dumps(as_data(document)) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def as_data(document: Document) -> dict[str, Any]:
    """As JSON has it."""
    return {"format": FORMAT, **asdict(document)}


def load(path: Path) -> Document:
    """The document in a file.

    Raises:
        UserError: there is none, or it is not one of `lab run`.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not JSON"
        raise UserError(f"cannot read {path}: {why}") from None
    hint = "make one with: scx_vsched lab run -o FILE"
    if not isinstance(raw, dict) or "format" not in raw:
        raise UserError(f"{path} is not a result of the lab", hint)
    if raw.pop("format") != FORMAT:
        raise UserError(f"{path} is of another version of the lab", hint)
    try:
        return read_document(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a result of the lab: {error}", hint) from None


def read_document(raw: Mapping[str, Any]) -> Document:
    """The records in `raw`; raises TypeError, KeyError and the like for what is none."""
    profiles = tuple(_profile(each) for each in raw["profiles"])
    missing = tuple((str(w), str(p), str(c)) for w, p, c in raw["missing"])
    return Document(**{**raw, "profiles": profiles, "missing": missing})


def _profile(raw: Mapping[str, Any]) -> Profile:
    return Profile(
        **{
            **raw,
            "asked": tuple(map(float, raw["asked"])),
            "stacks": tuple(tuple(each) for each in raw["stacks"]),
            "capacity": tuple(map(float, raw["capacity"])),
            "measurements": tuple(measurement(each) for each in raw["measurements"]),
            "pictures": tuple(_picture(each) for each in raw["pictures"]),
        }
    )


def measurement(raw: Mapping[str, Any]) -> Measurement:
    """The record in `raw`, from a file or from a guest."""
    used = raw.get("used")
    return Measurement(
        round=int(raw["round"]),
        scheduler=str(raw["scheduler"]),
        workload=str(raw["workload"]),
        values={name: (float(value), str(unit)) for name, (value, unit) in raw["values"].items()},
        curves={name: tuple(map(float, curve)) for name, curve in raw["curves"].items()},
        rates=tuple(map(float, raw["rates"])),
        changed_s=raw.get("changed_s"),
        used=None if used is None else tuple(map(float, used)),
        counters={name: int(value) for name, value in raw["counters"].items()},
        seen=tuple((int(capacity), float(us)) for capacity, us in raw["seen"]),
        probing=float(raw["probing"]),
        error=str(raw["error"]),
    )


def _picture(raw: Mapping[str, Any]) -> Picture:
    def rows(values: Iterable[Iterable[Iterable[int]]]) -> tuple[Any, ...]:
        return tuple(tuple(tuple(each) for each in row) for row in values)

    return Picture(
        **{
            **raw,
            "running": rows(raw["running"]),
            "away": rows(raw["away"]),
            "moves": tuple(tuple(each) for each in raw["moves"]),
        }
    )
