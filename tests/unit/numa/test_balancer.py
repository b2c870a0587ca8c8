"""The balancer on machines in folders: who moves, who stays, and what is put back."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from numa_machine import MIB, Binder, Machine, Memory, Task

from scx_vsched.errors import UserError
from scx_vsched.numa.balancer import Balancer
from scx_vsched.numa.rules import Rule, Rules, Verdict
from scx_vsched.numa.saved import SavedFile
from scx_vsched.numa.settings import Settings, balancer_policy

if TYPE_CHECKING:
    from pathlib import Path

SORTED = Settings(policy=balancer_policy("sorted"))
COARSE = Settings(policy=balancer_policy("coarse"))


class Balanced:
    """A balancer on a machine; `lost` is what each vCPU lacks."""

    def __init__(self, machine: Machine, settings: Settings = SORTED) -> None:
        self.machine = machine
        self.lost: dict[int, float] = {}
        self.binder = Binder()
        self.memory = Memory(machine)
        self.saved = SavedFile(
            machine.root / "run/numa.json", machine.places.proc, machine.places.sys
        )
        self.balancer = Balancer(
            settings,
            lambda: self.lost,
            places=machine.places,
            saved=self.saved,
            clock=machine.clock,
            affinity=machine,
            memory=self.memory,
        )
        self.balancer.bind_with(self.binder)
        self.balancer.look()

    def after(self, seconds: float = 2.0, **wants: float) -> list[tuple[int, int, int]]:
        """A round after tasks wanted so much: (first process, source, target) of each move.

        Keywords are p1=0.5 for process 1.
        """
        self.machine.run(seconds, {int(name[1:]): part for name, part in wants.items()})
        found = self.balancer.round()
        return [(move.pids[0], move.source, move.target) for move in found.moves]

    def take(self, node: int, part: float) -> None:
        """The host takes that part of the node's vCPUs."""
        for cpu in self.machine.cpus[node]:
            self.lost[cpu] = part * 1024


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def spinner(pid: int, cpu: int, size: int = 10, **other: object) -> Task:
    """A process with memory on the node of its vCPU."""
    return replace(Task(pid, cpus=(cpu,), own={cpu // 2: size}), **other)  # type: ignore[arg-type]


class TestFollowingTheHost:
    def test_a_task_leaves_a_node_that_the_host_takes(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        assert seen.after(p10=1) == []
        seen.take(0, 0.6)
        [(pid, source, target)] = seen.after(p10=1)
        assert (pid, source) == (10, 0)
        assert target != 0
        assert seen.binder.homes == {10: target}
        assert machine.tasks[10].own == {target: 10}

    def test_an_idle_node_that_the_host_takes_is_no_target(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        for node in (0, 1, 2):
            seen.take(node, 0.7)
        assert seen.after(p10=1) == [(10, 0, 3)]

    def test_two_tasks_leave_the_vcpu_that_a_critical_one_needs(self, machine: Machine) -> None:
        """They have to share the other one; before, each had its own and none was better off."""
        critical = spinner(12, 0, nice=-5)
        machine.add(spinner(10, 0), spinner(11, 1), critical)
        seen = Balanced(machine)
        for node in range(4):
            seen.take(node, 0.5)
        assert seen.after(p10=1, p11=1, p12=0) == []
        moved = seen.after(p10=1, p11=1, p12=0.05)
        assert [(source, target != 0) for _, source, target in moved] == [(0, True)]

    def test_noise_moves_nobody(self, machine: Machine) -> None:
        machine.add(spinner(10, 0), spinner(11, 2))
        seen = Balanced(machine)
        seen.take(0, 0.05)
        seen.take(1, 0.09)
        assert [seen.after(p10=1, p11=1) for _ in range(5)] == [[]] * 5

    def test_fewest_bytes_go_first(self, machine: Machine) -> None:
        machine.add(spinner(10, 0, 300), spinner(11, 1, 20))
        seen = Balanced(machine)
        for node in (0, 1, 2):
            seen.take(node, 0.9)
        assert seen.after(p10=1, p11=1) == [(11, 0, 3), (10, 0, 3)]

    def test_who_would_share_a_vcpu_moves_only_where_that_is_much_faster(
        self, machine: Machine
    ) -> None:
        tasks = [spinner(10 + n, n) for n in range(8)]
        machine.add(*tasks)
        wants = {f"p{task.pid}": 1 for task in tasks}
        seen = Balanced(machine)
        seen.take(0, 0.7)
        assert seen.after(**wants) == []
        seen.take(0, 0.95)
        assert {source for _, source, _ in seen.after(**wants)} == {0}

    def test_an_idle_process_stays_but_for_coarse(self, tmp_path: Path) -> None:
        for settings, moves in ((SORTED, []), (COARSE, [(10, 0, 1)])):
            machine = Machine(tmp_path / str(settings.policy), nodes=2)
            machine.add(spinner(10, 0))
            seen = Balanced(machine, settings)
            seen.take(0, 0.6)
            assert seen.after() == moves


class TestDamping:
    def test_a_task_rests_after_a_move(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        times = []
        for _ in range(60):
            home = seen.binder.homes.get(10, 0)
            seen.lost.clear()
            seen.take(home, 0.9)
            if seen.after(1.0, p10=1):
                times.append(machine.now_s)
                machine.move(10, machine.cpus[seen.binder.homes[10]][0])
        assert times
        assert all(later - before >= 5 for before, later in itertools.pairwise(times))
        assert seen.balancer.status()["totals"]["most_moves_per_minute"] <= 6
        assert len(times) <= 6

    def test_the_budget_of_bytes_is_kept(self, machine: Machine) -> None:
        settings = replace(SORTED, budget_bytes_s=10.0 * MIB)
        machine.add(*(spinner(10 + n, n % 2, 60) for n in range(2)))
        seen = Balanced(machine, settings)
        seen.take(0, 0.9)
        moved = [len(seen.after(2.0, p10=0.5, p11=0.5)) for _ in range(5)]
        assert moved[0] == 1  # 100 MiB are saved at first, and 60 go
        assert sum(moved) == 2
        assert seen.memory.moved <= (10 * 10 + 10 * 10) * MIB

    def test_what_is_larger_than_the_budget_ever_is_never_moves(self, machine: Machine) -> None:
        settings = replace(SORTED, budget_bytes_s=1.0 * MIB)
        machine.add(spinner(10, 0, 11))
        seen = Balanced(machine, settings)
        seen.take(0, 0.9)
        assert [seen.after(2.0, p10=1) for _ in range(6)] == [[]] * 6
        assert seen.balancer.status()["too_big"] == 1

    def test_memory_stays_where_it_is_told_to(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine, replace(SORTED, keep_memory=True))
        seen.take(0, 0.9)
        assert len(seen.after(p10=1)) == 1
        assert machine.tasks[10].own == {0: 10}
        assert seen.balancer.status()["totals"]["memory_bytes"] == 0


BUFFER = [(99, 0, 5, "rw-s")]


class TestGroups:
    def pair(self, rights: str = "rw-s") -> tuple[Task, Task]:
        shared = [(99, 0, 5, rights)]
        return (
            spinner(10, 0, 2, shared=BUFFER),
            spinner(11, 4, 2, shared=shared),
        )

    def test_two_that_share_a_buffer_come_together_and_stay(self, machine: Machine) -> None:
        machine.add(*self.pair())
        seen = Balanced(machine)
        assert seen.after(p10=0.5, p11=0.5)
        assert len(set(seen.binder.homes.values())) == 1
        assert set(seen.binder.homes) == {10, 11}
        before = dict(seen.binder.homes)
        assert [seen.after(p10=0.5, p11=0.5) for _ in range(5)] == [[]] * 5
        assert seen.binder.homes == before

    def test_they_move_together(self, machine: Machine) -> None:
        machine.add(*self.pair())
        seen = Balanced(machine)
        seen.after(p10=0.5, p11=0.5)
        seen.take(seen.binder.homes[10], 0.9)
        assert seen.after(6.0, p10=0.5, p11=0.5)
        assert len(set(seen.binder.homes.values())) == 1

    def test_who_only_reads_the_buffer_belongs_to_it(self, machine: Machine) -> None:
        machine.add(*self.pair("r--s"))
        seen = Balanced(machine)
        seen.after(p10=0.5, p11=0.5)
        assert set(seen.binder.homes) == {10, 11}

    def test_what_all_only_read_joins_nobody(self, machine: Machine) -> None:
        first, second = self.pair("r--s")
        machine.add(replace(first, shared=second.shared), second)
        seen = Balanced(machine)
        assert seen.after(p10=0.5, p11=0.5) == []

    def test_a_pipe_joins_who_is_busy_at_both_ends(self, machine: Machine) -> None:
        machine.add(spinner(10, 0, pipes=(5,)), spinner(11, 4, pipes=(5,)))
        machine.add(spinner(12, 6, pipes=(5,)))  # a shell that waits
        seen = Balanced(machine)
        seen.after(p10=0.5, p11=0.5)
        assert set(seen.binder.homes) == {10, 11}

    def test_what_very_many_hold_joins_nobody(self, machine: Machine) -> None:
        tasks = [spinner(10 + n, n % 8, shared=BUFFER) for n in range(20)]
        machine.add(*tasks)
        seen = Balanced(machine)
        assert seen.after(**{f"p{task.pid}": 0.1 for task in tasks}) == []

    def test_a_group_that_no_node_holds_is_left_alone(self, machine: Machine) -> None:
        tasks = [spinner(10 + n, n, shared=BUFFER) for n in range(3)]
        machine.add(*tasks)
        seen = Balanced(machine)
        assert seen.after(p10=1, p11=1, p12=1) == []

    def test_a_group_that_outgrows_its_node_is_set_free(self, machine: Machine) -> None:
        machine.add(*self.pair())
        seen = Balanced(machine)
        seen.after(p10=0.5, p11=0.5)
        machine.add(replace(self.pair()[0], pid=12))
        seen.after(p10=1, p11=1, p12=1)
        seen.after(p10=1, p11=1, p12=1)
        assert seen.binder.homes == {}

    def test_where_one_refuses_the_others_go_back(self, machine: Machine) -> None:
        machine.add(*self.pair())
        seen = Balanced(machine)
        seen.binder.refuses = {11}
        assert seen.after(p10=0.5, p11=0.5) == []
        assert seen.binder.homes == {}
        assert seen.balancer.skips["moves: not permitted"] == 1

    def test_threads_of_a_process_come_together(self, machine: Machine) -> None:
        machine.add(Task(10, cpus=(0, 4), own={0: 4}))
        seen = Balanced(machine)
        seen.after(p10=0.4)
        assert seen.after(p10=0.4) == [(10, 0, 0)] or seen.binder.homes == {10: 0}
        assert seen.binder.homes == {10: 0}


class TestFixed:
    @pytest.mark.parametrize("task", [{"nice": -5}, {"real_time": True}])
    def test_who_cares_about_latency_stays(self, machine: Machine, task: dict[str, int]) -> None:
        machine.add(spinner(10, 0, **task))
        seen = Balanced(machine)
        seen.take(0, 0.9)
        assert seen.after(p10=1) == []
        assert seen.binder.fixed == {10}
        assert seen.binder.homes == {10: 0}

    def test_rules_come_first(self, machine: Machine) -> None:
        rules = Rules((Rule(Verdict.FIXED, cgroup="latency/*"), Rule(Verdict.IGNORE, comm="odd")))
        machine.add(
            spinner(10, 0, cgroup="latency/db/inner"),
            spinner(11, 1, comm="odd"),
            spinner(12, 0, nice=-1),
        )
        seen = Balanced(machine, replace(SORTED, rules=replace(rules, fixed_below_nice=-10)))
        seen.take(0, 0.9)
        assert [pid for pid, _, _ in seen.after(p10=0.4, p11=0.4, p12=0.4)] == [12]

    def test_a_kernel_thread_is_ignored(self, machine: Machine) -> None:
        machine.add(spinner(10, 0, kernel=True))
        seen = Balanced(machine, COARSE)
        seen.take(0, 0.9)
        assert seen.after(p10=1) == []

    def test_a_task_that_somebody_bound_stays(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        machine.affinity[10] = {0, 1}
        seen = Balanced(machine)
        seen.take(0, 0.9)
        assert seen.after(p10=1) == []
        [group] = seen.balancer.status()["groups"]
        assert group["fixed"] == "bound to vCPUs"

    def test_others_come_to_the_one_that_is_fixed(self, machine: Machine) -> None:
        machine.add(spinner(10, 0, 90, shared=BUFFER), spinner(11, 6, nice=-5, shared=BUFFER))
        seen = Balanced(machine)
        assert seen.after(p10=0.5, p11=0.5) == [(10, 3, 3)] or seen.binder.homes == {10: 3, 11: 3}
        assert seen.binder.homes == {10: 3, 11: 3}

    def test_others_come_to_one_that_somebody_bound(self, machine: Machine) -> None:
        machine.add(spinner(10, 0, 90, shared=BUFFER), spinner(11, 6, shared=BUFFER))
        machine.affinity[11] = {6}
        seen = Balanced(machine)
        seen.binder.refuses = {11}
        seen.after(p10=0.5, p11=0.5)
        assert seen.binder.homes == {10: 3}


class TestBadInput:
    def test_a_machine_of_one_node_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="one NUMA node"):
            Balanced(Machine(tmp_path, nodes=1))

    def test_a_node_without_vcpus_is_shown_and_no_target(self, tmp_path: Path) -> None:
        machine = Machine(tmp_path, nodes=3)
        (machine.sys / "devices/system/node/node2/cpulist").write_text("\n")
        machine.cpus.pop(2)
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        seen.take(0, 0.9)
        assert seen.after(p10=1) == [(10, 0, 1)]
        assert [node["vcpus"] for node in seen.balancer.status()["nodes"]] == [2, 2, 0]

    def test_a_process_that_dies_while_it_is_moved_is_counted(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        seen.take(0, 0.9)
        machine.run(2, {10: 1})
        view = seen.balancer.look()
        del view
        machine.run(2, {10: 1})
        look = seen.balancer._observer.look

        def die(*arguments: object) -> object:
            found = look(*arguments)  # type: ignore[arg-type]
            machine.end(10)
            return found

        seen.balancer._observer.look = die  # type: ignore[method-assign,assignment]
        assert seen.balancer.round().moves == ()
        assert seen.balancer.skips["moves: vanished"] == 1

    def test_files_that_vanish_or_lie_are_counted(self, machine: Machine) -> None:
        machine.add(spinner(10, 0), spinner(11, 2), spinner(12, 4))
        (machine.proc / "11/stat").write_text("nonsense")
        seen = Balanced(machine)
        seen.take(0, 0.9)
        machine.run(2, {10: 1, 12: 1})
        machine.now_s += 60  # what was read of idle processes is old by now
        for name in ("maps", "numa_maps", "smaps_rollup"):
            (machine.proc / "12" / name).unlink()
        assert [move.pids for move in seen.balancer.round().moves] == [(10,)]
        skips = seen.balancer.skips
        assert skips["processes: unreadable"] >= 1
        assert skips["maps: vanished"] >= 1
        assert skips["numa_maps: vanished"] >= 1

    def test_a_number_that_is_used_again_is_another_process(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        seen.take(0, 0.9)
        seen.after(p10=1)
        assert 10 in seen.binder.homes
        machine.end(10)
        machine.add(spinner(10, 0, start=5000))
        seen.after(p10=0)
        assert 10 not in seen.binder.homes


class TestPuttingBack:
    def test_everything_is_as_before(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine, COARSE)
        irq = machine.proc / "irq/24/smp_affinity_list"
        mask = machine.sys / "devices/virtual/workqueue/cpumask"
        seen.take(0, 0.9)
        [(_, _, target)] = seen.after(p10=0.5)
        assert irq.read_text().strip() == ",".join(map(str, machine.cpus[target]))
        assert mask.read_text().strip() == "0000000c"
        assert seen.saved.claim is not None
        seen.balancer.undo()
        assert irq.read_text().strip() == "0-7"
        assert mask.read_text().strip() == "ff"
        assert seen.binder.homes == {}
        assert not (machine.root / "run/numa.json").exists()

    def test_others_leave_interrupts_alone(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        seen.take(0, 0.9)
        assert seen.after(p10=1)
        assert (machine.proc / "irq/24/smp_affinity_list").read_text().strip() == "0-7"

    def test_the_next_scheduler_gets_the_homes(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        seen.take(0, 0.9)
        seen.after(p10=1)
        homes = dict(seen.binder.homes)
        seen.balancer.bind_with(None)
        assert seen.binder.homes == {}
        again = Binder()
        seen.balancer.bind_with(again)
        assert again.homes == homes

    def test_without_a_scheduler_nobody_moves_nor_rests(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine)
        seen.balancer.bind_with(None)
        seen.take(0, 0.9)
        assert seen.after(p10=1) == []
        seen.balancer.bind_with(seen.binder)
        assert len(seen.after(0.5, p10=1)) == 1

    def test_a_dry_run_changes_nothing_and_says_what_it_would(self, machine: Machine) -> None:
        machine.add(spinner(10, 0))
        seen = Balanced(machine, replace(COARSE, dry_run=True))
        seen.balancer.bind_with(None)
        seen.take(0, 0.9)
        [(pid, source, _)] = seen.after(p10=1)
        assert (pid, source) == (10, 0)
        assert machine.tasks[10].own == {0: 10}
        assert (machine.proc / "irq/24/smp_affinity_list").read_text().strip() == "0-7"
