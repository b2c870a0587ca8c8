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
    "bit_count",
    "kick",
    "lowest_bit",
    "now_ns",
    "random_u32",
    "vcpus_of",
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


def bit_count(mask: int) -> int:
    """How many bits of the u64 `mask` are set."""
    return u64(mask).bit_count()


def lowest_bit(mask: int) -> int:
    """The number of the lowest bit set in the u64 `mask`; 64 where none is."""
    mask = u64(mask)
    return (mask & -mask).bit_length() - 1 if mask else 64


def vcpus_of(mask: int) -> Iterator[int]:
    """For `for` loops: the numbers of the bits set in the u64 `mask`, the lowest first."""
    return (bit for bit in range(64) if u64(mask) >> bit & 1)


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
        Intrinsic("bit_count", (_U64,), _U32, effects=False),
        Intrinsic("lowest_bit", (_U64,), _U32, effects=False),
    )
}
"""Those that policies import by name, next to the types."""
