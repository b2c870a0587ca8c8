"""Windows in which vCPUs are away: when, in which order, and which process makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scx_vsched.vm.lab.placing import Plan, Stage
from scx_vsched.vm.lab.profile import Mechanism, Profile, VcpuShape
from scx_vsched.vm.lab.pulse import Program, Pulse, Switch, run_windows, windows
from scx_vsched.vm.lab.timers import programs

if TYPE_CHECKING:
    from scx_vsched.vm.lab.groups import Groups

MS = 1_000_000


class FakeGroups:
    @staticmethod
    def freezer(vcpu: int) -> tuple[Path, str, str]:
        return Path(f"/freezer/{vcpu}"), "FROZEN", "THAWED"


def plan(*stages: tuple[VcpuShape, ...]) -> Plan:
    made = tuple(Stage(10.0 * number, shapes) for number, shapes in enumerate(stages))
    return Plan(Profile("some", "", stages[0]), made, 1.0, (0, 1))


def made(given: Plan) -> list[tuple[Program, tuple[tuple[int, ...], ...]]]:
    groups: Groups = FakeGroups()  # type: ignore[assignment]
    return list(programs(given, groups))


def shape(quota_ms: float, period_ms: float, by: Mechanism, cpu: int = 0, **more: int) -> VcpuShape:
    return VcpuShape(
        round(quota_ms * 1000), round(period_ms * 1000), by, (cpu,), phase_us=more.get("phase", 0)
    )


def test_a_vcpu_is_away_at_the_end_of_each_period() -> None:
    pulse = Pulse(0, from_ns=100, to_ns=130, period_ns=10, away_ns=4, phase_ns=1)
    found = []
    while (window := windows(pulse, len(found))) is not None:
        found.append(window)
    assert found == [(107, 111), (117, 121), (127, 130)]


def test_windows_of_many_come_in_the_order_of_time() -> None:
    pulses = [Pulse(0, 0, 40, 20, 8), Pulse(1, 0, 40, 10, 10)]
    now, said = 0, []

    def sleep_until(at: int) -> bool:
        nonlocal now
        assert at >= now
        now = at
        return False

    run_windows(
        pulses,
        lambda pulse, over: said.append((now, "away", pulse.target, over)),
        lambda pulse, over: said.append((now, "back", pulse.target, over)),
        sleep_until,
    )
    assert [each[:3] for each in said if each[2] == 0] == [
        (12, "away", 0),
        (20, "back", 0),
        (32, "away", 0),
        (40, "back", 0),
    ]
    # windows that touch: back before away again
    assert [each[:2] for each in said if each[2] == 1][:4] == [
        (0, "away"),
        (10, "back"),
        (10, "away"),
        (20, "back"),
    ]
    assert all(over >= at for at, _, _, over in said)


def test_stopping_in_the_middle() -> None:
    said: list[str] = []
    run_windows(
        [Pulse(0, 0, 100, 10, 5)],
        lambda *_: said.append("away"),
        lambda *_: said.append("back"),
        lambda at: at > 20,
    )
    assert said == ["away", "back", "away", "back"]


def test_a_program_survives_the_pipe() -> None:
    program = Program((Switch("/f", "1", "0"), Switch()), (Pulse(0, 1, 2, 3, 4, 5),), 1, 9.5)
    text = program.to_json()
    assert "\n" not in text
    assert Program.from_json(text) == program


def test_one_process_freezes_all_and_each_corunner_has_its_own() -> None:
    freezer = [shape(4, 10, Mechanism.FREEZER), shape(5, 20, Mechanism.FREEZER, phase=3000)]
    corunner = shape(5, 10, Mechanism.CORUNNER, 1)
    first, second = made(plan((freezer[0], corunner, freezer[1])))
    assert first[1] == ((0,), (2,))
    assert first[0].cpu == -1
    assert [each.path for each in first[0].switches] == ["/freezer/0", "/freezer/2"]
    assert [(p.period_ns, p.away_ns, p.phase_ns) for p in first[0].pulses] == [
        (10 * MS, 6 * MS, 0),
        (20 * MS, 15 * MS, 3 * MS),
    ]
    assert second[1] == ((1,),)
    assert second[0].cpu == 1


def test_a_corunner_takes_its_host_cpu_from_all_who_are_there() -> None:
    both = shape(5, 10, Mechanism.CORUNNER)
    ((program, vcpus),) = made(plan((both, both)))
    assert vcpus == ((0, 1),)
    assert len(program.pulses) == 1


def test_quotas_need_no_process() -> None:
    assert made(plan((shape(5, 10, Mechanism.QUOTA), VcpuShape(cpus=(0,))))) == []


def test_changes_make_stretches_of_time_and_equal_stages_are_one() -> None:
    slow, fast = shape(2, 10, Mechanism.CORUNNER), shape(8, 10, Mechanism.CORUNNER)
    ((program, _),) = made(plan((slow,), (slow,), (fast,), (VcpuShape(cpus=(0,)),)))
    assert [(p.from_ns // 10**9, p.to_ns // 10**9, p.away_ns // MS) for p in program.pulses] == [
        (0, 20, 8),
        (20, 30, 2),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs real-time priorities (root)")
def test_the_process_writes_freezer_files_in_time_and_leaves_them_thawed(tmp_path: Path) -> None:
    path = tmp_path / "freezer.state"
    path.touch()
    program = Program(
        (Switch(str(path), "A", "B"),), (Pulse(0, 0, 1 << 60, 20 * MS, 5 * MS),), -1, 20.0
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "scx_vsched.vm.lab.pulse"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    with process:
        process.stdin.write(program.to_json() + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == {"ready": True}
        begin = time.monotonic_ns() + 10 * MS
        process.stdin.write(f"{begin}\n")
        process.stdin.flush()
        time.sleep(0.15)
        process.stdin.close()
        log = json.loads(process.stdout.readline())["log"]
    assert process.returncode == 0
    assert path.read_text().endswith("B")
    assert len(log) >= 3
    for number, (target, away, back) in enumerate(log[:3]):
        assert target == 0
        assert away >= begin + number * 20 * MS + 15 * MS
        assert back >= begin + number * 20 * MS + 20 * MS
    # a busy machine may delay some of them
    assert any(4 * MS <= back - away <= 6 * MS for _, away, back in log)
