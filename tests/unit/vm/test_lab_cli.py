"""The lab's commands: which flag reaches what, and mistakes; nothing is booted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from scx_vsched.cli.vm import app
from scx_vsched.errors import UserError
from scx_vsched.vm import kernels
from scx_vsched.vm.lab import accuracy
from scx_vsched.vm.lab.accuracy_records import Accuracy, Overhead, ShareSample, StackProbe, load

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

MS = 1_000_000
SAMPLE = ShareSample("p", "share", 0, True, 0.5, 0.5, 0.51, 5.0 * MS, 5.1 * MS, True, 0.1)
STACK = StackProbe("pair", True, ((0, 3),), ((0, 3),), 7, 0.2, 1.0)
COST = Overhead(False, 60.0, 2, 0.01, 0.02, 0.01, 0.1)


class FakeMeasurement:
    """Notes what it is asked for."""

    asked: list[Any]

    def __init__(self, kernel: str, accelerator: str | None, say: Any) -> None:
        type(self).asked = [(kernel, accelerator)]
        self._say = say
        self.result = Accuracy(("a VM",))

    def _add(self, what: tuple[Any, ...], found: Accuracy) -> None:
        self.asked.append(what)
        self._say(f"measuring {what[0]}")
        self.result = self.result.joined(found)

    def shares(self, busy: bool, seconds: float) -> None:
        sample = ShareSample(**{**as_fields(SAMPLE), "busy": busy})
        self._add(("shares", busy, seconds), Accuracy((), (sample,)))

    def stacks(self, probes: int, unstacked_probes: int) -> None:
        self._add(("stacks", probes, unstacked_probes), Accuracy((), stacks=(STACK,)))

    def overheads(self, seconds: float) -> None:
        self._add(("overheads", seconds), Accuracy((), overheads=(COST,)))

    def overheads_here(self, seconds: float) -> None:
        self._add(("overheads here", seconds), Accuracy(()))


def as_fields(sample: ShareSample) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in ShareSample.__slots__}


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> type[FakeMeasurement]:
    monkeypatch.setattr(accuracy, "Measurement", FakeMeasurement)
    monkeypatch.setattr(kernels, "find_kernels", list)
    monkeypatch.setattr(kernels, "select", lambda _, spec: f"kernel {spec}")
    return FakeMeasurement


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["accuracy", *map(str, arguments)])


def test_everything_is_measured_unless_parts_are_named(measured: type[FakeMeasurement]) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    assert measured.asked == [
        ("kernel newest", None),
        ("shares", True, 8.0),
        ("shares", False, 8.0),
        ("stacks", 10, 50),
        ("overheads", 60.0),
        ("overheads here", 60.0),
    ]
    assert "### Busy vCPUs" in done.stdout
    assert "### Overhead" in done.stdout


def test_flags_reach_the_measurement(measured: type[FakeMeasurement]) -> None:
    parts = ("--part", "stacks", "--part", "overhead", "--part", "idle")
    numbers = ("--seconds", 3, "--probes", 2, "--unstacked-probes", 4, "--overhead-seconds", 5)
    run("-k", "6.12", "--accel", "kvm", *parts, *numbers)
    assert measured.asked == [
        ("kernel 6.12", "kvm"),
        ("stacks", 2, 4),
        ("overheads", 5.0),
        ("shares", False, 3.0),
    ]


def test_progress_is_on_standard_error_and_can_be_quiet() -> None:
    assert "measuring stacks" in run("--part", "stacks").stderr
    assert run("--part", "stacks", "--quiet").stderr == ""


def test_json_and_a_file_of_it_that_can_be_added_to(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    done = run("--part", "busy", "--json", "-o", first)
    assert Accuracy.from_data(json.loads(done.stdout)) == load(first)
    assert run("--part", "stacks", "--from", first, "-o", second).exit_code == 0
    found = load(second)
    assert len(found.samples) == len(found.stacks) == 1


def test_what_was_measured_is_kept_when_a_later_part_fails(
    measured: type[FakeMeasurement], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise UserError("the VM went away")

    monkeypatch.setattr(measured, "stacks", fail)
    path = tmp_path / "a.json"
    done = run("--part", "busy", "--part", "stacks", "-o", path)
    assert isinstance(done.exception, UserError)
    assert len(load(path).samples) == 1


def test_a_page_with_a_picture(tmp_path: Path) -> None:
    page = tmp_path / "docs/page.md"
    page.parent.mkdir()
    page.write_text("# Title\n")
    for _ in range(2):
        run("--part", "busy", "--markdown", page, "--plot", tmp_path / "docs/scatter.svg")
    text = page.read_text()
    assert text.startswith("# Title\n")
    assert text.count("](scatter.svg)") == 1
    assert (tmp_path / "docs/scatter.svg").exists()


def test_what_falls_short_is_told_by_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.STACK", StackProbe("pair", True, ((0, 3),), (), 7, 0.2, 1.0))
    assert run("--part", "stacks").exit_code == 1
    assert run("--part", "busy").exit_code == 0


@pytest.mark.parametrize("flag", ["--from", "--output", "--plot", "--markdown"])
def test_files_that_cannot_be_used_are_refused_before_anything_is_measured(
    measured: type[FakeMeasurement], tmp_path: Path, flag: str
) -> None:
    measured.asked = []
    done = run(flag, tmp_path / "none/file.svg")
    assert isinstance(done.exception, UserError)
    assert measured.asked == []


@pytest.mark.parametrize(
    "arguments", [("--part", "all"), ("--seconds", 0), ("--probes", 0), ("--overhead-seconds", -1)]
)
def test_values_that_make_no_sense(arguments: tuple[object, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_profiles_are_listed_for_people_and_programs() -> None:
    text = CliRunner().invoke(app, ["profiles"]).stdout
    assert "straggler" in text
    assert "three equal vCPUs" in text
    data = json.loads(CliRunner().invoke(app, ["profiles", "--json"]).stdout)
    assert data["stacked"]["shapes"][0]["stack"] == "pair"
