"""What docs/fidelity.md says of the recorded measurements is what comes out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.sim import fidelity
from scx_vsched.sim.fidelity import (
    BAND,
    Pair,
    Row,
    compare_with_vms,
    markdown,
    measured,
    met,
    profile_path,
    record,
    with_kernel_threads,
)
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.real import build_program, run_threads
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload_file import load_workload
from scx_vsched.vm.intervals import Ratio

if TYPE_CHECKING:
    from pathlib import Path

    from scx_vsched.sim.workload import Workload

# Where the simulator and VMs are known to differ; docs/fidelity.md says why.
DIFFERS = {("uneven", "locks")}
# Pairs of which the VMs are certain enough to disagree with.
MET = 13


def test_simulated_ratios_agree_with_those_of_vms_but_where_it_is_said() -> None:
    rows = list(compare_with_vms(measured()))
    assert len({(row.profile, row.workload) for row in rows}) >= 8
    wrong = {(row.profile, row.workload) for row in rows if not (row.agrees and row.same_sign)}
    assert wrong == DIFFERS
    assert len(met(rows)) >= MET
    assert not DIFFERS & set(met(rows))
    assert len(markdown(rows)) == len(rows) + 2


def test_the_default_scheduler_gets_tasks_off_a_vcpu_that_hardly_runs() -> None:
    """With the kernel's threads: one that is bound there makes two, and the other is moved away."""
    machine = machine_named(profile_path("straggler"))
    load = load_workload("half", machine)

    def done(workload: Workload) -> int:
        runs = (Options(seed=seed, end_ns=3_000_000_000) for seed in range(1, 9))
        return sum(prepare("default").run(machine, workload, o).counts["done"] for o in runs)

    assert done(with_kernel_threads(load, 4)) > 1.1 * done(load)


def test_what_a_vm_printed_takes_the_place_of_what_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "_FOLDER", tmp_path)
    (tmp_path / "measured.json").write_text('{"pairs": []}', encoding="utf-8")
    lines = ["scx_vsched: booted"]
    for number in range(3):
        for side in ("ours", "default"):
            values = {"done": 10.0 + number, f"odd {number}": 1.0}
            if (number, side) != (2, "default"):  # the last round was cut off
                row = {"workload": "half", "round": number, "side": side, "values": values}
                lines.append(json.dumps(row))
    record("even", "\n".join(lines))
    values = {"done": {"default": [10.0, 11.0], "ours": [10.0, 11.0]}}
    assert measured() == [Pair("even", "half", values)]
    with pytest.raises(UserError, match="no rounds of uneven"):
        record("uneven", "nothing")


def row(vm: tuple[float, float], sim: tuple[float, float]) -> Row:
    ratios = [Ratio((low * high) ** 0.5, low, high, 5) for low, high in (vm, sim)]
    return Row("p", "w", "m", 1, 1, *ratios)


def test_agreement_is_overlap_within_the_band_and_no_opposite_sign() -> None:
    assert row((0.9, 1.1), (1.0, 1.0)).agrees
    assert row((1.0, 1.1), (1.1 * BAND - 0.001, 1.5)).agrees
    assert not row((1.0, 1.1), (1.1 * BAND + 0.001, 1.5)).agrees
    assert not row((1.01, 1.02), (0.98, 0.99)).same_sign
    assert row((0.99, 1.02), (0.98, 0.99)).same_sign
    assert not row((0.5, 1.5), (1.0, 1.0)).certain


@pytest.mark.parametrize("workload", ["half", "requests", "barrier", "locks", "spinlocks"])
def test_real_threads_do_what_the_workload_says(workload: str) -> None:
    machine = machine_named("1")
    load = load_workload(workload, machine)
    found = {
        m.name: value for m, value in run_threads(load, machine, seconds=0.2, warmup=0.1).items()
    }
    assert found[load.metrics[0]] > 0


def test_what_threads_cannot_do_is_said() -> None:
    machine = machine_named("1")
    with pytest.raises(UserError, match="the step fork"):
        run_threads(load_workload("forktree", machine), machine, seconds=0.1)
    assert build_program().exists()
