"""The order of measurements in a guest, and what is told of one that fails; nothing is attached."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.lab import guest as lab_guest
from scx_vsched.lab.schedulers import SCHEDULERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOADS = [{"name": "compute-1", "text": "", "metrics": ["done"]}]
ARMS = [
    {**arm.plain(), "object": f"{arm.policy}.o" if arm.policy else ""}
    for arm in SCHEDULERS.values()
]


class Guest:
    """Keeps what it is told to tell."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def progress(self, text: str) -> None:
        self.emit("progress", text=text)

    def results(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "result"]


class Side:
    """A scheduler that counts each question."""

    def __init__(self, path: str, fails: bool) -> None:
        self.path, self.fails, self.asked = path, fails, 0
        self.tunables: Mapping[str, int] = {}

    def tune(self, tunables: Mapping[str, int]) -> None:
        self.tunables = tunables

    def counters(self) -> dict[str, int]:
        self.asked += 1
        return {"kept": self.asked, "idle_any": 7} if self.path else {}

    def seen(self) -> list[tuple[int, float]]:
        return [(1024, 0.0)] if self.path else []

    def check(self) -> None:
        if self.fails and self.path:
            raise RuntimeError("the kernel ended the scheduler: runnable task stall")


class Meter:
    def measure(self, load: Mapping[str, Any], seed: int) -> dict[str, Any]:
        return {"values": {"done": (float(seed), "/s")}, "curves": {}, "marks": ("1", "2")}

    def spin(self, seconds: float) -> tuple[str, str]:
        return "1", "2"


class Knowledge:
    def __init__(self) -> None:
        self.feeding = contextlib.nullcontext()
        self.feeding.topology = "known"  # type: ignore[attr-defined]


@pytest.fixture
def attached(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[str]:
    """The objects in the order in which they were attached; with a parameter they fail."""
    order: list[str] = []

    @contextlib.contextmanager
    def at_work(path: str, knowledge: object) -> Iterator[Side]:
        order.append(path)
        yield Side(path, fails=hasattr(request, "param"))

    monkeypatch.setattr(lab_guest, "at_work", at_work)
    monkeypatch.setattr(lab_guest, "Knowledge", Knowledge)
    monkeypatch.setattr(lab_guest, "measuring", lambda *_: contextlib.nullcontext(Meter()))
    monkeypatch.setattr(lab_guest, "phase", lambda *_: contextlib.nullcontext())
    return order


def _alternate(guest: Guest, rounds: int, turn: int) -> list[dict[str, Any]]:
    lab_guest.alternate(
        guest,  # type: ignore[arg-type]
        arms=ARMS, loads=LOADS, rounds=rounds, turn=turn, seconds=1, warmup=0, learn_s=0,
        program="",
    )  # fmt: skip
    return guest.results()


def test_each_turn_begins_with_another_scheduler(attached: list[str]) -> None:
    results = _alternate(Guest(), 3, 1)
    assert attached == [
        "", "core.o", "vsched.o", "core.o", "vsched.o", "", "vsched.o", "", "core.o",
    ]  # fmt: skip
    assert len(results) == 3 * len(ARMS)
    assert {(r["round"], r["scheduler"]) for r in results} == {
        (number, arm["name"]) for number in range(3) for arm in ARMS
    }


def test_longer_turns_take_over_less_often(attached: list[str]) -> None:
    results = _alternate(Guest(), 5, 2)
    assert len(attached) == 3 * 3
    assert len(results) == 5 * len(ARMS)


def test_only_what_was_counted_meanwhile_is_told(attached: list[str]) -> None:
    by = {r["scheduler"]: r for r in _alternate(Guest(), 1, 1)}
    assert by["all"]["counters"] == {"kept": 1}
    assert by["default"]["counters"] == {}
    assert by["all"]["seen"] == [(1024, 0.0)]


@pytest.mark.parametrize("attached", ["fails"], indirect=True)
def test_a_scheduler_that_left_is_told_and_the_rest_is_measured(attached: list[str]) -> None:
    guest = Guest()
    results = _alternate(guest, 1, 1)
    errors = {r["scheduler"]: r["error"] for r in results}
    assert errors["default"] == ""
    assert "runnable task stall" in errors["all"]
    assert any("failed: the kernel ended" in e.get("text", "") for e in guest.events)
