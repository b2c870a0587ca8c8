"""Recorded wake-ups and runs are replayed as they were; what is missing in a record is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.app import app
from scx_vsched.errors import UserError
from scx_vsched.sim.machine import simple_machine
from scx_vsched.sim.run import Options, Outcome
from scx_vsched.sim.sched_trace import trace_workload
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload import Instruction, Workload
from scx_vsched.sim.workload_file import load_workload, parse_workload

GUEST = Path(__file__).parent / "traces" / "guest.txt"
MS = 1_000_000
IDLE = ("swapper", 0, 120)
A, B = ("ask er", 10, 120), ("answerer", 20, 125)


def switch(us: int, cpu: int, prev: tuple, state: str, following: tuple) -> str:
    names = (
        f"prev_comm={prev[0]} prev_pid={prev[1]} prev_prio={prev[2]} prev_state={state} ==> "
        f"next_comm={following[0]} next_pid={following[1]} next_prio={following[2]}"
    )
    return f"{prev[0]:>16} {prev[1]} [{cpu:03}] 7.{us:06}000: sched:sched_switch: {names}"


def wake(us: int, cpu: int, by: tuple, task: tuple, event: str = "sched_waking") -> str:
    names = f"comm={task[0]} pid={task[1]} prio={task[2]} target_cpu=000"
    return f"{by[0]:>16} {by[1]} [{cpu:03}] 7.{us:06}000: sched:{event}: {names}"


# A timer wakes A, which computes for 1 ms, asks B, computes for 1 ms more; B answers in 3 ms.
ASKING = (
    wake(0, 0, IDLE, A),
    switch(0, 0, IDLE, "R", A),
    wake(1000, 0, A, B),
    switch(1000, 1, IDLE, "R", B),
    switch(2000, 0, A, "S", IDLE),
    wake(4000, 1, B, A),
    switch(4000, 1, B, "S", IDLE),
    switch(4000, 0, IDLE, "R", A),
    switch(5000, 0, A, "X", IDLE),
)


TRACED = Options(end_ns=50 * MS, trace_limit=1000)


def ended(outcome: Outcome) -> int:
    return max(step.at_ns for step in outcome.trace if step.kind == "exit")


def steps(load: Workload, program: str) -> list[tuple[str, int]]:
    (found,) = [p for p in load.programs if p.name == program]
    return [(step.op, step.a) for step in found.instructions]


def test_who_woke_whom_and_what_was_computed_is_kept() -> None:
    load = trace_workload("\n".join(ASKING), "asking")
    assert steps(load, "ask er 10") == [
        ("until", 0), ("latency", 0), ("compute", MS), ("stamp", 0), ("send", 1), ("compute", MS),
        ("mark", 1), ("receive", 0), ("latency", 0), ("compute", MS), ("exit", 0),
    ]  # fmt: skip
    assert [tasks.nice for tasks in load.tasks] == [0, 5]
    outcome = prepare("core").run(simple_machine(2), load, TRACED)
    assert outcome.failure is None
    assert ended(outcome) == pytest.approx(5 * MS, rel=0.02)
    assert len(outcome.latencies_ns["wakeup"]) == 3
    # on one vCPU B waits until A sleeps
    one = prepare("default").run(simple_machine(1), load, TRACED)
    assert ended(one) == pytest.approx(6 * MS, rel=0.05)


def test_the_printers_of_perf_and_ftrace_are_understood() -> None:
    perf = "\n".join(
        [
            "# a comment",
            "  asker 10 [000] 7.000000: sched:sched_switch: swapper/0:0 [120] R ==> asker:10 [120]",
            "  asker 10 [000] 7.001000: sched:sched_stat_runtime: comm=asker pid=10 runtime=5 [ns]",
            "  asker 10 [000] 7.002000: sched:sched_switch: asker:10 [120] S ==> swapper/0:0 [120]",
        ]
    )
    ftrace = "\n".join(
        [
            "# tracer: nop",
            "  <idle>-0   [000] d..2.  7.000000: sched_switch: prev_comm=swapper/0 prev_pid=0 "
            "prev_prio=120 prev_state=R ==> next_comm=asker next_pid=10 next_prio=120",
            "  asker-10   [000] d..2.  7.002000: sched_switch: prev_comm=asker prev_pid=10 "
            "prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120",
        ]
    )
    for text in (perf, ftrace):
        load = trace_workload(text, "x")
        assert steps(load, "asker 10") == [("compute", 2 * MS), ("mark", 1), ("exit", 0)]


def test_a_task_woken_in_an_interrupt_wakes_at_its_time() -> None:
    text = "\n".join(ASKING).replace("[000] 7.001000000", "[000] d.h2. 7.001000000")
    assert ("until", MS) in steps(trace_workload(text, "x"), "answerer 20")


@pytest.mark.parametrize("policy", ["core", "default"])
def test_what_a_vm_recorded_runs(policy: str) -> None:
    load = load_workload(str(GUEST), simple_machine(4))
    options = Options(end_ns=10_000 * MS, check_every=1, drain=True)
    outcome = prepare(policy).run(simple_machine(4), load, options)
    assert outcome.failure is None
    assert outcome.counts["bursts"] > 50
    assert outcome.wakeups > 50


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ((), "holds no events"),
        (("# nothing",), "holds no events"),
        ((ASKING[0],), "holds no sched_switch"),
        (("hello world",), "line 1 is no event: 'hello world'"),
        ((ASKING[1], "PERF_RECORD_LOST lost 25"), "line 2: the record has a hole: PERF_RECORD"),
        ((ASKING[1], "CPU:0 [LOST 9 EVENTS]"), "line 2: the record has a hole"),
        (("# entries-in-buffer/entries-written: 10/99   #P:4",), "has a hole"),
        ((ASKING[4], ASKING[1]), "line 2: time runs backwards"),
        ((ASKING[1], ASKING[6].replace("[001]", "[000]")), "pid 20 leaves CPU 0, where pid 10 ran"),
        (ASKING[:5] + ASKING[7:], "line 6: .* pid 10 runs though nothing woke it"),
        ((ASKING[1], switch(9, 1, IDLE, "R", A)), "pid 10 runs on two CPUs"),
        ((*ASKING, switch(6000, 0, IDLE, "R", A)), "pid 10 runs after its end"),
        ((ASKING[1].replace("next_pid=10", "next_pid=x"),), "cannot read sched_switch"),
    ],
)
def test_a_record_with_holes_is_refused(lines: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        trace_workload("\n".join(lines), "record")


def test_the_command_replays_a_record(tmp_path: Path) -> None:
    path = tmp_path / "asking.txt"
    path.write_text("\n".join(ASKING), encoding="utf-8")
    arguments = ["2", str(path), "--json", "--seconds", "1", "--warmup", "0"]
    found = json.loads(CliRunner().invoke(app, ["sim", "run", *arguments]).stdout)
    assert found["failure"] is None
    assert found["latency"]["wakeup"]["samples"] == 3
    missing = CliRunner().invoke(app, ["sim", "run", "2", str(tmp_path / "none.txt")])
    assert isinstance(missing.exception, UserError)


def test_a_step_waits_for_a_time_of_the_run() -> None:
    text = (
        'metrics = ["late"]\n[[program]]\nname = "p"\n'
        'steps = ["until 5ms", "latency late", "compute 3ms", "until 6ms", "latency late", '
        '"exit"]\n'
        '[[tasks]]\nprogram = "p"'
    )
    load = parse_workload(text, "mine", simple_machine(1))
    assert load.programs[0].instructions[0] == Instruction("until", 5 * MS)
    outcome = prepare("core").run(simple_machine(1), load, Options(end_ns=50 * MS))
    first, second = outcome.latencies_ns["late"]
    assert first < 20_000
    assert second == pytest.approx(2 * MS, rel=0.02)
