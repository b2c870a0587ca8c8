"""Hooks computed in CPython decide as the compiled ones do, and a debugger stops in them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from scx_vsched.policies import resolve_policy
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import DEFAULT, prepare
from scx_vsched.sim.workload_file import load_workload

SHORT = Options(end_ns=100_000_000)


@pytest.mark.parametrize("policy", ["core", "chaos"])
@pytest.mark.parametrize("workload", ["requests", "mixed", "forktree"])
def test_the_run_is_the_same(policy: str, workload: str) -> None:
    machine = machine_named("rcvm", contended=True, honest=True)
    load = load_workload(workload, machine)
    compiled, stepped = (
        prepare(policy, cpython=cpython).run(machine, load, SHORT) for cpython in (False, True)
    )
    assert stepped.records > 100
    assert stepped.digest == compiled.digest


def test_tunables_reach_them() -> None:
    machine = machine_named("2")
    load = load_workload("mixed", machine)
    digests = {
        prepare("core", tunables={"slice_us": slice_us}, cpython=cpython)
        .run(machine, load, SHORT)
        .digest
        for slice_us in (1000, 2000)
        for cpython in (False, True)
    }
    assert len(digests) == 2


def test_an_exception_in_a_hook_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = prepare("core", cpython=True)
    assert scheduler.hooks
    machine = machine_named("2")

    def call(*_: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(
        scheduler.hooks, "_calls", [(call, readers) for _, readers in scheduler.hooks._calls]
    )
    with pytest.raises(ZeroDivisionError):
        scheduler.run(machine, load_workload("hogs", machine), SHORT)


def test_a_debugger_stops_at_a_line_of_the_policy() -> None:
    source = resolve_policy("core")
    lines = source.read_text(encoding="utf-8").splitlines()
    hook = next(i for i, line in enumerate(lines) if "def slice_ns(" in line)
    number = 1 + next(i for i, line in enumerate(lines) if i > hook and "return " in line)
    commands = f"break {source}:{number}\ncontinue\nprint('pid', task.pid, vcpu.id)\nquit\n"
    arguments = ["sim", "run", "2", "mixed", "--seconds", "0.1", "--cpython"]
    done = subprocess.run(
        [sys.executable, "-m", "pdb", "-m", "scx_vsched", *arguments],
        input=commands,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"{source.name}({number})slice_ns()" in done.stdout
    assert "pid 1 " in done.stdout


def test_the_default_scheduler_has_none() -> None:
    assert prepare(DEFAULT, cpython=True).hooks is None
