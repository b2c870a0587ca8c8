"""The C extension built from native/: see methods there."""

from collections.abc import Sequence

OK: int
OFFLINE: int
LEFT: int
NO_THREAD: int
MAX_VCPUS: int

def pair_probes(
    pairs: Sequence[tuple[int, int]], budget_ns: int, samples: int, /
) -> list[tuple[tuple[int, int], tuple[float, ...], tuple[int, int], int, int]]: ...
def watch(
    vcpus: Sequence[int],
    duration_ns: int,
    demand: int,
    threshold_ns: int,
    period_ns: int,
    /,
) -> list[tuple[int, int, int, tuple[tuple[int, int], ...], int, int, int, int]]: ...
