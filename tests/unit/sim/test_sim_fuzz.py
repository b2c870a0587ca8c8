"""Random cases hold every invariant; one that does not is made small and replays from its file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.app import app
from scx_vsched.errors import UserError
from scx_vsched.sim import apart
from scx_vsched.sim.apart import Apart
from scx_vsched.sim.case import Case, load_case, run_case
from scx_vsched.sim.draw import draw_case
from scx_vsched.sim.fuzz import Finding, Tally, fuzz, still_fails
from scx_vsched.sim.minimise import minimise
from scx_vsched.sim.run import Options
from scx_vsched.sim.workload import Instruction, Program, TaskSet, Workload

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))


def explore(seed: int, cases: int) -> tuple[Tally, list[Finding]]:
    findings: list[Finding] = []
    tally = fuzz(
        seed, cases, tell=lambda _: None, found=findings.append, max_findings=3, shrink_s=5
    )
    return tally, findings


def test_random_cases_hold_every_invariant() -> None:
    """A few; tools/test draws 2,000 others."""
    tally, findings = explore(1_000_000, 60)
    assert [finding.failure for finding in findings] == []
    assert tally.cases == 60
    assert tally.records > 100_000


def test_several_processes_find_what_one_finds_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "scx_vsched.sim.fuzz.draw_case", lambda number: deadlocking(number % 2 == 1)
    )
    monkeypatch.setattr("scx_vsched.sim.fuzz.minimise", lambda case, fails, seconds: case)
    seen = []
    for jobs in (1, 3):
        findings: list[Finding] = []
        tally = fuzz(4, 9, jobs=jobs, tell=lambda _: None, found=findings.append, max_findings=3)
        seen.append(([finding.seed for finding in findings], tally))
    assert seen[0] == seen[1]
    assert seen[0][0] == [5, 7, 9]
    assert seen[0][1].cases == 6, "it stops at the third"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_what_failed_once_does_so_no_more(path: Path) -> None:
    outcome = run_case(load_case(path))
    assert outcome.failure is None


# ---- A case that fails: locks taken in two orders, among much that does not matter ----


def deadlocking(crosswise: bool = True) -> Case:
    """Two tasks that take two locks in opposite orders, or one lock each."""

    def taker(name: str, first: int) -> Program:
        work = Instruction("compute", 1_000_000)
        taken = (Instruction("lock", first), work, Instruction("lock", 1 - first))
        steps = taken if crosswise else taken[:2]
        return Program(name, (work, *steps, Instruction("exit")))

    idle = Program("idle", (Instruction("sleep", 10**6), Instruction("exit")))
    return replace(
        draw_case(11),
        workload=Workload(
            programs=(idle, taker("a", 0), taker("b", 1)),
            tasks=(
                TaskSet(program="idle", count=20, nice=5),
                TaskSet(program="a", nice=-3),
                TaskSet(program="b", policy=3),
            ),
            locks=2,
        ),
        options=Options(end_ns=10**9, seed=3),
        expect="deadlock",
    )


def test_a_failing_case_becomes_small_and_fails_in_the_same_way(tmp_path: Path) -> None:
    case = deadlocking()
    with Apart() as runs:
        assert still_fails(case, "deadlock", runs)

    def fails(candidate: Case) -> bool:
        failure = run_case(candidate).failure
        return failure is not None and failure.name == "deadlock"

    small = minimise(case, fails, seconds=20)
    assert sum(tasks.count for tasks in small.workload.tasks) == 2
    assert {tasks.program for tasks in small.workload.tasks} == {"a", "b"}
    assert all(tasks.nice == 0 for tasks in small.workload.tasks)
    assert len(small.machine.threads) == len(small.machine.vcpus) <= 2
    assert not small.tunables
    # and its file, which the command replays, says the same
    path = tmp_path / "case.json"
    path.write_text(small.to_json(), encoding="utf-8")
    assert load_case(path) == small
    told = CliRunner().invoke(app, ["sim", "replay", str(path)])
    assert told.exit_code == 4
    assert "deadlock: the workload stands still" in told.stderr
    assert "switch_in" in told.stderr


# A worker that ends at the second case and stays at the fourth.
WORKER = """
import os, signal, sys
from scx_vsched.sim import worker
run = worker.run_case
def run_case(case, **options):
    if case.tunables == {"salt": 1}:
        os.kill(os.getpid(), signal.SIGKILL)
    if case.tunables == {"salt": 3}:
        signal.pause()
    return run(case, **options)
worker.run_case = run_case
worker.main()
"""


def test_a_case_that_crashes_or_hangs_is_a_finding_and_the_next_ones_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(apart, "WORKER", (sys.executable, "-c", WORKER))
    monkeypatch.setattr(apart, "_PATIENCE_S", 2.0)
    case = replace(draw_case(22), policy="chaos", without=(), kernel="7.x")
    run_case(case)  # what has to be compiled is there
    with Apart() as runs:
        found = [runs.run(replace(case, tunables={"salt": salt})) for salt in range(5)]
    names = [verdict.failure.name if verdict.failure else "" for verdict in found]
    assert names == ["", "crash", "", "hang", ""]
    assert "SIGKILL" in found[1].failure.message  # type: ignore[union-attr]
    assert all(verdict.records > 100 for verdict in found if verdict.failure is None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is damaged"),
        ("[]", "is not a case"),
        ('{"format": 99}', "is not a case"),
        ('{"format": 1, "machine": 3}', "is damaged"),
        ('{"format": 1, "surprise": {}}', "unknown key 'surprise'"),
    ],
)
def test_a_file_that_is_no_case_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "case.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        load_case(path)
    told = CliRunner().invoke(app, ["sim", "replay", str(path)])
    assert isinstance(told.exception, UserError)


def test_the_command_writes_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scx_vsched.sim.fuzz.draw_case", lambda _: deadlocking())
    options = ["--cases", "3", "--max-findings", "1", "--out", str(tmp_path), "--seed", "8"]
    told = CliRunner().invoke(app, ["sim", "fuzz", *options])
    assert told.exit_code == 4
    assert "1 cases from seed 8" in told.stdout
    assert load_case(tmp_path / "fuzz-8.json").expect == "deadlock"
