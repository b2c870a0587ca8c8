"""Functions of the language itself that ask or tell the machine something: time, chance, kicks.

In BPF they are the mechanism's; in CPython they ask the `World` in force, which tests set with
`with world(now_ns=5_000, random=[1, 2]) as seen:`.
"""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.policy.types import INT_TYPES, u32, u64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scx_vsched.policy.types import IntType

__all__ = [
    "INTRINSICS",
    "Intrinsic",
    "World",
    "kick",
    "now_ns",
    "random_u32",
    "world",
]


@dataclass(slots=True)
class World:
    """What hooks ask in CPython; `kicked` lists the vCPUs that they kicked, in order.

    Without a `now` the clock is this machine's, and chance is Python's once `drawn` has ended.
    """

    now: int | None = None
    drawn: Iterator[int] = field(default_factory=lambda: iter(()))
    kicked: list[int] = field(default_factory=list)


_worlds = [World()]


@contextlib.contextmanager
def world(*, now_ns: int | None = None, random: Iterable[int] = ()) -> Iterator[World]:
    """For tests: hooks see this time and draw these numbers; the world tells what they did."""
    made = World(now_ns, iter(random))
    _worlds.append(made)
    try:
        yield made
    finally:
        _worlds.remove(made)


def now_ns() -> int:
    """Monotonic time in nanoseconds, a u64."""
    now = _worlds[-1].now
    return u64(time.monotonic_ns() if now is None else now)


def random_u32() -> int:
    """A random u32; its call stands alone on the right of an assignment."""
    drawn = next(_worlds[-1].drawn, None)
    return random.getrandbits(32) if drawn is None else u32(drawn)


def kick(vcpu: int) -> None:
    """Makes the vCPU of this number choose anew: what runs there gives way if others wait."""
    _worlds[-1].kicked.append(u32(vcpu))


@dataclass(frozen=True, slots=True)
class Intrinsic:
    """A function of the language: its parameters' types, its result's (None: none), its nature.

    One with `effects` changes something or gives another result each time.
    """

    name: str
    parameters: tuple[IntType, ...]
    returns: IntType | None
    effects: bool


_U32, _U64 = INT_TYPES["u32"], INT_TYPES["u64"]

INTRINSICS: dict[str, Intrinsic] = {
    found.name: found
    for found in (
        Intrinsic("now_ns", (), _U64, effects=False),
        Intrinsic("random_u32", (), _U32, effects=True),
        Intrinsic("kick", (_U32,), None, effects=True),
    )
}
"""Those that policies import by name, next to the types."""
