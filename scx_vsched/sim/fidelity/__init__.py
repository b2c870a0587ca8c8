"""The simulator beside VMs: what both say of the same workload on the same profile.

`measured.json` holds what VMs reached (`scx_vsched.sim.real.alternate`); the profiles beside it pin
every vCPU to a host CPU, so that the simulated host is the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.sim.compare import compare
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import DEFAULT, prepare
from scx_vsched.sim.workload import Instruction, Program, TaskSet
from scx_vsched.sim.workload_file import load_workload
from scx_vsched.vm.intervals import Ratio, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scx_vsched.sim.workload import Workload

__all__ = [
    "BAND",
    "Pair",
    "Row",
    "compare_with_vms",
    "markdown",
    "measured",
    "met",
    "profile_path",
    "record",
    "with_kernel_threads",
]

# How far apart, as a factor, the two 95 % intervals may lie.
BAND = 1.10
# An interval of VMs that spans more than this factor says nothing of a ratio.
_USELESS = 2.0
_SIDES = ("default", "ours")
_FOLDER = Path(__file__).parent
_SECONDS, _WARMUP, _SEEDS = 3.0, 0.5, 8


@dataclass(frozen=True, slots=True)
class Pair:
    """What VMs of `profile` reached with `workload`: the rounds' values by measure and side."""

    profile: str
    workload: str
    values: dict[str, dict[str, list[float]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of one pair: medians of the default scheduler, and ours over it."""

    profile: str
    workload: str
    measure: str
    vm_default: float
    sim_default: float
    vm: Ratio
    sim: Ratio

    @property
    def agrees(self) -> bool:
        """Whether the intervals overlap once they are widened by the band."""
        return self.vm.low / BAND <= self.sim.high and self.sim.low <= self.vm.high * BAND

    @property
    def certain(self) -> bool:
        """Whether the VMs' interval is narrow enough to disagree with."""
        return self.vm.high / self.vm.low <= _USELESS

    @property
    def same_sign(self) -> bool:
        """Whether ours is on the same side, as far as both are sure that it is on one."""
        sides = [1 if r.low > 1 else -1 if r.high < 1 else 0 for r in (self.vm, self.sim)]
        return 0 in sides or sides[0] == sides[1]


def measured() -> list[Pair]:
    """What VMs reached, as it was recorded."""
    raw = json.loads((_FOLDER / "measured.json").read_text(encoding="utf-8"))
    return [Pair(**pair) for pair in raw["pairs"]]


def record(profile: str, text: str) -> None:
    """Replaces what is recorded of `profile` by what `alternate` printed: rounds of both sides.

    Raises UserError where `text` holds none.
    """
    sides: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            rounds = sides.setdefault(row["workload"], {})
            rounds.setdefault(row["round"], {})[row["side"]] = row["values"]
    pairs = [pair for pair in measured() if pair.profile != profile]
    for workload, rounds in sides.items():
        whole = [values for values in rounds.values() if len(values) == len(_SIDES)]
        if whole:
            pairs.append(Pair(profile, workload, _by_measure(whole)))
    if len(pairs) == len([pair for pair in pairs if pair.profile != profile]):
        raise UserError(f"no rounds of {profile}", "docs/fidelity.md says how they are measured")
    pairs.sort(key=lambda pair: (pair.profile, pair.workload))
    lines = ",\n".join(f"  {json.dumps(asdict(pair))}" for pair in pairs)
    path = _FOLDER / "measured.json"
    path.write_text(f'{{\n "pairs": [\n{lines}\n ]\n}}\n', encoding="utf-8")


def _by_measure(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """The rounds' values by measure and side, of measures that every round has."""
    names = [
        name
        for name in rounds[0][_SIDES[0]]
        if all(name in values[side] for values in rounds for side in _SIDES)
    ]
    return {
        name: {side: [round(values[side][name], 1) for values in rounds] for side in _SIDES}
        for name in names
    }


def profile_path(name: str) -> str:
    """The file of the profile `name`."""
    return str(_FOLDER / f"{name}.toml")


def with_kernel_threads(load: Workload, vcpus: int) -> Workload:
    """`load` beside the threads that a guest's kernel has: as often and as long as VMs' traces say.

    `kworker` is bound to its vCPU; `rcu_preempt` and `kcompactd0` are not.
    """

    def program(name: str, sleep: Instruction, busy_ns: int) -> Program:
        return Program(name, (sleep, Instruction("compute", busy_ns), Instruction("forever")))

    def every(ns: int) -> Instruction:
        return Instruction("sleep", ns, distribution="exponential")

    return replace(
        load,
        programs=(
            *load.programs,
            program("kworker", every(900_000_000), 100_000),
            program("rcu_preempt", every(110_000_000), 80_000),
            program("kcompactd0", Instruction("sleep", 500_000_000), 100_000),
        ),
        tasks=(
            *load.tasks,
            *(TaskSet(program="kworker", affinity=(n,), kthread=True) for n in range(vcpus)),
            TaskSet(program="rcu_preempt", kthread=True),
            TaskSet(program="kcompactd0", kthread=True),
        ),
    )


def compare_with_vms(pairs: Sequence[Pair]) -> Iterator[Row]:
    """Simulates each pair; a row for every measure that both have."""
    schedulers = [prepare(DEFAULT), prepare("core")]
    options = Options(end_ns=round((_SECONDS + _WARMUP) * 1e9), warmup_ns=round(_WARMUP * 1e9))
    for pair in pairs:
        machine = machine_named(profile_path(pair.profile))
        load = with_kernel_threads(load_workload(pair.workload, machine), len(machine.vcpus))
        for found in compare(schedulers, machine, load, options, _SEEDS):
            rounds = pair.values.get(found.measure.name)
            if rounds is None:
                continue
            yield Row(
                pair.profile,
                pair.workload,
                f"{found.measure.name}, {found.measure.unit}",
                sorted(rounds["default"])[len(rounds["default"]) // 2],
                found.medians[0],
                ratio(rounds["ours"], rounds["default"]),
                found.ratios[1],
            )


def met(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The pairs whose throughput the VMs are certain of, and whose certain measures all agree."""
    found = []
    for pair in dict.fromkeys((row.profile, row.workload) for row in rows):
        own = [row for row in rows if (row.profile, row.workload) == pair]
        throughput = [row for row in own if row.measure.endswith("/s")]
        if all(row.certain for row in throughput) and all(
            row.agrees and row.same_sign for row in own
        ):
            found.append(pair)
    return found


def markdown(rows: Sequence[Row]) -> list[str]:
    """The table of docs/fidelity.md."""
    lines = [
        "| Profile | Workload | Measure | default, VM | default, simulated "
        "| core / default, VM | simulated | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = "agrees" if row.certain else "agrees, VMs uncertain"
        if not (row.agrees and row.same_sign):
            verdict = "**differs**"
        lines.append(
            f"| {row.profile} | {row.workload} | {row.measure} | {row.vm_default:,.0f} "
            f"| {row.sim_default:,.0f} | {row.vm} | {row.sim} | {verdict} |"
        )
    return lines
