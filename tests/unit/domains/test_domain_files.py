"""Domains as the user names them: files, cgroups that come and go, what the scheduler is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.bpf.domains import Domains
from scx_vsched.bpf.render import describe
from scx_vsched.domains.cgroups import cgroup_id, expand, find
from scx_vsched.domains.config import DomainFile, check_name, read_domains
from scx_vsched.domains.keeper import Keeper
from scx_vsched.errors import UserError
from scx_vsched.policies import resolve_policy
from scx_vsched.policy.compiler import compile_file

if TYPE_CHECKING:
    from pathlib import Path

META = describe(compile_file(resolve_policy("credit2")))
NUMBER, CGROUP, STATE = slice(8, 12), slice(0, 8), ".bss.domains"


class Fake:
    """A loaded scheduler: its maps as bytes, its programs as names in the order of their runs."""

    def __init__(self, *, admits: bool = True) -> None:
        self.ran: list[tuple[str, int]] = []
        self.admits = admits
        self.request = b""
        self.state = bytearray(META.domain_size * 1024)

    def map(self, name: str) -> Any:
        fake = self

        class Table:
            def write(self, key: int, raw: bytes) -> None:
                fake.request = raw

            def shared(self, size: int) -> memoryview:
                assert name == STATE
                return memoryview(fake.state)[:size]

        return Table()

    def program(self, name: str) -> Any:
        fake = self

        class Program:
            retval = 0

            def test_run(self) -> Any:
                number = int.from_bytes(fake.request[NUMBER], "little")
                fake.ran.append((name.removeprefix("vsched_"), number))
                self.retval = int(fake.admits) if name == "vsched_admit_domain" else 0
                return self

        return Program()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cgroup file system with two VMs that have the cpu controller, and one that has not."""
    for name in ("vm1", "machine.slice/a.scope", "machine.slice/b.scope"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "cpu.weight").write_text("100\n")
    (tmp_path / "bare").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_says_settings_by_path_and_pattern(tmp_path: Path) -> None:
    file = write(
        tmp_path / "d.toml",
        '[host]\nweight = 512\n[domain.vm1]\ncap = 50\n[domain."machine.slice/*"]\nweight = 128\n',
    )
    found = read_domains(file, META)
    assert found.host == {"weight": 512}
    assert found.rules == {"vm1": {"cap": 50}, "machine.slice/*": {"weight": 128}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[domain.vm1", "not valid TOML"),
        ("[vm1]\ncap = 3", "unknown table 'vm1'"),
        ("domain = 3", "`domain` is no table"),
        ("[domain]\nvm1 = 3", "vm1 is no table of settings"),
        ("[domain.vm1]\ncap = 1.5", "domain vm1: cap = 1.5 is not an integer"),
        ("[domain.vm1]\ncap = -1", "domain vm1: cap = -1 % is out of range: 0 to 100000 %"),
        ("[domain.vm1]\nshares = 1", "domains of Credit2 have no setting shares"),
        ("[domain.a.b]\ncap = 1", "domain a: b = {'cap': 1} is not an integer"),
        ('[domain."../etc"]\ncap = 1', "'../etc' is no path of a cgroup"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read_domains(write(tmp_path / "d.toml", text), META)
    assert message in error.value.message


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_domains(tmp_path / "none.toml", META)


def test_names_are_paths_below_the_root() -> None:
    assert check_name("/machine.slice//a.scope/") == "machine.slice/a.scope"
    for name in ("", "/", "a/../b", "."):
        with pytest.raises(UserError):
            check_name(name)


def test_cgroups_are_found_by_pattern_where_they_have_the_cpu_controller(root: Path) -> None:
    assert list(expand("machine.slice/*", root)) == [
        "machine.slice/a.scope",
        "machine.slice/b.scope",
    ]
    assert expand("vm1", root) == {"vm1": (root / "vm1").stat().st_ino}
    assert expand("bare", root) == expand("vm9", root) == {}
    assert cgroup_id("bare", root) is None


def test_why_a_cgroup_cannot_be_a_domain_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no cgroup vm9"):
        find("vm9", root)
    with pytest.raises(UserError, match="has no cpu controller") as error:
        find("bare", root)
    assert "echo +cpu" in error.value.hint
    with pytest.raises(UserError, match="no cgroups of version 2"):
        find("vm1", tmp_path / "nothing")


def test_a_domain_is_defined_written_admitted_and_entered_in_this_order() -> None:
    fake = Fake()
    domains = Domains(fake, META)  # type: ignore[arg-type]
    fake.ran.clear()
    found = domains.define("vm1", 77, {"cap": 50})
    assert [name for name, _ in fake.ran] == ["define_domain", "admit_domain", "enter_domain"]
    assert found.number == 1
    assert found.settings == {"weight": 256, "cap": 50}
    offset = {s.name: s.offset for s in META.settings}
    at = META.domain_size + offset["cap"]
    assert int.from_bytes(fake.state[at : at + 4], "little") == 50
    assert int.from_bytes(fake.request[CGROUP], "little") == 77


def test_what_is_not_admitted_leaves_no_trace() -> None:
    fake = Fake()
    domains = Domains(fake, META)  # type: ignore[arg-type]
    domains.define("vm1", 77, {"cap": 50})
    fake.admits = False
    with pytest.raises(UserError, match="Credit2 does not admit it with weight=300, cap=50"):
        domains.change("vm1", {"weight": 300})
    assert domains["vm1"].settings["weight"] == 256
    offset = META.domain_size + next(s.offset for s in META.settings if s.name == "weight")
    assert int.from_bytes(fake.state[offset : offset + 4], "little") == 256
    with pytest.raises(UserError, match="vm2"):
        domains.define("vm2", 78, {})
    assert "vm2" not in domains
    assert fake.ran[-1] == ("drop_domain", 2)


def test_numbers_are_used_again() -> None:
    domains = Domains(Fake(), META)  # type: ignore[arg-type]
    for number, name in enumerate(("a", "b", "c")):
        domains.define(name, 10 + number, {})
    domains.drop("b")
    assert domains.define("d", 20, {}).number == 2
    assert [domain.name for domain in domains.all()] == ["host", "a", "d", "c"]


def keeper(root: Path, rules: dict[str, dict[str, int]], said: list[str]) -> Keeper:
    return Keeper(META, DomainFile(rules), root=root, say=said.append)


def test_domains_follow_cgroups_that_come_and_go(root: Path) -> None:
    said: list[str] = []
    kept = keeper(root, {"machine.slice/*": {"weight": 128}, "later": {}}, said)
    domains = Domains(Fake(), META)  # type: ignore[arg-type]
    with kept.following(domains):
        assert len(said) == 1
        assert "there is no cgroup later" in said[0]
        assert [d["name"] for d in kept.listed()][1:] == [
            "machine.slice/a.scope",
            "machine.slice/b.scope",
        ]
        (root / "later").mkdir()
        (root / "later" / "cpu.weight").write_text("100")
        (root / "machine.slice/a.scope/cpu.weight").unlink()
        (root / "machine.slice/a.scope").rmdir()
        kept.sync()
        kept.sync()
        assert said[1:] == [
            "domain machine.slice/a.scope is gone: its cgroup was removed",
            "domain later is there",
        ]


def test_later_rules_add_to_earlier_ones(root: Path) -> None:
    rules = {"machine.slice/*": {"weight": 128, "cap": 10}, "machine.slice/a.scope": {"cap": 20}}
    kept = keeper(root, rules, [])
    domains = Domains(Fake(), META)  # type: ignore[arg-type]
    with kept.following(domains):
        assert domains["machine.slice/a.scope"].settings == {"weight": 128, "cap": 20}
        assert domains["machine.slice/b.scope"].settings == {"weight": 128, "cap": 10}


def test_commands_change_and_last_over_a_restart(root: Path) -> None:
    kept = keeper(root, {}, [])
    with kept.following(Domains(Fake(), META)):  # type: ignore[arg-type]
        kept.set("vm1", {"cap": 30})
        kept.set("host", {"weight": 700})
        with pytest.raises(UserError, match="there is no cgroup vm9"):
            kept.set("vm9", {"cap": 30})
    again = Domains(Fake(), META)  # type: ignore[arg-type]
    with kept.following(again):
        assert again["vm1"].settings["cap"] == 30
        assert again["host"].settings["weight"] == 700
        kept.remove("vm1")
        assert "vm1" not in again
        with pytest.raises(UserError, match="no domain vm1 to remove"):
            kept.remove("vm1")
    with pytest.raises(UserError, match="no scheduler is at work"):
        kept.listed()


def test_a_domain_of_a_pattern_is_not_removed_by_a_command(root: Path) -> None:
    kept = keeper(root, {"machine.slice/*": {}}, [])
    with (
        kept.following(Domains(Fake(), META)),  # type: ignore[arg-type]
        pytest.raises(UserError, match=r"comes from the pattern machine.slice/\*"),
    ):
        kept.remove("machine.slice/a.scope")


def test_who_appears_and_is_not_admitted_is_said_once(root: Path) -> None:
    said: list[str] = []
    kept = keeper(root, {"later": {}}, said)
    fake = Fake()
    with kept.following(Domains(fake, META)):  # type: ignore[arg-type]
        fake.admits = False
        (root / "later").mkdir()
        (root / "later" / "cpu.weight").write_text("100")
        kept.sync()
        kept.sync()
        assert len(said) == 2
        assert "does not admit it" in said[1]
