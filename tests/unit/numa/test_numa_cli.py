"""`scx_vsched numa` and `run --numa` from outside, and the balancer's thread."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from commands import command
from numa_machine import Machine, Task

from scx_vsched.errors import UserError
from scx_vsched.numa.balancer import Balancer
from scx_vsched.numa.client import ask_status, status_text
from scx_vsched.numa.dry import plan_once
from scx_vsched.numa.history import Recorder, read_history
from scx_vsched.numa.records import GroupState, MoveRecord, NodeState, Round
from scx_vsched.numa.running import Balancing, Losses, changed
from scx_vsched.numa.saved import SavedFile
from scx_vsched.numa.settings import Places, Settings, balancer_policy
from scx_vsched.runtime.socket import StatsServer

if TYPE_CHECKING:
    from pathlib import Path

SORTED = Settings(policy=balancer_policy("sorted"), period_s=0.3)


def rounds() -> list[Round]:
    """A task that leaves node 0 when its host wants it."""
    return [
        Round(
            100.0 + 2 * number,
            tuple(
                NodeState(
                    node,
                    2,
                    2048.0,
                    1500.0 if node == 0 and number > 3 else 100.0,
                    1024.0 * (node == at),
                    1 << 30,
                    1 << 29,
                )
                for node in range(4)
            ),
            (
                GroupState((40, 41), "worker", at, 1024.0, 30 << 20, "", True),
                GroupState((50,), "server", 3, 200.0, 9 << 20, "nice -5", False),
            ),
            (MoveRecord(108.0, (40, 41), "worker", 0, 2, 30 << 20, 0, "node 0 was loaded 120%"),)
            if number == 4
            else (),
        )
        for number, at in enumerate([0, 0, 0, 0, 2, 2, 2, 2])
    ]


def record(path: Path) -> Path:
    recorder = Recorder(path, SORTED)
    for found in rounds():
        recorder.add(found)
    recorder.close()
    return path


class TestTheRecord:
    def test_it_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        history = read_history(record(tmp_path / "numa.jsonl"))
        assert history.rounds == tuple(rounds())
        assert history.policy == "sorted:memory-asc"
        assert not history.incomplete

    def test_a_line_that_was_cut_off_is_left_out(self, tmp_path: Path) -> None:
        path = record(tmp_path / "numa.jsonl")
        path.write_text(path.read_text()[:-30])
        history = read_history(path)
        assert history.incomplete
        assert len(history.rounds) == 7

    @pytest.mark.parametrize("text", ["", "x\n", '{"record": "other"}\n', "\x00\xff"])
    def test_what_is_none_is_told(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "numa.jsonl"
        path.write_bytes(text.encode("latin-1"))
        assert "no record of a balancer" in command("numa", "plot", path, "x.svg").stderr

    def test_a_bad_line_is_told_with_its_number(self, tmp_path: Path) -> None:
        path = record(tmp_path / "numa.jsonl")
        lines = path.read_text().splitlines()
        lines[2] = "{}"
        path.write_text("\n".join(lines))
        with pytest.raises(UserError, match="line 3"):
            read_history(path)

    def test_it_is_drawn(self, tmp_path: Path) -> None:
        path = tmp_path / "numa.svg"
        done = command("numa", "plot", record(tmp_path / "numa.jsonl"), path)
        assert done.returncode == 0, done.stderr
        text = path.read_text()
        for word in ("node 3", "worker 40", "server 50", "taken by the host"):
            assert word in text


class TestPlan:
    def test_a_machine_of_one_node_is_told(self, tmp_path: Path) -> None:
        machine = Machine(tmp_path, nodes=1)
        with pytest.raises(UserError, match="one NUMA node"):
            plan_once(SORTED, places=machine.places)

    def test_what_would_move_is_told_and_nothing_is_done(self, tmp_path: Path) -> None:
        machine = Machine(tmp_path)
        machine.add(Task(10))
        status = plan_once(SORTED, places=machine.places)
        assert status["moves"] == []
        assert len(status["nodes"]) == 4

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("plan", "sideways"), "no policy 'sideways'"),
            (("plan", "--rules", "/none"), "cannot read /none"),
            (("status", "--socket", "/none"), "no running scheduler answers"),
            (("plot", "/none", "x.svg"), "cannot read /none"),
        ],
    )
    def test_mistakes_are_told(self, arguments: tuple[str, ...], said: str) -> None:
        done = command("numa", *arguments)
        assert done.returncode == 1
        assert said in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--numa", "sideways"), "no policy 'sideways'"),
            (("--numa-period", "3"), "--numa-period without --numa"),
            (("--numa-dry-run",), "--numa-dry-run without --numa"),
            (("--numa", "sorted", "--numa-rules", "/none"), "cannot read /none"),
        ],
    )
    def test_run_tells_them_too(self, arguments: tuple[str, ...], said: str) -> None:
        done = command("run", *arguments)
        assert done.returncode == 1
        assert said in done.stderr


class TestStatus:
    def answer(self) -> dict[str, Any]:
        found = rounds()[4]
        answer = {
            "policy": "sorted:memory-asc",
            "dry_run": False,
            "period_s": 2.0,
            "budget_bytes_s": 256 << 20,
            "now_s": 110.0,
            "at_s": 108.0,
            "nodes": [vars_of(node) for node in found.nodes],
            "groups": [vars_of(group) for group in found.groups],
            "waiting": 2,
            "too_big": 1,
            "moves": [vars_of(move) for move in found.moves],
            "totals": {
                "rounds": 5, "moves": 1, "memory_bytes": 30 << 20, "stayed_bytes": 0,
                "most_moves_per_minute": 1,
            },
            "skipped": {"maps: vanished": 3},
        }  # fmt: skip
        return dict(json.loads(json.dumps(answer)))

    def test_who_was_moved_and_why(self) -> None:
        text = status_text(self.answer())
        assert "worker (40, 41): node 0 → 2, 30.0 MiB; node 0 was loaded 120%" in text
        assert "fixed: nice -5" in text
        assert "maps: vanished (3)" in text
        assert "2 groups wait" in text

    def test_it_is_asked_of_the_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "stats"
        answer = self.answer()
        with StatsServer(dict, {}, path, {"numa": lambda _: answer}):
            assert ask_status(path) == answer
            done = command("numa", "status", "--json", "--socket", path)
            assert json.loads(done.stdout) == answer

    def test_a_scheduler_without_a_balancer_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "stats"
        with StatsServer(dict, {}, path), pytest.raises(UserError, match="no balancer"):
            ask_status(path)


def vars_of(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


class TestTheThread:
    def balancing(self, tmp_path: Path, said: list[str], settings: Settings = SORTED) -> Balancing:
        self.machine = Machine(tmp_path)
        places = self.machine.places
        return Balancing(
            settings,
            lambda: None,
            said.append,
            places=places,
            saved=SavedFile(tmp_path / "numa.json", places.proc, places.sys),
        )

    def test_it_looks_again_and_again_and_ends(self, tmp_path: Path) -> None:
        said: list[str] = []
        with self.balancing(tmp_path, said) as balancing:
            status = balancing.commands()["numa"]
            deadline = time.monotonic() + 20
            while status({})["totals"]["rounds"] < 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert status({})["totals"]["rounds"] >= 2
        assert said == []

    def test_a_change_of_a_node_does_not_wait_for_the_period(self) -> None:
        assert changed({0: 0.0, 1: 0.5}, {0: 0.0, 1: 0.61})
        assert not changed({0: 0.0, 1: 0.5}, {0: 0.05, 1: 0.45})

    def test_a_record_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        settings = Settings(policy=balancer_policy("fine"), record=tmp_path / "no/such/folder")
        with pytest.raises(UserError, match="cannot write"):
            self.balancing(tmp_path, [], settings)

    def test_losses_are_measured_or_stolen(self, tmp_path: Path) -> None:
        machine = Machine(tmp_path)
        assert Losses(lambda: None, Places(machine.places.proc, ""))() == {}

    def test_nothing_slow_is_imported_beside_a_scheduler(self) -> None:
        script = (
            "import sys, scx_vsched.numa.running\n"
            "print([m for m in ('numpy', 'networkx', 'polars', 'matplotlib') if m in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stdout == "[]\n"


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    """Real files below /proc, nodes of a machine in a folder: nothing there is an error."""
    machine = Machine(tmp_path)
    balancer = Balancer(
        Settings(policy=balancer_policy("coarse"), dry_run=True),
        dict,
        places=Places("/proc", machine.places.sys),
        saved=SavedFile(tmp_path / "numa.json"),
    )
    balancer.look()
    found = balancer.round()
    assert len(found.nodes) == 4
    assert balancer.skips["processes: unreadable"] == 0
