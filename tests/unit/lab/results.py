"""Results of the lab as no VM made them, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace

from scx_vsched.lab.document import Document, Measurement, Picture, Profile
from scx_vsched.lab.guest_measure import QUANTILES

GAINS = {"default": 1.0, "core": 1.0, "all": 2.0}
ROUNDS = 5


def _latencies(p50: float) -> dict[str, tuple[float, str]]:
    parts = {"p50": 1.0, "p95": 4.0, "p99": 8.0, "p99.9": 16.0, "max": 20.0}
    return {f"latency {name}": (p50 * part, "us") for name, part in parts.items()}


def measurements(gains: dict[str, float] = GAINS, rounds: int = ROUNDS) -> list[Measurement]:
    """`compute-2` and `requests`, better by `gains`, each round a little different."""
    found = []
    for number in range(rounds):
        for scheduler, gain in gains.items():
            luck = 1 + 0.01 * number
            found.append(
                Measurement(
                    number,
                    scheduler,
                    "compute-2",
                    {"done": (1000 * luck * gain, "/s")},
                    used=(0.25 * gain, 0.25),
                    counters={"kept": 3},
                    seen=((512, 4000.0), (512, 4000.0)),
                )
            )
            curve = tuple(500 * (1 + 10 * part) / gain for part in QUANTILES)
            latencies = _latencies(1000 * luck / gain)
            found.append(Measurement(number, scheduler, "requests", latencies, {"latency": curve}))
    return found


def profile(name: str = "half-few", **changes: object) -> Profile:
    """Two vCPUs of half a host CPU each."""
    return replace(
        Profile(
            name,
            "two vCPUs",
            "",
            (0.5, 0.5),
            where="Linux 6.12, tcg",
            capacity=(0.48, 0.5),
            measurements=tuple(measurements()),
        ),
        **changes,
    )


def document(*profiles: Profile) -> Document:
    """A run with these, by default one."""
    return Document(
        "0.1.0",
        "2 CPUs, Linux 6.18",
        "2026-01-01 00:00:00 UTC",
        "scx_vsched lab run",
        ROUNDS,
        3.0,
        profiles or (profile(),),
        (("pbzip2", "pbzip2", "apt-get install pbzip2"),),
    )


def change(recovers: bool, scheduler: str = "all") -> Measurement:
    """20 s in tenths of seconds; at 10 s half is lost, and is back after 3 s if it `recovers`."""
    after = [500.0] * 30 + [950.0 if recovers else 500.0] * 70
    return Measurement(0, scheduler, "pace", rates=(*[1000.0] * 100, *after), changed_s=10.0)


PICTURE = Picture(
    "all",
    20_000_000,
    (((0, 5_000_000, 7), (6_000_000, 9_000_000, 8)), ((9_000_000, 20_000_000, 8),)),
    (((2_000_000, 4_000_000),), ()),
    ((9_000_000, 8, 0, 1),),
    3_000_000,
    {"7": "server", "8": "client"},
)
