"""Impossible machines, workloads and records are refused in words, before anything runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.app import app
from scx_vsched.errors import UserError
from scx_vsched.sim.machine import HostThread, Machine, simple_machine
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.recorded import availability_document, recorded_machine
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.unseen import unseen_machine
from scx_vsched.sim.workload import Instruction, Program, Step, TaskSet, Workload
from scx_vsched.sim.workload_file import load_workload, parse_workload
from scx_vsched.topology.records import Availability, Gap

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
TWO = simple_machine(2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vcpus": ()}, "a machine of 0 vCPUs"),
        ({"threads": TWO.threads[:1]}, "2 vCPUs have only 1 host threads"),
        ({"threads": (HostThread(0), HostThread(7))}, "vCPU 1 is on the hardware thread 7 of 2"),
        ({"threads": (*TWO.threads, HostThread(-1))}, "competitor 0 is on the hardware thread -1"),
        ({"threads": (HostThread(0), HostThread(1, weight=0))}, "vCPU 1 has the weight 0"),
        ({"threads": (HostThread(0, quota_ns=-5, period_ns=9), HostThread(1))}, "negative time"),
        ({"threads": (HostThread(0, quota_ns=9 * MS, period_ns=MS), HostThread(1))}, "of every"),
        ({"threads": (HostThread(0, gates_ns=(MS, -MS)), HostThread(1))}, "negative time"),
        ({"threads": (HostThread(0, gates_ns=(0, MS)), HostThread(1))}, "never opens"),
        ({"threads": (HostThread(0, gates_ns=(MS,)), HostThread(1))}, "lacks a time"),
        ({"tick_ns": 0}, "a tick of 0 ns is impossible"),
        ({"host_slice_ns": -1}, "a host slice of -1 ns"),
        ({"smt_factor": 0}, "SMT factor"),
        ({"pcpus": tuple(replace(p, speed=0) for p in TWO.pcpus)}, "has the speed 0"),
    ],
)
def test_an_impossible_machine_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        replace(TWO, **changes)  # type: ignore[arg-type]


def program(*steps: Instruction) -> Workload:
    return Workload(programs=(Program("p", steps),), tasks=(TaskSet(program="p"),))


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((), "does not end with"),
        ((Instruction("compute", 5),), "does not end with"),
        ((Instruction("compute", -5), Instruction("exit")), "-5, 0 is out of range"),
        ((Instruction("dance"), Instruction("exit")), "no such step"),
        ((Instruction("lock", 0), Instruction("exit")), "there is no number 0"),
        ((Instruction("mark", 0), Instruction("exit")), "there is no number 0"),
        ((Instruction("loop", 3), Instruction("exit")), "does not end"),
        ((Instruction("end"), Instruction("exit")), "loops do not match"),
        ((Instruction("compute", 9, 3, distribution="uniform"), Instruction("exit")), "no range"),
        ((Instruction("stamp"), Instruction("forever")), "repeats itself without taking time"),
        ((Instruction("compute"), Instruction("forever")), "repeats itself without taking time"),
    ],
)
def test_an_impossible_program_is_refused(steps: tuple[Instruction, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        program(*steps)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step(0, "offline", 5), "names number 5 of 2"),
        (Step(0, "quota", 0, 5 * MS, MS), "a quota of 5000000 ns in 1000000 ns"),
        (Step(0, "speed", 0, 0), "to 0 is impossible"),
        (Step(0, "pin", 0, 9), "goes to number 9"),
        (Step(0, "affinity", 0, mask=(9,)), "names vCPU 9"),
        (Step(0, "group_weight", 0, 0), "to 0 is impossible"),
    ],
)
def test_an_impossible_change_is_refused(step: Step, says: str) -> None:
    load = replace(program(Instruction("compute", MS), Instruction("forever")), script=(step,))
    with pytest.raises(UserError, match=says):
        prepare("default").run(TWO, load, Options(end_ns=MS))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps = [", "not valid TOML"),
        ("colour = 3", "unknown key 'colour'"),
        ("program = 3", r"written \[\[program\]\]"),
        ('[[program]]\nname = "p"\nsteps = ["compute -5ms", "exit"]', "'-5ms' is not a time"),
        ('[[program]]\nname = "p"\nsteps = ["compute 5", "exit"]', "'5' is not a time"),
        ('[[program]]\nname = "p"\nsteps = ["compute", "exit"]', "needs an argument"),
        ('[[program]]\nname = "p"\nsteps = ["lock a", "exit"]', "no lock 'a'"),
        ('[[program]]\nname = "p"\nsteps = ["exit"]\n[[tasks]]\nprogram = "q"', "no program 'q'"),
        (
            '[[program]]\nname = "p"\nsteps = ["exit"]\n[[tasks]]\nprogram = "p"\ncount = "few"',
            "'few' is no count",
        ),
        (
            '[[program]]\nname = "p"\nsteps = ["exit"]\n[[tasks]]\nprogram = "p"\nnice = 99',
            "nice 99",
        ),
        ("", "no programs or no tasks"),
        ("locks = 3", "mine: "),
        ('[[program]]\nname = "p"\nsteps = "exit"', "steps is no list"),
        ('[[program]]\nname = "p"\nsteps = ["exit"]\nnice = 3', "unknown key 'nice'"),
        (
            '[[program]]\nname = "p"\nsteps = ["exit"]\n[[tasks]]\nprogram = "p"\nvcpus = ["a"]',
            "is no list of vCPUs",
        ),
        (
            '[[program]]\nname = "p"\nsteps = ["exit"]\n[[tasks]]\nprogram = "p"\ngroup = 7',
            "in group 7",
        ),
    ],
)
def test_a_file_that_describes_no_workload_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_workload(text, "mine", TWO)


def test_times_of_a_run_are_bounded() -> None:
    load = load_workload("compute", TWO)
    for end_ns in (0, -1, 10**18):
        with pytest.raises(UserError, match="a run of"):
            prepare("default").run(TWO, load, Options(end_ns=end_ns))


# ---- Records of availability ----


def record(*gaps: tuple[int, int], vcpu: int = 0, start: int = 1000, end: int = 100 * MS) -> dict:
    return {"vcpu": vcpu, "start_ns": start, "end_ns": start + end, "gaps": [list(g) for g in gaps]}


def document(*rows: dict) -> str:
    return json.dumps({"format": "vcpu-availability", "version": 1, "vcpus": rows})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("{}", "no record of availability"),
        (document(), "names no vCPUs"),
        (document({"vcpu": 0}), "is damaged"),
        (document(record(vcpu=1)), "has a hole: vCPU 0 is missing"),
        (document(record(), record()), "twice"),
        (document(record(), record(vcpu=1, start=10**9)), "recorded at another time"),
        (document(record((5 * MS, -3))), "a gap of -3 ns"),
        (document(record((0, MS))), "outside of its time"),
        (document(record((99 * MS, 5 * MS))), "outside of its time"),
        (document(record((5 * MS, 3 * MS), (6 * MS, MS))), "overlap"),
        (document(record((7 * MS, MS), (5 * MS, MS))), "out of order"),
        (document(record((1000, 100 * MS))), "never ran"),
        (document(record(end=-5)), "ends before it starts"),
    ],
)
def test_a_record_with_holes_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        recorded_machine(text, "record.json")


def away(machine: Machine, end_ns: int) -> list[tuple[int, int]]:
    """When vCPU 0 is away while it is busy, as the simulator has it."""
    options = Options(end_ns=end_ns, trace_limit=10_000)
    trace = prepare("default").run(machine, load_workload("compute", machine), options).trace
    spells, since = [], 0
    for step in trace:
        if step.kind == "host_out" and step.vcpu == 0:
            since = step.at_ns
        if step.kind == "host_in" and step.vcpu == 0 and since:
            spells.append((since, step.at_ns - since))
    return spells


def test_a_record_is_replayed_to_the_nanosecond_and_again_and_again(tmp_path: Path) -> None:
    gaps = [(4 * MS, 2 * MS), (10 * MS, 500), (10 * MS + 500, MS), (60 * MS, 30 * MS)]
    seen = Availability(
        vcpu=0, start_ns=0, end_ns=100 * MS, gaps=tuple(Gap(*g) for g in gaps), resolution_ns=0,
        loops=0, cpu_ns=0,
    )  # fmt: skip
    path = tmp_path / "seen.json"
    text = availability_document({0: seen, 1: replace(seen, vcpu=1, gaps=())}, TWO.topology())
    path.write_text(text, encoding="utf-8")
    machine = machine_named(str(path))
    once = [(4 * MS, 2 * MS), (10 * MS, MS + 500), (60 * MS, 30 * MS)]
    assert away(machine, 195 * MS) == once + [(100 * MS + at, length) for at, length in once]
    assert machine.threads[1] == HostThread(1)


def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(document(record((5 * MS, -3))), encoding="utf-8")
    for arguments in (
        ["nowhere", "requests"],
        [str(bad), "requests"],
        ["4", "nothing"],
        ["4", "requests", "--policy", "nobody"],
        ["4", "requests", "--set", "slice_us=-1"],
        ["4", "requests", "--kernel", "2.6"],
        ["0", "requests"],
        ["5000", "requests"],
    ):
        told = CliRunner().invoke(app, ["sim", "run", *arguments])
        assert isinstance(told.exception, UserError), arguments


@pytest.mark.parametrize("option", ["--seconds", "--warmup", "--timeline-ms"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e300", "-1"])
def test_times_that_are_none_are_refused(option: str, value: str) -> None:
    told = CliRunner().invoke(app, ["sim", "run", "4", "requests", option, value])
    assert told.exit_code == 2
    assert f"Invalid value for '{option}'" in told.stderr


def test_the_command_runs_a_record(tmp_path: Path) -> None:
    path = tmp_path / "seen.json"
    path.write_text(document(record((5 * MS, 20 * MS))), encoding="utf-8")
    arguments = [str(path), "compute", "--json", "--seconds", "0.5", "--warmup", "0"]
    told = CliRunner().invoke(app, ["sim", "run", *arguments])
    found = json.loads(told.stdout)
    assert found["failure"] is None
    assert found["vcpus"][0]["stolen_ms"] == pytest.approx(100, abs=1)


def test_drawn_machines_are_the_same_each_time_and_fit_the_simulator() -> None:
    for number in range(1, 40):
        machine = unseen_machine(number)
        assert machine == unseen_machine(number)
        assert 4 <= len(machine.vcpus) <= 24
        assert all(0.05 < share <= 1 for share in machine.shares()), machine.shares()
    assert unseen_machine(1) != unseen_machine(2)


def test_windows_without_a_phase_begin_at_any_time() -> None:
    assert {thread.phase_ns for thread in machine_named("asym-latency").threads} == {None}
