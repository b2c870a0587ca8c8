"""What the lab is asked to do, and how it reads what programs, guests and the host say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import scx_vsched.lab.loads as loads_module
from scx_vsched.cli.lab import app
from scx_vsched.errors import UserError
from scx_vsched.lab.guest_measure import QUANTILES, read_output, read_rates
from scx_vsched.lab.loads import missing_programs, prepare_loads, sweep
from scx_vsched.lab.machine import Boot
from scx_vsched.lab.programs import read_ab, read_memcaslap
from scx_vsched.lab.run import run_lab
from scx_vsched.lab.schedulers import chosen
from scx_vsched.lab.suites import SUITES, Entry, entries
from scx_vsched.lab.tasks import Settings, estimate_s, prepare
from scx_vsched.lab.tracing import find_offset, picture, read_log
from scx_vsched.sim.profile import machine_named
from scx_vsched.vm.boot import VmLost
from scx_vsched.vm.lab.accounting import Away, Truth

if TYPE_CHECKING:
    from pathlib import Path

TRACE = """
# tracer: nop
  sh-90    [000] d..2.   10.000100: sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=sh next_pid=90 next_prio=120
  sh-90    [000] d..2.   10.004100: sched_switch: prev_comm=sh prev_pid=90 prev_prio=120 prev_state=R+ ==> next_comm=my app next_pid=91 next_prio=120
  x-91     [000] dN.4.   10.005000: sched_wakeup: comm=sh pid=92 prio=120 target_cpu=001
  x-91     [000] d..3.   10.005100: sched_migrate_task: comm=sh pid=90 prio=120 orig_cpu=0 dest_cpu=1
  <idle>-0 [001] d..2.   10.007100: sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=sh next_pid=90 next_prio=120
  x-91     [000] d..2.   10.008000: sched_switch: prev_comm=my app prev_pid=91 prev_prio=120 prev_state=S ==> next_comm=swapper/0 next_pid=0 next_prio=120
  sh-90    [001] d..2.   10.009000: sched_switch: prev_comm=sh prev_pid=90 prev_prio=120 prev_state=S ==> next_comm=swapper/1 next_pid=0 next_prio=120
"""  # noqa: E501 - as the kernel writes it
S, MS = 10**9, 10**6


def _truth(vcpu: int, *away: tuple[int, int]) -> Truth:
    gone = tuple(Away(start, end - start) for start, end in away)
    return Truth(vcpu, S, 0, 0, exact=True, mean_away_ns=0.0, away=gone)


def test_native_output_becomes_rates_and_quantiles() -> None:
    text = "30 0\n0 4 4000 1000 3000 2000\n"
    found = read_output(text, ("done", "latency"), 2.0)
    assert found["values"]["done"] == (15.0, "/s")
    assert found["values"]["latency p50"] == (2.0, "us")
    assert found["values"]["latency max"] == (4.0, "us")
    assert len(found["curves"]["latency"]) == len(QUANTILES)
    assert found["curves"]["latency"] == sorted(found["curves"]["latency"])
    assert "done" not in found["curves"]


def test_rates_count_pieces_of_work_in_their_tenth_of_a_second() -> None:
    text = f"0 4 {50 * MS} {60 * MS} {150 * MS} {5 * S}"
    assert read_rates(text, 0.3) == [20.0, 10.0, 0.0]


def test_clients_rates_are_read() -> None:
    assert read_memcaslap("Run time: 3.0s Ops: 90 TPS: 30012 Net_rate: 1M/s") == 30012
    assert read_ab("Failed requests: 0\nRequests per second:    812.50 [#/sec] (mean)") == 812.5
    with pytest.raises(UserError, match="3 requests"):
        read_ab("Failed requests:   3\nRequests per second:    812.50 [#/sec] (mean)")
    for read in (read_ab, read_memcaslap):
        with pytest.raises(UserError, match="no rate"):
            read("")


def test_a_trace_becomes_spans_moves_and_waits() -> None:
    log = read_log(TRACE, 2)
    at = 10 * S
    assert log.running[0] == [(at + 100_000, at + 4_100_000, 90),
                              (at + 4_100_000, at + 8_000_000, 91)]  # fmt: skip
    assert log.running[1] == [(at + 7_100_000, at + 9_000_000, 90)]
    assert log.moves == [(at + 5_100_000, 90, 0, 1)]
    assert log.names["91"] == "my app"
    assert log.longest_wait_ns == 3_000_000


def test_clocks_are_matched_by_what_cannot_be() -> None:
    log = read_log(TRACE, 2)
    # vCPU 0 was away while nothing happened there: from 10.0003 to 10.0040 by the guest's clock
    offset = 500 * S
    away = {0: [(510 * S + 300_000, 510 * S + 4_000_000)]}
    clock = (10 * S, 510 * S - 2 * MS, 510 * S + 3 * MS)
    assert abs(find_offset(log, away, [clock]) - offset) <= MS
    found = picture("all", log, [_truth(0, *away[0]), _truth(1)], [clock], S)
    (gone,) = found.away[0]
    assert abs(gone[0] - 200_000) <= MS
    assert found.moves[0][1:] == (90, 0, 1)
    assert found.names == {"90": "sh", "91": "my app"}


def test_a_guest_that_tells_no_time_gives_no_picture() -> None:
    with pytest.raises(ValueError, match="no time"):
        find_offset(read_log(TRACE, 2), {}, [])


def test_requests_come_at_the_same_part_of_any_capacity() -> None:
    machine = machine_named("4")
    full, small = (
        prepare_loads(["requests"], machine, capacity, 3, 0.5)[0].text for capacity in (4.0, 1.0)
    )
    assert " 1667000 " in full
    assert " 6667000 " in small


def test_a_sweep_goes_from_one_thread_to_all() -> None:
    assert sweep(16) == ("compute-1", "compute-4", "compute-8", "compute-12", "compute-16")
    assert [load.name for load in prepare_loads(["compute"], machine_named("3"), 1.5, 3, 0.5)] == [
        "compute-1", "compute-2", "compute-3",
    ]  # fmt: skip


def test_unknown_names_are_told_with_those_there_are() -> None:
    with pytest.raises(UserError, match="unknown workload nonsense") as caught:
        prepare_loads(["nonsense"], machine_named("2"), 2.0, 3, 0.5)
    assert "requests-mixed" in caught.value.hint
    with pytest.raises(UserError, match="unknown scheduler turbo") as caught:
        chosen(["turbo"])
    assert "bvs" in caught.value.hint
    with pytest.raises(UserError, match="unknown suite"):
        entries("all", (), (), (), True)
    with pytest.raises(UserError, match="profiles and workloads"):
        entries("bounds", ["rcvm"], (), (), True)


def test_the_default_scheduler_is_always_measured() -> None:
    assert [arm.name for arm in chosen(["all", "core"])] == ["default", "core", "all"]
    (bvs,) = [arm for arm in chosen(["bvs"]) if arm.name == "bvs"]
    assert bvs.tunables == {"bvs": 1, "ivh": 0, "rwc": 0}


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        loads_module.shutil, "which", lambda name: None if name == "memcaslap" else f"/bin/{name}"
    )
    (missing,) = missing_programs(["memcached", "hackbench", "requests"])
    assert missing.command == "apt-get install libmemcached-tools"
    entry = Entry("half-few", ("memcached", "requests"), ("all",))
    (task,), document = prepare([entry], Settings())
    assert [load.name for load in task.loads] == ["requests"]
    assert document.missing == (("memcached", "memcaslap", missing.command),)
    with pytest.raises(UserError, match="nothing is left") as caught:
        prepare([Entry("half-few", ("memcached",), ("all",))], Settings())
    assert missing.command in caught.value.hint


def test_every_suite_fits_its_own_estimate() -> None:
    for entry in SUITES["bounds"]:
        (task,), _ = prepare([entry], Settings())
        once, more = (estimate_s(task, Settings(rounds=n)) for n in (1, 5))
        assert 30 < once < more < 900
        assert estimate_s(task, Settings(turn=5)) < more


def test_a_profile_that_changes_is_run_through() -> None:
    (task,), _ = prepare([Entry("moved-few", (), ("all",))], Settings())
    assert task.pace is not None
    assert not task.loads
    assert task.length_s > 15


def test_bad_profiles_are_refused_before_anything_boots(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("version = 1\nvcpus = 2\n[[vcpu]]\nids = 5\nquota_ms = 1\nperiod_ms = 2\n")
    with pytest.raises(UserError, match="no vCPU 5"):
        prepare([Entry(str(path), ("requests",), ())], Settings())
    path.write_text("version = 1\nvcpus = 400\n")
    with pytest.raises(UserError, match=r"asks for 400\.00 host CPUs"):
        prepare([Entry(str(path), ("requests",), ())], Settings())


def _event(number: int, scheduler: str) -> dict[str, Any]:
    return {
        "event": "result", "round": number, "scheduler": scheduler, "workload": "compute-1",
        "values": {"done": [500.0, "/s"]}, "curves": {}, "rates": [], "error": "",
        "marks": ["1", "2"], "counters": {}, "seen": [], "probing": 0.01,
    }  # fmt: skip


class _NoObjects:
    def __init__(self, *_: object) -> None:
        self.files: dict[str, Path] = {}

    def __enter__(self) -> _NoObjects:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_what_a_lost_vm_had_measured_is_kept_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Boot) -> None:
        self._on_event(_event(0, "default"))
        raise VmLost("the VM went away", "its console is somewhere")

    monkeypatch.setattr(Boot, "run", lost)
    monkeypatch.setattr("scx_vsched.lab.run.Objects", _NoObjects)
    tasks, document = prepare([Entry("half-few", ("compute-1",), ("all",))], Settings())
    kept = []
    found = run_lab(None, tasks, document, Settings(), keep=kept.append)  # type: ignore[arg-type]
    (profile,) = found.profiles
    assert profile.error.startswith("the VM went away")
    assert profile.measurements[0].values == {"done": (500.0, "/s")}
    assert kept[-1].profiles == found.profiles


def test_an_interrupted_run_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Boot) -> None:
        self._on_event(_event(0, "default"))
        raise KeyboardInterrupt

    monkeypatch.setattr(Boot, "run", interrupted)
    monkeypatch.setattr("scx_vsched.lab.run.Objects", _NoObjects)
    tasks, document = prepare([Entry("half-few", ("compute-1",), ("all",))], Settings())
    kept = []
    with pytest.raises(KeyboardInterrupt):
        run_lab(None, tasks, document, Settings(), keep=kept.append)  # type: ignore[arg-type]
    assert kept[-1].error == "interrupted"
    assert len(kept[-1].profiles[0].measurements) == 1


def test_nothing_measured_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Boot) -> None:
        raise UserError("the host's control groups cannot be changed: /sys/fs/cgroup", "be root")

    monkeypatch.setattr(Boot, "run", refused)
    monkeypatch.setattr("scx_vsched.lab.run.Objects", _NoObjects)
    tasks, document = prepare([Entry("half-few", ("compute-1",), ("all",))], Settings())
    with pytest.raises(UserError, match="control groups cannot be changed"):
        run_lab(None, tasks, document, Settings())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["run", "--profile", "nowhere"], "nowhere"),
        (["run", "--workload", "nonsense"], "unknown workload"),
        (["run", "-o", "/nowhere/at/all.json"], "cannot write"),
        (["report", "/nowhere.json"], "cannot read"),
        (["compare", "/nowhere.json", "/nowhere.json"], "cannot read"),
    ],
)
def test_bad_arguments_are_told_at_once(arguments: list[str], what: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert what in result.exception.message
