"""The hidden truth: on which hardware thread, core, cache, socket and node each vCPU is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scx_vsched.topology.domains import Domains, numbered
from scx_vsched.topology.records import Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Hierarchy", "Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one vCPU runs. Numbers are unique over the machine; equal means the same domain."""

    node: int
    socket: int
    llc: int
    core: int
    thread: int


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The place of each vCPU, by its number."""

    places: tuple[Place, ...]

    @classmethod
    def regular(
        cls, nodes: int = 1, sockets: int = 1, llcs: int = 1, cores: int = 1, threads: int = 1
    ) -> Hierarchy:
        """So many of each in the next larger one, numbered from inside out."""
        return cls.of([[[[threads] * cores] * llcs] * sockets] * nodes)

    @classmethod
    def of(cls, nodes: Sequence[Sequence[Sequence[Sequence[int]]]]) -> Hierarchy:
        """Any shape: threads of each core, in caches, in sockets, in nodes."""
        places = []
        counts = [0, 0, 0, 0]
        for node, sockets in enumerate(nodes):
            for llcs in sockets:
                for cores in llcs:
                    for threads in cores:
                        for _ in range(threads):
                            places.append(Place(node, *counts))
                            counts[3] += 1
                        counts[2] += 1
                    counts[1] += 1
                counts[0] += 1
        return cls(tuple(places))

    def stacked(self, *sets: Iterable[int]) -> Hierarchy:
        """The vCPUs of each set all on the thread of the set's first."""
        places = list(self.places)
        for members in sets:
            first, *others = members
            for vcpu in others:
                places[vcpu] = places[first]
        return replace(self, places=tuple(places))

    def permuted(self, seed: int) -> Hierarchy:
        """The same machine with its vCPUs numbered at random."""
        order = np.random.default_rng(seed).permutation(len(self.places))
        return replace(self, places=tuple(self.places[i] for i in order))

    def relation(self, a: int, b: int) -> Relation:
        """The smallest domain that holds both."""
        mine, other = self.places[a], self.places[b]
        levels = (
            (mine.thread == other.thread, Relation.STACKED),
            (mine.core == other.core, Relation.SMT),
            (mine.llc == other.llc, Relation.LLC),
            (mine.socket == other.socket, Relation.SOCKET),
            (mine.node == other.node, Relation.NODE),
        )
        return next((relation for same, relation in levels if same), Relation.APART)

    def domains(self) -> dict[int, Domains]:
        """The true domains of each vCPU."""
        return numbered(
            {v: (p.thread, p.core, p.llc, p.socket, p.node) for v, p in enumerate(self.places)}
        )

    def claimed(self) -> dict[int, Domains]:
        """What the kernel would claim if this were true; it knows of no stacking."""
        return numbered(
            {v: (v, p.core, p.llc, p.socket, p.node) for v, p in enumerate(self.places)}
        )
