"""The native probes, on the machine that the tests run on; recorded figures where it has none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.topology import _probe, clock
from scx_vsched.topology.native import NativeMachine
from scx_vsched.topology.records import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scx_vsched.topology.records import Machine

MS = 1_000_000
VCPUS = NativeMachine().vcpus()
ONE = VCPUS[-1]
needs_two = pytest.mark.skipif(len(VCPUS) < 2, reason="the machine has one CPU")
DEMANDS = pytest.mark.parametrize("demand", list(Demand))


def entries(folder: str) -> int:
    return len(list(Path("/proc/self", folder).iterdir()))


@contextmanager
def competitor(vcpu: int) -> Iterator[None]:
    """An ordinary task that never sleeps, on `vcpu`."""
    code = f"import os\nos.sched_setaffinity(0, {{{vcpu}}})\nprint(flush=True)\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def start(code: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A Python that runs `code` with a machine `m`; it says when it is about to begin."""
    preface = (
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "from scx_vsched.topology.native import NativeMachine\n"
        "from scx_vsched.topology.records import Demand\n"
        "m = NativeMachine()\n"
        "print(flush=True)\n"
    )
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-c", preface + code],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def answer(process: subprocess.Popen[str]) -> Any:
    """What the process printed as JSON, and nothing of it is left after 20 s."""
    end = threading.Timer(20, process.kill)
    end.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            out = process.stdout.read()
        assert process.wait() == 0, out
    finally:
        end.cancel()
        end.join()
    return json.loads(out)


class TestPairs:
    @needs_two
    def test_transfers_between_two_vcpus_take_nanoseconds(self) -> None:
        pair = (VCPUS[0], VCPUS[1])
        for _ in range(10):  # others may keep either CPU for longer than a probe waits
            found = NativeMachine().pair_probes([pair], 500 * MS, 64)[pair]
            if len(found.latencies_ns) == 64:
                break
        assert (found.a, found.b) == pair
        assert len(found.latencies_ns) == 64
        assert 1 < statistics.median(found.latencies_ns) < 20_000
        assert 0 < found.both_ns <= min(found.active_ns) <= max(found.active_ns) <= found.elapsed_ns

    @needs_two
    def test_the_order_of_a_pair_is_kept(self) -> None:
        pair = (VCPUS[1], VCPUS[0])
        assert list(NativeMachine().pair_probes([pair], 100 * MS, 4)) == [pair]

    def test_two_threads_on_one_vcpu_run_but_never_together(self) -> None:
        began = time.monotonic_ns()
        [(states, latencies, active, both, elapsed)] = _probe.pair_probes(
            [(ONE, ONE)], 200 * MS, 64
        )
        took = time.monotonic_ns() - began
        assert states == (_probe.OK, _probe.OK)
        assert elapsed == 200 * MS
        assert 200 * MS <= took < 1000 * MS
        assert min(active) > 10 * MS
        assert sum(active) <= elapsed
        assert both < elapsed // 100
        assert latencies == ()

    def test_a_lost_partner_ends_the_probe_at_once(self) -> None:
        began = time.monotonic_ns()
        [(states, latencies, *_)] = _probe.pair_probes([(ONE, _probe.MAX_VCPUS - 1)], 5000 * MS, 4)
        assert states[1] == _probe.OFFLINE
        assert latencies == ()
        assert time.monotonic_ns() - began < 2000 * MS

    def test_time_in_which_neither_ran_is_no_activity(self) -> None:
        process = start(
            "from scx_vsched.topology import _probe\n"
            f"[s] = _probe.pair_probes([({ONE}, {ONE})], 500_000_000, 4)\n"
            "print(json.dumps([s[2], s[4]]))\n"
        )
        time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        process.send_signal(signal.SIGCONT)
        active, elapsed = answer(process)
        assert sum(active) < elapsed - 150 * MS


class TestWatch:
    @DEMANDS
    def test_a_window_is_as_long_as_asked_and_starts_together(self, demand: Demand) -> None:
        began = time.monotonic_ns()
        seen = NativeMachine().watch(VCPUS, 50 * MS, demand)
        assert tuple(seen) == VCPUS
        for found in seen.values():
            assert began <= found.start_ns
            assert found.end_ns - found.start_ns == 50 * MS
            assert all(found.start_ns <= gap.start_ns for gap in found.gaps)
            assert all(gap.start_ns + gap.length_ns <= found.end_ns for gap in found.gaps)
            assert found.cpu_ns > 0
        assert len({found.start_ns for found in seen.values()}) == 1
        assert time.monotonic_ns() - began < 1000 * MS

    @DEMANDS
    def test_only_spinners_work(self, demand: Demand) -> None:
        found = NativeMachine().watch([ONE], 50 * MS, demand)[ONE]
        assert (found.loops > 0) == (demand is not Demand.SLEEP)
        assert (found.resolution_ns > 0) == (demand is Demand.SLEEP)

    def test_a_sleeper_uses_little_of_its_vcpu(self) -> None:
        found = NativeMachine().watch([ONE], 300 * MS, Demand.SLEEP)[ONE]
        assert found.cpu_ns < 300 * MS // 10

    @DEMANDS
    def test_being_taken_away_is_a_gap(self, demand: Demand) -> None:
        # On a busy machine a stop may fall before the watch, come late, or begin while another
        # task runs instead of the spinner: of forty stops, eight clear ones are enough.
        clear = lost_ns = 0
        for _ in range(10):
            stops, gaps, lost = self.watch_a_stopped_process(demand)
            lost_ns += lost
            clear += sum(
                # a sleeper sees a gap from its next wake-up on, and a stop may come a little late
                sum(n for begin, n in gaps if stopped <= begin + n // 2 <= resumed + 5 * MS)
                > 15 * MS
                for stopped, resumed in stops
            )
            if clear >= 8:
                return
        if lost_ns > 10 * 100 * MS and demand is not Demand.URGENT:
            pytest.skip("other tasks had this CPU for over a quarter of the time")
        pytest.fail(f"{clear} of 40 stops were seen; the last were {stops}, the gaps {gaps}")

    @staticmethod
    def watch_a_stopped_process(demand: Demand) -> tuple[list[tuple[int, int]], Any, int]:
        """Watches for 0.4 s; when the process was stopped, 20 ms each, its gaps, its lost time.

        A stopped process does not wait for its CPU, so it looks as if the CPU was away.
        """
        process = start(
            f"s = m.watch([{ONE}], 400_000_000, Demand({int(demand)}))[{ONE}]\n"
            "print(json.dumps([[[g.start_ns, g.length_ns] for g in s.gaps], s.lost_ns]))\n"
        )
        time.sleep(0.1)
        stops = []
        for _ in range(4):
            stopped = time.monotonic_ns()
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)
            process.send_signal(signal.SIGCONT)
            stops.append((stopped, time.monotonic_ns()))
            time.sleep(0.03)
        gaps, lost_ns = answer(process)
        return stops, gaps, lost_ns

    @pytest.mark.parametrize("demand", [Demand.IDLE, Demand.NORMAL])
    def test_time_given_to_other_tasks_is_lost_and_no_gap(self, demand: Demand) -> None:
        with competitor(ONE):
            found = NativeMachine().watch([ONE], 400 * MS, demand)[ONE]
        assert found.lost_ns > 400 * MS * (0.9 if demand is Demand.IDLE else 0.25)
        # the machine under test may be a guest, with gaps of its own
        assert sum(gap.length_ns for gap in found.gaps) < 40 * MS

    def test_an_urgent_spinner_goes_before_the_guests_own_tasks(self) -> None:
        with competitor(ONE):
            found = NativeMachine().watch([ONE], 80 * MS, Demand.URGENT)[ONE]
        assert found.lost_ns < 8 * MS
        assert found.cpu_ns > 40 * MS

    def test_the_host_and_the_guest_are_told_apart_without_the_kernels_count(self) -> None:
        # without a free file descriptor the count of waits cannot be read
        process = start(
            "import resource\n"
            "from scx_vsched.topology import _probe\n"
            "files = len(list(Path('/proc/self/fd').iterdir())) - 1\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))\n"
            f"[s] = _probe.watch([{ONE}], 500_000_000, Demand.NORMAL, 300_000, 1_000_000)\n"
            "print(json.dumps([sum(length for _, length in s[3]), s[6]]))\n"
        )
        with competitor(ONE):
            time.sleep(0.05)
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            process.send_signal(signal.SIGCONT)
            away, lost = answer(process)
        # being stopped is not counted as running here, so it is the guest's doing
        assert lost > 150 * MS
        assert away < 40 * MS

    def test_a_vcpu_that_is_kept_from_an_idle_spinner_does_not_keep_the_caller(self) -> None:
        with competitor(ONE):
            began = time.monotonic_ns()
            NativeMachine().watch([ONE], 20 * MS, Demand.IDLE)
            assert time.monotonic_ns() - began < 1000 * MS

    def test_rounds_grow_with_the_time_that_the_spinner_ran(self) -> None:
        def rate(duration_ns: int) -> float:
            found = NativeMachine().watch([ONE], duration_ns, Demand.NORMAL)[ONE]
            away = sum(gap.length_ns for gap in found.gaps) + found.lost_ns
            return found.loops / (found.end_ns - found.start_ns - away)

        rates = [rate(40 * MS) for _ in range(3)] + [rate(160 * MS) for _ in range(3)]
        assert statistics.median(rates[:3]) == pytest.approx(statistics.median(rates[3:]), rel=0.3)

    def test_a_thousand_threads(self) -> None:
        many = [VCPUS[i % len(VCPUS)] for i in range(_probe.MAX_VCPUS)]
        before = entries("task")
        began = time.monotonic_ns()
        results = _probe.watch(many, 20 * MS, Demand.IDLE, 300_000, MS)
        assert [state for state, *_ in results] == [_probe.OK] * len(many)
        assert entries("task") == before
        assert time.monotonic_ns() - began < 5000 * MS


class TestNothingStaysBehind:
    def test_neither_threads_nor_files_nor_affinity(self) -> None:
        machine = NativeMachine()
        affinity, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
        before = entries("task"), entries("fd"), os.sched_getscheduler(0)
        for _ in range(20):
            for demand in Demand:
                machine.watch(VCPUS, MS, demand)
            _probe.pair_probes([(ONE, ONE)], MS, 4)
        assert (entries("task"), entries("fd"), os.sched_getscheduler(0)) == before
        assert (os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)) == (affinity, nice)

    def test_no_memory(self) -> None:
        def resident_kb() -> int:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") // 1024

        def probe() -> None:
            _probe.pair_probes([(ONE, ONE)] * 4, 100_000, 4096)
            _probe.watch([ONE] * 4, 100_000, Demand.NORMAL, 1, MS)

        for _ in range(20):
            probe()
        before = resident_kb()
        for _ in range(100):
            probe()
        assert resident_kb() - before < 2048

    @pytest.mark.parametrize(
        "call",
        [
            *(f"m.watch([{ONE}], 20_000_000_000, Demand({int(demand)}))" for demand in Demand),
            f"_probe.pair_probes([({ONE}, {ONE})], 20_000_000_000, 4)",
        ],
    )
    def test_an_interrupt_ends_a_probe(self, call: str) -> None:
        process = start(
            "from scx_vsched.topology import _probe\n"
            f"try:\n    {call}\n"
            "except KeyboardInterrupt:\n"
            "    print(json.dumps(len(list(Path('/proc/self/task').iterdir()))))\n"
        )
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert answer(process) == 1
        assert time.monotonic() - began < 2


class TestUnavailable:
    @pytest.fixture
    def machine(self, tmp_path: Path) -> NativeMachine:
        """One whose next CPUs exist but are offline."""
        cpus = tmp_path / "devices/system/cpu"
        cpus.mkdir(parents=True)
        online = Path("/sys/devices/system/cpu/online").read_text()
        (cpus / "online").write_text(online)
        (cpus / "possible").write_text("0-1030\n")
        return NativeMachine(sys=tmp_path)

    def test_offline_vcpus_are_named(self, machine: NativeMachine) -> None:
        assert machine.vcpus() == VCPUS
        assert machine.unavailable()[1000] == "offline"
        assert "1023" not in machine.unavailable()[1023]
        assert machine.unavailable()[1030] == "numbers from 1024 on are not probed"

    def test_an_offline_vcpu_is_absent_from_a_watch(self, machine: NativeMachine) -> None:
        assert tuple(machine.watch([ONE, 1000], MS, Demand.NORMAL)) == (ONE,)
        assert machine.unavailable()[1000] == "offline"

    def test_a_pair_with_an_offline_vcpu_is_absent(self, machine: NativeMachine) -> None:
        assert machine.pair_probes([(ONE, 1000)], MS, 4) == {}

    @needs_two
    def test_a_vcpu_that_went_away_is_absent_until_it_is_probed_again(self) -> None:
        machine = NativeMachine()
        before = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        found: list[object] = []
        probe = threading.Thread(
            target=lambda: found.append(machine.watch([ONE], 300 * MS, Demand.NORMAL))
        )
        probe.start()
        assert probe.native_id is not None
        time.sleep(0.1)
        tasks = {int(task.name) for task in Path("/proc/self/task").iterdir()}
        for task in tasks - before - {probe.native_id}:
            os.sched_setaffinity(task, {VCPUS[0]})  # as the kernel does when a CPU goes offline
        probe.join()
        assert found == [{}]
        assert machine.unavailable() == {ONE: "went away during a probe"}
        machine.watch([ONE], MS, Demand.NORMAL)
        assert machine.unavailable() == {}

    @needs_two
    def test_the_cpuset_is_asked_again_when_a_vcpu_went_away(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[int] = []

        def asking(attempt: Callable[[], set[int]]) -> set[int]:
            asked.append(1)
            return attempt()

        monkeypatch.setattr("scx_vsched.topology.native.in_thread", asking)
        machine = NativeMachine()
        assert machine.vcpus() == machine.vcpus() == VCPUS
        assert len(asked) == 1
        machine.watch([max(VCPUS)], MS, Demand.NORMAL)
        machine.vcpus()
        assert len(asked) == 1
        machine._note([max(VCPUS)], [_probe.OFFLINE])
        machine.vcpus()
        assert len(asked) == 2

    def test_a_pinned_process_still_sees_all_vcpus(self) -> None:
        process = start(f"os.sched_setaffinity(0, {{{ONE}}})\nprint(json.dumps(m.vcpus()))\n")
        assert answer(process) == list(VCPUS)


BAD_CALLS: dict[str, tuple[Callable[[NativeMachine], object], str]] = {
    "unknown vCPU": (lambda m: m.watch([5000], MS, Demand.IDLE), "no such vCPU: 5000"),
    "unknown pair": (lambda m: m.pair_probes([(ONE, 5000)], MS, 1), "no such vCPU: 5000"),
    "negative vCPU": (lambda m: m.watch([-1], MS, Demand.IDLE), "no such vCPU: -1"),
    "negative duration": (lambda m: m.watch([ONE], -1, Demand.IDLE), "duration_ns"),
    "endless duration": (lambda m: m.watch([ONE], 10**15, Demand.IDLE), "duration_ns"),
    "no budget": (lambda m: m.pair_probes([], 0, 1), "budget_ns"),
    "no samples": (lambda m: m.pair_probes([], MS, 0), "samples"),
    "a vCPU with itself": (lambda m: m.pair_probes([(ONE, ONE)], MS, 1), "one pair at a time"),
    "shared vCPU": (lambda m: m.pair_probes([(0, 1), (1, 2)], MS, 1), "one pair at a time"),
    "negative sleep": (lambda m: m.sleep_ns(-1), "non-negative"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_refused(name: str) -> None:
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call(NativeMachine())


@pytest.mark.parametrize("pairs", [[(0, 1024)], [(-1, 0)], [[0, 1]], [(0,)], [(0, "1")], 7])
def test_the_extension_refuses_what_is_no_pair(pairs: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        _probe.pair_probes(pairs, MS, 4)  # type: ignore[arg-type]


def test_nothing_to_probe_is_nothing_found() -> None:
    assert NativeMachine().watch([], MS, Demand.NORMAL) == {}
    assert NativeMachine().pair_probes([], MS, 4) == {}


def test_it_is_a_machine() -> None:
    machine: Machine = NativeMachine()
    began = machine.now_ns()
    machine.sleep_ns(2 * MS)
    assert machine.now_ns() - began >= 2 * MS


class TestProcStat:
    HEAD = "cpu  9 9 9 9 9 9 9 9 9 9\n"

    def machine(self, tmp_path: Path, text: str) -> NativeMachine:
        (tmp_path / "stat").write_text(self.HEAD + text + "intr 1 2\nctxt 5\n")
        return NativeMachine(proc=tmp_path)

    def test_steal_is_the_eighth_column(self, tmp_path: Path) -> None:
        machine = self.machine(
            tmp_path, "cpu0 100 0 50 900 3 0 7 25 0 0\ncpu2 1 2 3 4 5 6 7 0 0 0\n"
        )
        assert machine.steal_ns() == {0: 250 * MS, 2: 0}

    def test_busy_is_all_but_idle_and_steal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # 7 s later; ticks that fell into absences are in no column
        machine = self.machine(tmp_path, "cpu0 100 20 50 900 3 4 7 25 60 10\n")
        monkeypatch.setattr(machine, "now_ns", lambda: 20_000 * MS)
        before = machine.busy_ns()
        machine = self.machine(tmp_path, "cpu0 150 20 60 1000 13 4 7 65 60 10\n")
        monkeypatch.setattr(machine, "now_ns", lambda: 27_000 * MS)
        assert machine.busy_ns()[0] - before[0] == (7000 - 1000 - 100 - 400) * MS

    def test_kernels_without_steal_have_none(self, tmp_path: Path) -> None:
        machine = self.machine(tmp_path, "cpu0 100 0 50 900 3 0 7\n")
        assert machine.steal_ns() is None
        assert tuple(machine.busy_ns()) == (0,)

    def test_this_machine_has_figures_for_its_vcpus(self) -> None:
        machine = NativeMachine()
        assert tuple(machine.busy_ns()) == VCPUS
        steal = machine.steal_ns()
        assert steal is None or tuple(steal) == VCPUS


class TestRights:
    def test_without_the_right_to_raise_priority_it_works_and_says_so(self) -> None:
        drop = ("setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice")
        if os.geteuid() == 0 and shutil.which("setpriv") is None:
            pytest.skip("setpriv is missing")
        process = start(
            f"seen = [m.watch([{ONE}], 20_000_000, d)[{ONE}].cpu_ns for d in Demand]\n"
            "print(json.dumps([m.limits(), seen]))\n",
            drop if os.geteuid() == 0 else (),
        )
        limits, seen = answer(process)
        assert any("SCHED_FIFO is not permitted" in sentence for sentence in limits)
        assert any("Raising priority is not permitted" in sentence for sentence in limits)
        assert all(cpu_ns > 0 for cpu_ns in seen)

    def test_a_kernel_that_does_not_count_waits_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "thread-self").mkdir()
        (tmp_path / "thread-self/schedstat").write_text("0 0 0\n")
        limits = NativeMachine(proc=tmp_path).limits()
        assert any("CONFIG_SCHED_INFO" in sentence for sentence in limits)


class TestClock:
    @staticmethod
    def run_with(monkeypatch: pytest.MonkeyPatch, reading: Callable[[], int]) -> str | None:
        monkeypatch.setattr(clock.time, "monotonic_ns", reading)
        return NativeMachine().clock_problem()

    def test_this_machines_clock_is_fit(self) -> None:
        assert NativeMachine().clock_problem() is None

    def test_a_clock_of_ticks_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        true = time.monotonic_ns
        problem = self.run_with(monkeypatch, lambda: true() // (40 * 1000) * (40 * 1000))
        assert problem is not None
        assert "steps of 40 us" in problem

    def test_a_clock_that_is_slow_to_read_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reading = iter(range(0, 10**12, 8000))
        problem = self.run_with(monkeypatch, lambda: next(reading))
        assert problem is not None
        assert "takes 8.0 us" in problem

    @needs_two
    def test_a_clock_that_differs_between_vcpus_is_not(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        true = time.monotonic_ns

        def skewed() -> int:
            here = os.sched_getaffinity(0)
            return true() - (10**9 if here == {ONE} else 0)

        problem = self.run_with(monkeypatch, skewed)
        assert problem is not None
        assert f"of vCPU {ONE} is at least" in problem
