"""In a guest: workloads under its own scheduler and ours in turn, in one boot.

    python -m scx_vsched.sim.real.alternate PROFILE WORKLOADS OBJECT ROUNDS SECONDS

prints a line of JSON for each workload: by measure, the rounds' values of both sides.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.real import run_threads
from scx_vsched.sim.workload_file import load_workload
from scx_vsched.vm.guest_sched import attached

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["alternate"]


def alternate(
    profile: str, workloads: Sequence[str], object_path: str, rounds: int, seconds: float
) -> None:
    """Prints what each workload reached in `rounds` rounds of each side, as they come."""
    machine = machine_named(profile)
    loads = [load_workload(name, machine) for name in workloads]
    for number in range(rounds):
        for side in ("default", "ours") if number % 2 else ("ours", "default"):
            with attached(object_path) if side == "ours" else contextlib.nullcontext():
                for load in loads:
                    found = run_threads(load, machine, seconds=seconds, seed=number + 1)
                    values = {measure.name: value for measure, value in found.items()}
                    row = {"workload": load.name, "round": number, "side": side, "values": values}
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    _profile, _workloads, _object, _rounds, _seconds = sys.argv[1:]
    alternate(_profile, _workloads.split(","), _object, int(_rounds), float(_seconds))
