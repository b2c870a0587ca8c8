"""`scx_vsched run` in VMs on the oldest and the newest kernel, in good times and in bad.

One boot for each kernel runs everything; the tests judge what it brought back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from faulty import ERROR, INIT, RESTART, build_faulty

from scx_vsched.vm.job import GUEST_DIR, Step

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = pytest.mark.vm

CORE = f"{GUEST_DIR}/core.bpf.o"
FAULTY = f"{GUEST_DIR}/faulty.bpf.o"
UNVERIFIABLE = f"{GUEST_DIR}/unverifiable.bpf.o"

RUNS = {
    "json": ["--object", CORE, "--stats", "0.5", "--stats-json", "--duration", "6"],
    "text": ["--object", CORE, "--stats", "0.5", "--duration", "4", "-v", "--timeout-ms", "5000"],
    "error": ["--object", FAULTY, "--set", f"fault={ERROR}"],
    "short dump": ["--object", FAULTY, "--set", f"fault={ERROR}", "--exit-dump-len", "512"],
    "restart": ["--object", FAULTY, "--set", f"fault={RESTART}", "--stats-json"],
    "init": ["--object", FAULTY, "--set", f"fault={INIT}"],
    "unverifiable": ["--object", UNVERIFIABLE],
}


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest,
    guests: Guests,
    core_object: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    """Everything below, run in one VM."""
    directory = tmp_path_factory.mktemp("faulty")
    steps = [
        Step("guest_cli:run", {"arguments": ["run", *arguments]}, name)
        for name, arguments in RUNS.items()
    ]
    steps += [
        Step(f"guest_cli:{task}", {"object_path": CORE}) for task in ("serve", "killed", "sysrq")
    ]
    return guests.run(
        request.param,
        steps,
        files={
            "core.bpf.o": core_object,
            "faulty.bpf.o": build_faulty(directory / "faulty.bpf.o"),
            "unverifiable.bpf.o": build_faulty(directory / "unver.bpf.o", unverifiable=True),
        },
    )


def value(outcome: Outcome, name: str) -> Any:
    """What the step brought back."""
    step = next(step for step in outcome.steps if step.name == name)
    assert step.ok, step.traceback
    return step.value


def check_gone(result: dict[str, Any]) -> None:
    """Nothing is left: neither a scheduler nor a socket nor a traceback."""
    assert result["state"] == "disabled", result
    assert not result["socket"], result
    assert "Traceback" not in result["err"], result["err"]


def test_statistics_as_json(outcome: Outcome) -> None:
    result = value(outcome, "json")
    assert result["code"] == 0, result
    check_gone(result)
    *intervals, summary = [json.loads(line) for line in result["out"].splitlines()]
    assert len(intervals) >= 3
    assert {line["type"] for line in intervals} == {"interval"}
    assert (summary["type"], summary["exit"], summary["restarts"]) == ("summary", None, 0)
    totals = [sum(line["totals"].values()) for line in (*intervals, summary)]
    assert totals == sorted(totals)
    assert totals[-1] > 0
    first, second = intervals[:2]
    for name, delta in second["stats"].items():
        assert second["totals"][name] - first["totals"][name] == delta


def test_statistics_as_text_and_verifier_log(outcome: Outcome) -> None:
    result = value(outcome, "text")
    assert result["code"] == 0, result
    check_gone(result)
    assert result["out"].count("s] ") >= 2
    assert "instructions and" in result["err"]
    assert "vsched_enqueue: " in result["err"]


def test_scheduler_error_is_decoded(outcome: Outcome) -> None:
    result = value(outcome, "error")
    assert result["code"] == 3, result
    check_gone(result)
    assert "the kernel ended Faulty: ERROR_BPF: " in result["err"]
    assert "told to fail" in result["err"]
    assert "CPU states" in result["err"], "the kernel's debug dump"


def test_dump_has_the_length_asked_for(outcome: Outcome) -> None:
    result = value(outcome, "short dump")
    assert result["code"] == 3, result
    check_gone(result)
    whole, short = (value(outcome, name)["err"] for name in ("error", "short dump"))
    assert "told to fail" in short
    assert len(short) < len(whole)
    assert len(short.partition("triggered exit kind")[2]) < 512


def test_restarts_are_obeyed_and_bounded(outcome: Outcome) -> None:
    result = value(outcome, "restart")
    assert result["code"] == 3, result
    check_gone(result)
    assert result["err"].count("the kernel asks for a restart: ") == 5
    assert "UNREG_BPF: " in result["err"]
    assert "[ACT_RESTART | RSN_HOTPLUG | user 7]" in result["err"]
    summary = json.loads(result["out"].splitlines()[-1])
    assert summary["restarts"] == 5
    queued = sum(n for name, n in summary["totals"].items() if name.startswith("queued_"))
    # the counters of one that ends before it was seen at work are not read
    assert queued >= 5 * 5, "totals go on across restarts"


def test_failing_init_is_an_error(outcome: Outcome) -> None:
    result = value(outcome, "init")
    assert result["code"] == 3, result
    check_gone(result)
    assert "the kernel ended Faulty: ERROR: " in result["err"]
    assert "ops.init() failed (-12)" in result["err"]


def test_verifier_error_names_program_and_policy_line(outcome: Outcome) -> None:
    result = value(outcome, "unverifiable")
    assert result["code"] == 1, result
    check_gone(result)
    assert "verifier refuses vsched_running at policy.py:42" in result["err"]
    assert "invalid mem access 'scalar'" in result["err"]


def test_sigterm_ends_cleanly(outcome: Outcome) -> None:
    served = value(outcome, "serve")
    assert served["attached"]
    assert served["first"]["code"] == 0, served["first"]
    check_gone(served["first"])
    assert "in " in served["first"]["out"], "a summary"


def test_second_scheduler_is_refused_by_name(outcome: Outcome) -> None:
    second = value(outcome, "serve")["second"]
    assert second["code"] == 1, second
    assert "another sched_ext scheduler is attached: " in second["err"]
    assert second["state"] == "enabled", "the first one goes on"


def test_socket_speaks_scx_stats(outcome: Outcome) -> None:
    served = value(outcome, "serve")
    assert served["mode"] == 0o600
    meta, malformed, first, second = served["answers"]
    assert malformed["errno"] != 0
    (structure,) = meta["args"]["resp"].values()
    assert structure["top"] == "true"
    assert (first["errno"], second["errno"]) == (0, 0)
    assert first["args"]["resp"].keys() == structure["fields"].keys()
    before, after = (
        sum(v for v in answer["args"]["resp"].values() if isinstance(v, int))
        for answer in (first, second)
    )
    assert after >= before > 0


def test_monitor_shows_a_running_scheduler(outcome: Outcome) -> None:
    monitor = value(outcome, "serve")["monitor"]
    assert monitor["code"] == 130, monitor
    assert "Traceback" not in monitor["err"]
    lines = [json.loads(line) for line in monitor["out"].splitlines()]
    assert len(lines) >= 3
    assert sum(sum(line["stats"].values()) for line in lines) > 0


def test_sigkill_leaves_the_kernels_scheduler(outcome: Outcome) -> None:
    killed = value(outcome, "killed")
    assert killed["attached"]
    assert killed["after"] == "disabled"
    assert killed["left"], "a stale socket, for the next one to replace"
    assert killed["next"]["code"] == 0, killed["next"]
    check_gone(killed["next"])


def test_sysrq_is_named(outcome: Outcome) -> None:
    result = value(outcome, "sysrq")
    assert result["code"] == 3, result
    check_gone(result)
    assert "SYSRQ: " in result["err"]
