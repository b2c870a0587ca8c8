"""What reaches beyond its memory or is undefined in C ends the run under sanitizers, named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scx_vsched.errors import UserError
from scx_vsched.sim.sanitize import environment
from scx_vsched.sim.scheduler import prepare

RUN = """
import json, sys
from sim_faults import faulty
from test_sim_faults import HOGS
from scx_vsched.sim.machine import simple_machine
from scx_vsched.sim.run import Options
scheduler = faulty(sys.argv[1], sanitize=True)
outcome = scheduler.run(simple_machine(2), HOGS, Options(end_ns=50_000_000))
print(json.dumps([outcome.failure.name, outcome.failure.message, len(outcome.trace)]))
"""


@pytest.mark.parametrize(
    ("fault", "name", "says"),
    [
        ("shifts too far", "undefined", "undefined behaviour in dispatch on vCPU"),
        ("reads beyond an array", "address", "in vsched_dispatch (dispatch on vCPU"),
        ("reads before a map", "address", "heap-buffer-overflow"),
    ],
)
def test_it_is_found_in_the_scheduler(fault: str, name: str, says: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, fault],
        env=environment() | {"PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    found, message, steps = json.loads(done.stdout)
    assert found == name
    assert says in message
    assert steps > 0


def test_the_command_starts_a_process_that_can() -> None:
    arguments = ["2", "requests", "--seconds", "0.1", "--sanitize", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "scx_vsched", "sim", "run", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["failure"] is None


def test_elsewhere_it_is_said_how() -> None:
    with pytest.raises(UserError, match="without the address sanitizer"):
        prepare("core", sanitize=True)
