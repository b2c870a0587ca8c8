"""What is compared: the kernel's own scheduler, the core policy, each technique alone, all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ALL", "DEFAULT", "SCHEDULERS", "Arm", "chosen"]

DEFAULT, ALL = "default", "all"
_TECHNIQUES = ("bvs", "ivh", "rwc")


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a comparison; without a `policy` the kernel's own scheduler is at work.

    Those of one policy are one object, whose tunables change while it is attached.
    """

    name: str
    policy: str = ""
    tunables: Mapping[str, int] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """For the guest, in what JSON can hold."""
        return asdict(self)


def _only(*kept: str) -> dict[str, int]:
    return {name: int(name in kept) for name in _TECHNIQUES}


SCHEDULERS = {
    arm.name: arm
    for arm in (
        Arm(DEFAULT),
        Arm("core", "core"),
        *(Arm(name, "vsched", _only(name)) for name in _TECHNIQUES),
        Arm(ALL, "vsched", _only(*_TECHNIQUES)),
    )
}


def chosen(names: Sequence[str]) -> tuple[Arm, ...]:
    """The schedulers of these names in the order of the table, and the default in any case.

    Raises:
        UserError: an unknown name.
    """
    for name in names:
        if name not in SCHEDULERS:
            raise UserError(f"unknown scheduler {name}", f"there are: {', '.join(SCHEDULERS)}")
    wanted = {DEFAULT, *names}
    return tuple(arm for name, arm in SCHEDULERS.items() if name in wanted)
