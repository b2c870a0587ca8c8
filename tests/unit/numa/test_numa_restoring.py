"""Affinities as homes, and what a balancer that was killed left behind."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from numa_machine import Machine, Task

from scx_vsched.errors import UserError
from scx_vsched.numa.files import Skips
from scx_vsched.numa.homes import AffinityHomes
from scx_vsched.numa.irqs import Helpers, _hex, put_back
from scx_vsched.numa.nodes import read_nodes
from scx_vsched.numa.saved import Saved, SavedFile, restore

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = set(range(8))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    found.add(Task(1, "init", parent=0), Task(10, cpus=(0, 1)), Task(11))
    return found


def homes(machine: Machine, skips: Skips | None = None) -> AffinityHomes:
    return AffinityHomes(
        read_nodes(machine.places.sys),
        Skips() if skips is None else skips,
        proc=machine.places.proc,
        affinity=machine,
    )


class TestAffinities:
    def test_all_threads_are_bound_and_set_free(self, machine: Machine) -> None:
        bound = homes(machine)
        bound.set(10, 2)
        assert machine.affinity[10] == machine.affinity[11] == {4, 5}
        bound.clear()
        assert machine.affinity[10] == machine.affinity[11] == EVERYTHING

    def test_one_is_set_free_alone(self, machine: Machine) -> None:
        machine.add(Task(20))
        bound = homes(machine)
        bound.set(10, 2)
        bound.set(20, 1)
        bound.remove(10)
        bound.remove(4711)
        assert machine.affinity[10] == EVERYTHING
        assert machine.affinity[20] == {2, 3}

    def test_who_is_bound_already_is_refused(self, machine: Machine) -> None:
        machine.affinity[10] = {4, 5}
        with pytest.raises(PermissionError):
            homes(machine).set(10, 2)
        assert machine.affinity[10] == {4, 5}

    def test_who_is_gone_is_told(self, machine: Machine) -> None:
        with pytest.raises(ProcessLookupError):
            homes(machine).set(4711, 2)

    def test_children_inherit_and_are_set_free(self, machine: Machine) -> None:
        bound = homes(machine)
        bound.set(10, 2)
        machine.add(Task(30, parent=10, start=500), Task(31, parent=1, start=500))
        machine.affinity[30] = machine.affinity[31] = {4, 5}
        bound.clear()
        assert machine.affinity[30] == machine.affinity[31] == EVERYTHING

    def test_what_the_user_had_bound_stays_bound(self, machine: Machine) -> None:
        machine.add(Task(40), Task(41, parent=40, start=500))
        machine.affinity[40] = {4, 5}
        bound = homes(machine)
        bound.set(10, 2)
        machine.affinity[41] = {4, 5}
        bound.clear()
        assert machine.affinity[40] == machine.affinity[41] == {4, 5}

    def test_fixed_ones_are_left_as_they_are(self, machine: Machine) -> None:
        homes(machine).set(10, 2, fixed=True)
        assert machine.affinity[10] == EVERYTHING

    def test_a_thread_that_vanishes_is_counted(self, machine: Machine) -> None:
        del machine.affinity[11]
        skips = Skips()
        homes(machine, skips).set(10, 2)
        assert machine.affinity[10] == {4, 5}
        assert skips["affinities: vanished"] == 2


class TestHelpers:
    def test_masks_as_the_kernel_writes_them(self) -> None:
        assert _hex({0, 1}) == "00000003"
        assert _hex({0, 33}) == "00000002,00000001"

    def test_what_refuses_is_counted(self, machine: Machine) -> None:
        skips = Skips()
        helpers = Helpers(skips, machine.places.proc, machine.places.sys)
        helpers.look()
        (machine.proc / "irq/25/smp_affinity_list").unlink()
        assert helpers.move([2, 3]) == 2
        assert skips["interrupts: vanished"] == 1
        assert put_back(helpers.before, skips) == 2


class TestAKilledBalancer:
    def saved(self, machine: Machine, owner: tuple[int, int] = (4000, 7)) -> Path:
        path = machine.root / "run/numa.json"
        bound = homes(machine)
        bound.set(10, 2)
        irq = machine.proc / "irq/24/smp_affinity_list"
        SavedFile(path, machine.places.proc, machine.places.sys).save(
            Saved(owner, {str(irq): "0-7"}, bound.bound)
        )
        irq.write_text("4,5\n")
        return path

    def test_is_put_back(self, machine: Machine) -> None:
        path = self.saved(machine)
        done = restore(path, machine.places.proc, machine.places.sys, machine)
        assert done is not None
        assert (done.files, done.processes) == (1, 1)
        assert machine.affinity[10] == EVERYTHING
        assert (machine.proc / "irq/24/smp_affinity_list").read_text() == "0-7\n"
        assert not path.exists()
        assert restore(path, machine.places.proc, machine.places.sys, machine) is None

    def test_another_process_of_that_number_is_left_alone(self, machine: Machine) -> None:
        path = self.saved(machine)
        machine.end(10)
        machine.add(Task(10, cpus=(0,), start=1))
        machine.affinity[10] = {4, 5}
        done = restore(path, machine.places.proc, machine.places.sys, machine)
        assert done is not None
        assert done.processes == 0
        assert machine.affinity[10] == {4, 5}

    def test_one_that_is_at_work_is_not_disturbed(self, machine: Machine) -> None:
        path = self.saved(machine, (11, 100))
        machine.add(Task(11))
        with pytest.raises(UserError, match="at work"):
            restore(path, machine.places.proc, machine.places.sys, machine)
        assert path.exists()

    @pytest.mark.parametrize("text", ["", "[]", '{"owner": 1}', '{"owner":[1,2],"files":3}'])
    def test_a_file_that_is_none_is_told(self, machine: Machine, text: str) -> None:
        path = machine.root / "numa.json"
        path.write_text(text)
        with pytest.raises(UserError, match="no state"):
            restore(path, machine.places.proc, machine.places.sys, machine)

    def test_it_is_kept_before_anything_changes(self, machine: Machine) -> None:
        saved = SavedFile(machine.root / "a/b/numa.json")
        saved.save(Saved(saved.owner(), {"x": "y"}))
        assert json.loads((machine.root / "a/b/numa.json").read_text())["files"] == {"x": "y"}
        assert saved.owner()[0] == os.getpid()
        saved.remove()
        assert not (machine.root / "a/b/numa.json").exists()
