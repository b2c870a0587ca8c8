"""What a measurement of the probers' accuracy finds, as plain records that JSON can hold."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Accuracy", "Overhead", "ShareSample", "StackProbe", "load"]


@dataclass(frozen=True, slots=True)
class ShareSample:
    """One vCPU in one phase: `asked`, what the host gave (`true`), and what the prober said.

    Shares from 0 to 1, absences in ns (their mean). `busy`: the guest wanted the vCPU all the
    time; an idle one is judged by the windows that the co-runner left. `about` is "share" for a
    rung of the ladder, "absence" for one of the patterns of absences.
    """

    phase: str
    about: str
    vcpu: int
    busy: bool
    asked: float
    true: float
    estimate: float | None
    true_away_ns: float
    estimate_away_ns: float | None
    exact: bool
    load: float


@dataclass(frozen=True, slots=True)
class StackProbe:
    """One full probe of the topology: `true` and `found` are stacks of two or more vCPUs.

    `busy`: the guest's own tasks wanted all vCPUs all the time.
    """

    phase: str
    busy: bool
    true: tuple[tuple[int, ...], ...]
    found: tuple[tuple[int, ...], ...]
    pair_probes: int
    seconds: float
    load: float


@dataclass(frozen=True, slots=True)
class Overhead:
    """What the probers cost on dedicated vCPUs, as parts of one vCPU's time.

    `probers` is the CPU time of the probing process by the guest's account, over time and vCPUs.
    `ran` is how much the host ran the vCPUs meanwhile, `ran_without` the same without probers: on
    an idle VM the difference is all that probing costs, wake-ups and interrupts included. Both are
    None where the probers ran on this machine itself instead of in a VM of it.
    """

    busy: bool
    seconds: float
    vcpus: int
    probers: float
    ran: float | None
    ran_without: float | None
    load: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Everything measured; `where` are the VMs, `problems` what could not be measured."""

    where: tuple[str, ...]
    samples: tuple[ShareSample, ...] = ()
    stacks: tuple[StackProbe, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    problems: tuple[str, ...] = ()

    def joined(self, later: Accuracy) -> Accuracy:
        """Both; of a kind of vCPU or a topology that both have, what `later` says."""
        kinds = {each.busy for each in later.samples}
        phases = {(each.phase, each.busy) for each in later.stacks}
        costs = {(each.busy, each.ran is None) for each in later.overheads}
        return Accuracy(
            tuple(dict.fromkeys((*self.where, *later.where))),
            (*(each for each in self.samples if each.busy not in kinds), *later.samples),
            (
                *(each for each in self.stacks if (each.phase, each.busy) not in phases),
                *later.stacks,
            ),
            (
                *(each for each in self.overheads if (each.busy, each.ran is None) not in costs),
                *later.overheads,
            ),
            (*self.problems, *later.problems),
        )

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, raw: Mapping[str, Any]) -> Accuracy:
        """From what `as_data` gave, perhaps through JSON."""

        def sets(found: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(each) for each in found)

        return cls(
            tuple(raw["where"]),
            tuple(ShareSample(**each) for each in raw["samples"]),
            tuple(
                StackProbe(**{**each, "true": sets(each["true"]), "found": sets(each["found"])})
                for each in raw["stacks"]
            ),
            tuple(Overhead(**each) for each in raw["overheads"]),
            tuple(raw["problems"]),
        )


def load(path: Path) -> Accuracy:
    """What an earlier measurement wrote as JSON.

    Raises:
        UserError: the file cannot be read, or is something else.
    """
    try:
        return Accuracy.from_data(json.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is no accuracy measurement of this version", "measure again without --from"
        ) from None
