"""What a machine lacks, each with its remedy, on made-up machines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from scx_vsched.errors import UserError
from scx_vsched.runtime.prerequisites import Machine, check_machine, missing

if TYPE_CHECKING:
    from pathlib import Path

ALL_CAPABILITIES = "000001ffffffffff"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has everything, with no scheduler attached."""
    (tmp_path / "sched_ext").mkdir()
    (tmp_path / "sched_ext" / "state").write_text("disabled\n")
    (tmp_path / "btf").write_bytes(b"")
    (tmp_path / "lockdown").write_text("[none] integrity confidentiality\n")
    (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{ALL_CAPABILITIES}\n")
    return Machine(
        sched_ext=tmp_path / "sched_ext",
        btf=tmp_path / "btf",
        lockdown=tmp_path / "lockdown",
        status=tmp_path / "status",
        release="6.12.0-test",
    )


def lacks(machine: Machine) -> tuple[str, str]:
    """The only thing that it lacks, and the remedy."""
    (found,) = missing(machine)
    with pytest.raises(UserError) as caught:
        check_machine(machine)
    assert (caught.value.message, caught.value.hint) == (found.what, found.remedy)
    return found.what, found.remedy


def test_complete_machine(machine: Machine) -> None:
    assert list(missing(machine)) == []
    check_machine(machine)


def test_kernel_without_sched_ext(machine: Machine, tmp_path: Path) -> None:
    what, remedy = lacks(replace(machine, sched_ext=tmp_path / "nothing"))
    assert "6.12.0-test has no sched_ext" in what
    assert "CONFIG_SCHED_CLASS_EXT" in remedy
    assert "scx_vsched vm run" in remedy


def test_kernel_without_btf(machine: Machine, tmp_path: Path) -> None:
    what, remedy = lacks(replace(machine, btf=tmp_path / "nothing"))
    assert "has no BTF" in what
    assert "CONFIG_DEBUG_INFO_BTF" in remedy


@pytest.mark.parametrize(
    ("held", "named"),
    [
        (0, "CAP_BPF and CAP_SYS_ADMIN"),
        (1 << 39, "lacks CAP_SYS_ADMIN"),
        (1 << 21, "lacks CAP_BPF"),
    ],
)
def test_missing_privileges(machine: Machine, held: int, named: str) -> None:
    machine.status.write_text(f"CapEff:\t{held:016x}\n")
    what, remedy = lacks(machine)
    assert named in what
    assert "root" in remedy


@pytest.mark.parametrize(("mode", "closed"), [("integrity", False), ("confidentiality", True)])
def test_lockdown(machine: Machine, mode: str, closed: bool) -> None:
    modes = "none integrity confidentiality".replace(mode, f"[{mode}]")
    machine.lockdown.write_text(f"{modes}\n")
    assert [found.what for found in missing(machine) if "locked down" in found.what] == (
        ["the kernel is locked down (confidentiality), which closes BPF's view of it"] * closed
    )


@pytest.mark.parametrize("state", ["enabled", "enabling", "disabling"])
def test_other_scheduler_is_named(machine: Machine, state: str) -> None:
    (machine.sched_ext / "state").write_text(f"{state}\n")
    (machine.sched_ext / "root").mkdir()
    (machine.sched_ext / "root" / "ops").write_text("rustland\n")
    what, remedy = lacks(machine)
    assert "is attached: rustland" in what
    assert "stop it" in remedy


def test_all_at_once(machine: Machine, tmp_path: Path) -> None:
    machine.status.write_text("CapEff:\t0\n")
    poor = replace(machine, sched_ext=tmp_path / "none", btf=tmp_path / "none")
    with pytest.raises(UserError) as caught:
        check_machine(poor)
    for word in ("no sched_ext", "no BTF", "CAP_BPF", "CONFIG_SCHED_CLASS_EXT", "root"):
        assert word in caught.value.message
