"""The probers on very many synthetic machines, against the bounds that they are to keep.

As a script, prints a table of docs/topology.md, each line as soon as it is known:
.venv/bin/python tests/unit/topology/sweep.py recovery|verification|steps|calm|duty [SEEDS]
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from machines import MS, NOISY, Case, away, joined, machine, swapped, try_case
from probing import changes_a_minute, duty, settling_s, steady_patterns

from scx_vsched.topology.domains import Level
from scx_vsched.topology.synthetic import Change, Hierarchy, Steal, SyntheticMachine, SyntheticSpec
from scx_vsched.topology.verify import Verifier
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from machines import Outcome

__all__ = ["CHANGED", "SHAPES", "SIZES", "noticed_after", "tried"]

PERIOD_NS = 2000 * MS
CHANGES_NS = 5000 * MS

regular = Hierarchy.regular
UNEVEN = Hierarchy.of([[[[2, 2, 1], [2, 2]]], [[[2] * 5, [1] * 4]]])

SIZES = {
    8: (regular(cores=8), regular(1, 2, 1, 4, 1), regular(2, 1, 1, 2, 2)),
    16: (regular(cores=16), regular(1, 4, 1, 4, 1), regular(2, 1, 2, 2, 2)),
    32: (regular(cores=32), regular(1, 4, 1, 4, 2), regular(2, 2, 2, 4, 1)),
    64: (regular(cores=64), regular(1, 4, 1, 16, 1), regular(2, 2, 2, 4, 2)),
    128: (regular(cores=128), regular(1, 4, 1, 16, 2), regular(2, 2, 4, 8, 1)),
    256: (regular(cores=256), regular(1, 4, 4, 16, 1), regular(2, 2, 4, 8, 2)),
    512: (regular(cores=512), regular(4, 1, 4, 16, 2), regular(2, 2, 4, 32, 1)),
}
"""One cache; sockets; several levels: of each number of vCPUs."""

SHAPES = {
    "one vCPU": regular(),
    "two": regular(cores=2),
    "two stacked": regular(cores=2).stacked((0, 1)),
    "two siblings": regular(threads=2),
    "two of three stacked": regular(cores=3).stacked((0, 2)),
    "siblings on some cores only": Hierarchy.of([[[[2] * 4 + [1] * 8]]]),
    "uneven caches": UNEVEN,
    "uneven, stacks of two and three": UNEVEN.stacked((0, 7), (3, 12, 20)),
    "all stacked in pairs": regular(1, 2, 1, 8, 1).stacked(*((v, v + 8) for v in range(8))),
    "three stacks of three": regular(cores=12).stacked((0, 1, 2), (3, 4, 5), (6, 7, 8)),
    "stacks beside siblings": regular(1, 2, 1, 4, 2).stacked((0, 1), (4, 9)),
    "a vCPU alone in its cache": Hierarchy.of([[[[1], [1] * 7]]]),
    "a vCPU alone in its socket": Hierarchy.of([[[[1] * 4, [1] * 4], [[1]]]]),
    "a vCPU alone in its node": Hierarchy.of([[[[2] * 8]], [[[1]]]]),
    "a core alone in its node": Hierarchy.of([[[[2] * 7]], [[[2]]]]),
    "each vCPU alone in its cache": regular(1, 2, 8, 1, 1),
    "large and small nodes": Hierarchy.of([[[[1] * 20]], [[[1] * 2]], [[[1] * 5]]]),
}

FOUR = regular(1, 4, 1, 4, 2)
FLAT = regular(cores=32)
EIGHT = regular(1, 2, 4, 4, 1)

CHANGED = {
    "all numbered otherwise": (FOUR, FOUR.permuted(7)),
    "two vCPUs swapped": (FOUR, swapped(FOUR, 3, 30)),
    "two cores swapped": (FOUR, swapped(swapped(FOUR, 2, 24), 3, 25)),
    "other sockets": (FOUR, regular(1, 2, 1, 8, 2)),
    "one cache now": (FOUR, FLAT),
    "sockets now": (FLAT, FOUR),
    "siblings now, half the machine apart": (
        FLAT,
        Hierarchy(
            regular(cores=16, threads=2).places[::2] + regular(cores=16, threads=2).places[1::2]
        ),
    ),
    "two siblings now": (FLAT, joined(FLAT, Level.CORE, 3, 20)),
    "two sockets one": (FOUR, joined(FOUR, Level.SOCKET, 0, 17)),
    "two caches one": (EIGHT, joined(EIGHT, Level.LLC, 0, 13)),
    "caches of a socket now": (regular(1, 2, 1, 16, 1), EIGHT),
    "a stack": (FOUR, FOUR.stacked((0, 1))),
    "a stack across sockets": (FOUR, FOUR.stacked((3, 21))),
    "no stack any more": (FOUR.stacked((0, 1)), FOUR),
    "another stack": (FOUR.stacked((4, 9, 20)), FOUR.stacked((4, 9), (20, 21))),
}
"""What a migration may do: before and after."""


def noticed_after(before: Hierarchy, after: Hierarchy, seed: int, *, share: float = 0.0) -> int:
    """In which verification from the change on it was noticed; 0 when never, -1 before it."""
    order = seed if seed % 2 else None  # every other machine is numbered at random
    first, then = (h if order is None else h.permuted(order) for h in (before, after))
    spec = SyntheticSpec(
        first,
        away(first, share) if share else {},
        noise=NOISY,
        changes=(Change(CHANGES_NS + seed * 311 * MS, hierarchy=then),),
    )
    synthetic = SyntheticMachine(spec, seed)
    verifier = Verifier(synthetic, probe_topology(synthetic))
    since = 0
    while since < 4:
        since += synthetic.now_ns() >= spec.changes[0].at_ns
        if verifier.verify().changed:
            return since or -1
        synthetic.sleep_ns(PERIOD_NS)
    return 0


def recovery(seeds: int) -> None:
    """Hierarchies found exactly, and what that took."""
    print("| machines | vCPUs | exact | probes/vCPU | simulated s | real s |")
    for name, shapes in _rows().items():
        number = len(shapes[0].places)
        tries = list(tried(shapes, seeds))
        outcomes = [outcome for _, _, outcome in tries]
        print(
            f"| {name} | {number} | {sum(one.exact for one in outcomes)}/{len(tries)} "
            f"| {max(one.probes for one in outcomes):.2f} "
            f"| {max(one.simulated_s for one in outcomes):.2f} "
            f"| {max(one.real_s for one in outcomes):.2f} |",
            flush=True,
        )
        for case, seed, outcome in tries:
            if not outcome.exact:
                print(f"missed: {case.name}, seed {seed}")


def _rows() -> dict[str, tuple[Hierarchy, ...]]:
    alone = {name: (truth,) for name, truth in SHAPES.items()}
    return {str(number): shapes for number, shapes in SIZES.items()} | alone


def tried(shapes: Iterable[Hierarchy], seeds: int) -> Iterator[tuple[Case, int, Outcome]]:
    """Each shape in order and numbered at random, there and away; large ones with fewer seeds."""
    for truth in shapes:
        number = len(truth.places)
        few = max(3, seeds * 64 // number) if number > 64 else seeds
        for permuted in (True, False):
            for share in (0.0, 0.3):
                name = f"{truth.domains()[number - 1]}, {permuted=}, away {share:.0%}"
                case = Case(name, truth, away=share, permuted=permuted)
                for seed in range(few):
                    yield case, seed, try_case(case, seed)


def verification(seeds: int) -> None:
    """What it takes at 32 vCPUs, how often it is wrong, and how soon it sees a change."""
    print("| machine | verifications | false alarms | ms, most | probes/vCPU |")
    for name, truth in (("four sockets", FOUR), ("one cache", FLAT), ("eight caches", EIGHT)):
        for share in (0.0, 0.3):
            efforts, alarms = [], 0
            for seed in range(seeds):
                here = truth.permuted(seed)
                synthetic = machine(here, seed, vcpus=away(here, share) if share else {})
                verifier = Verifier(synthetic, probe_topology(synthetic))
                for _ in range(20):
                    verdict = verifier.verify()
                    alarms += verdict.changed
                    efforts.append(verdict.effort)
                    synthetic.sleep_ns(PERIOD_NS)
            print(
                f"| {name}, away {share:.0%} | {len(efforts)} | {alarms} "
                f"| {max(one.elapsed_ns for one in efforts) / MS:.0f} "
                f"| {max(one.pair_probes for one in efforts) / 32:.1f} |",
                flush=True,
            )
    print("| change | noticed in verification 1, 2, later | missed | too early |")
    for name, (before, after) in CHANGED.items():
        for share in (0.0, 0.3):
            found = [noticed_after(before, after, seed, share=share) for seed in range(seeds)]
            print(
                f"| {name}, away {share:.0%} "
                f"| {found.count(1)}, {found.count(2)}, {sum(one > 2 for one in found)} "
                f"| {found.count(0)} | {found.count(-1)} |",
                flush=True,
            )


def steps(seeds: int) -> None:
    """How long until a new capacity shows to 90 %, for good."""
    print("| share | guest | source | median s | most s |")
    sizes = [(1.0, 0.5), (0.5, 1.0), (0.8, 0.3), (0.3, 0.8), (0.6, 0.1), (0.1, 0.6), (0.5, 0.4)]
    for before, after in sizes:
        for busy in (True, False):
            for steal in (Steal.NONE, Steal.TRUE):
                found = [
                    settling_s(before, after, busy=busy, steal=steal, seed=seed)
                    for seed in range(seeds)
                ]
                print(
                    f"| {before} to {after} | {'busy' if busy else 'idle'} "
                    f"| {'steal' if steal is Steal.TRUE else 'gaps'} "
                    f"| {median(found):.1f} | {max(found):.1f} |",
                    flush=True,
                )


def calm(seeds: int) -> None:
    """How often a steady machine causes a new placement."""
    print("| 4 vCPUs | guest | source | changes a minute, mean | most |")
    for name, pattern in steady_patterns().items():
        for busy in (True, False):
            for steal in (Steal.NONE, Steal.TRUE):
                found = [
                    changes_a_minute(pattern, busy=busy, steal=steal, seed=seed)
                    for seed in range(seeds)
                ]
                print(
                    f"| {name} | {'busy' if busy else 'idle'} "
                    f"| {'steal' if steal is Steal.TRUE else 'gaps'} "
                    f"| {sum(found) / seeds:.2f} | {max(found):.2f} |",
                    flush=True,
                )


def costs(seeds: int) -> None:
    """CPU time of all probing over wall time, per vCPU."""
    print("| share | vCPUs | guest | mean % | most % |")
    for share in (1.0, 0.8, 0.5, 0.2):
        for number in (1, 4, 32):
            for busy in (True, False):
                found = [duty(share, number, busy=busy, seed=seed) for seed in range(seeds)]
                print(
                    f"| {share} | {number} | {'busy' if busy else 'idle'} "
                    f"| {sum(found) / seeds:.2%} | {max(found):.2%} |",
                    flush=True,
                )


TABLES = {
    "recovery": recovery,
    "verification": verification,
    "steps": steps,
    "calm": calm,
    "duty": costs,
}

if __name__ == "__main__":
    TABLES[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 20)
