"""The renderer's only input, and the description that travels inside each object.

`ObjectMeta` is embedded as JSON in the ELF section `.vsched`, so that a prebuilt object can be
loaded, tuned and explained where neither the policy's source nor clang exists.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from scx_vsched.errors import UserError

__all__ = [
    "META_FORMAT",
    "META_SECTION",
    "HistogramMeta",
    "ObjectMeta",
    "SettingMeta",
    "StatMeta",
    "TunableMeta",
]

META_SECTION = ".vsched"
META_FORMAT = 2
_OF_DOMAINS = ("settings", "domain_size")


@dataclass(frozen=True, slots=True)
class TunableMeta:
    """A tunable as the loader needs it: eight bytes of `tunables`, or of `frozen_tunables`."""

    name: str
    type: str  # "u64" or "s64"
    default: int
    min: int
    max: int
    unit: str
    doc: str
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class SettingMeta:
    """What the user sets of each domain, `offset` bytes into the domain's state."""

    name: str
    type: str  # an integer type of the language
    offset: int
    default: int
    min: int
    max: int
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class HistogramMeta:
    """A histogram of the policy; its index in `ObjectMeta.histograms` is its key in the map."""

    name: str
    unit: str
    doc: str


@dataclass(frozen=True, slots=True)
class StatMeta:
    """A counter; its index in `ObjectMeta.stats` is its key in the map `stats`."""

    name: str
    doc: str


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What an object says of itself."""

    format: int
    version: str  # of the scx_vsched that built it
    policy: str
    policy_doc: str
    mechanism: str
    features: tuple[str, ...]  # those built in
    tunables: tuple[TunableMeta, ...]
    stats: tuple[StatMeta, ...]
    histograms: tuple[HistogramMeta, ...]
    ops_flags: tuple[str, ...]  # enumerators of the kernel's scx_ops_flags; unknown ones count as 0
    pythonbpf: tuple[str, ...] = ()  # hooks that this backend compiled; clang did the others
    # of the mechanism `host` alone
    settings: tuple[SettingMeta, ...] = ()
    domain_size: int = 0  # bytes of a domain's state

    def to_json(self) -> str:
        """One line of ASCII JSON, the same for the same contents."""
        said = dataclasses.asdict(self)
        if not self.pythonbpf:
            del said["pythonbpf"]
        if not self.domain_size:
            said = {name: value for name, value in said.items() if name not in _OF_DOMAINS}
        return json.dumps(said, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ObjectMeta:
        """The inverse of `to_json`.

        Raises UserError when `text` is not a description, or one of a newer format.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            found = int(raw["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError("the object's description is damaged", "build it again") from error
        if found != META_FORMAT:
            raise UserError(
                f"the object's description has format {found}, this version reads {META_FORMAT}",
                "build the object again with this version of scx_vsched",
            )
        try:
            return cls(
                **raw
                | {
                    "features": tuple(raw["features"]),
                    "tunables": tuple(TunableMeta(**t) for t in raw["tunables"]),
                    "histograms": tuple(HistogramMeta(**h) for h in raw["histograms"]),
                    "settings": tuple(SettingMeta(**s) for s in raw.get("settings", ())),
                    "stats": tuple(StatMeta(**s) for s in raw["stats"]),
                    "ops_flags": tuple(raw["ops_flags"]),
                    "pythonbpf": tuple(raw.get("pythonbpf", ())),
                }
            )
        except (KeyError, TypeError) as error:
            raise UserError("the object's description is damaged", "build it again") from error
