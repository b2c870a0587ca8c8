"""Xen's schedulers at work on the oldest and the newest kernel: shares, caps, deadlines, commands.

One boot for each kernel runs everything; the tests judge what it brought back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.bpf.build import build
from scx_vsched.policies import xen_policies
from scx_vsched.vm.job import GUEST_DIR, Step

if TYPE_CHECKING:
    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = [pytest.mark.vm, pytest.mark.alone, pytest.mark.unproven]

CPUS = 2
SECONDS = 10.0
RTDS_SECONDS = 60.0
TICK_US = 4000  # of Debian's kernels; a deadline that lacks less than that is not missed
BY_WEIGHT = ("credit", "credit2", "bvt")
WEIGHTS = {"vm1": {"weight": 256}, "vm2": {"weight": 512}}
CAPS = {"vm1": {"cap": 50}, "vm2": {"cap": 120}}
RESERVED = {
    "vm1": {"period_us": 20_000, "budget_us": 8_000, "extratime": 0, "vcpus": 2},
    "vm2": {"period_us": 50_000, "budget_us": 25_000, "extratime": 0},
    "vm3": {"period_us": 40_000, "budget_us": 8_000, "extratime": 1},
}
SLICES = {
    "vm1": {"period_us": 20_000, "slice_us": 8_000, "extratime": 0},
    "vm2": {"period_us": 50_000, "slice_us": 25_000, "extratime": 0},
    "vm3": {"weight": 1},
    "vm4": {"weight": 3},
}


def _steps() -> list[Step]:
    def shares(name: str, policy: str, **arguments: Any) -> Step:
        path = {"object_path": f"{GUEST_DIR}/{policy}.bpf.o"}
        return Step("guest_domains:shares", {**path, "seconds": SECONDS, **arguments}, name)

    steps = [
        shares(f"weights of {name}", name, domains=WEIGHTS, vcpus={"vm1": CPUS, "vm2": CPUS})
        for name in BY_WEIGHT
    ]
    steps += [
        shares(f"caps of {name}", name, domains=CAPS, vcpus={"vm1": 1, "vm2": CPUS})
        for name in ("credit", "credit2")
    ]
    vcpus = {"vm1": 2, "vm2": 1, "vm3": 1}
    steps += [
        shares(
            "deadlines",
            "rtds",
            domains=RESERVED,
            vcpus=vcpus,
            seconds=RTDS_SECONDS,
            tunables={"slack_us": TICK_US},
        ),
        shares("slices", "sedf", domains=SLICES, vcpus={"vm1": 1, "vm2": 1, "vm3": 2, "vm4": 2}),
    ]
    too_much = {name: {"period_us": 10_000, "budget_us": 7_000, "vcpus": 2} for name in ("a", "b")}
    path = {"object_path": f"{GUEST_DIR}/rtds.bpf.o"}
    steps.append(Step("guest_domains:refused", {**path, "domains": too_much}, "refused"))
    path = {"object_path": f"{GUEST_DIR}/credit2.bpf.o"}
    steps.append(Step("guest_domains:commands", path, "commands"))
    return steps


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest, guests: Guests, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """Everything below, run in one VM."""
    directory = tmp_path_factory.mktemp("xen")
    files = {}
    for name, source in xen_policies().items():
        files[f"{name}.bpf.o"] = directory / f"{name}.bpf.o"
        build(source, files[f"{name}.bpf.o"])
    return guests.run(request.param, _steps(), files=files, timeout_s=500)


def value(outcome: Outcome, name: str) -> Any:
    step = next(step for step in outcome.steps if step.name == name)
    assert step.ok, step.traceback
    return step.value


def used(outcome: Outcome, name: str) -> dict[str, float]:
    found = value(outcome, name)
    assert found["exit"] is None, found
    return dict(found["used"])


@pytest.mark.parametrize("policy", BY_WEIGHT)
def test_busy_domains_share_by_weight(outcome: Outcome, policy: str) -> None:
    found = used(outcome, f"weights of {policy}")
    whole = sum(found.values())
    assert whole > 0.9 * CPUS, found
    assert found["vm1"] / whole == pytest.approx(1 / 3, rel=0.03)
    assert found["vm2"] / whole == pytest.approx(2 / 3, rel=0.03)


@pytest.mark.parametrize("policy", ["credit", "credit2"])
def test_capped_domains_get_their_cap_though_cpus_idle(outcome: Outcome, policy: str) -> None:
    found = used(outcome, f"caps of {policy}")
    assert found["vm1"] == pytest.approx(0.5, abs=0.02)
    assert found["vm2"] == pytest.approx(1.2, abs=0.02)


def test_admitted_domains_miss_no_deadline(outcome: Outcome) -> None:
    found = value(outcome, "deadlines")
    got = used(outcome, "deadlines")
    # 40 % for each vCPU of vm1
    assert got["vm1"] == pytest.approx(0.8, rel=0.02)
    assert got["vm2"] == pytest.approx(0.5, rel=0.02)
    assert got["vm3"] > 0.19
    periods = found["stats"]["periods"]
    assert periods > RTDS_SECONDS * (2 / 0.02 + 1 / 0.05) * 0.9
    print(f"{found['stats']['missed']} of {periods} deadlines missed")
    assert found["stats"]["missed"] == 0, found


def test_slices_are_kept_and_the_rest_is_shared_by_weight(outcome: Outcome) -> None:
    found = used(outcome, "slices")
    assert found["vm1"] == pytest.approx(0.4, rel=0.03)
    assert found["vm2"] == pytest.approx(0.5, rel=0.03)
    assert found["vm4"] / found["vm3"] == pytest.approx(3, rel=0.1)


def test_domains_beyond_what_the_cpus_have_are_refused(outcome: Outcome) -> None:
    said = value(outcome, "refused")
    assert said.startswith("domain b: Rtds does not admit it with period_us=10000")
    assert "more than this machine's CPUs have" in said


def test_domains_are_listed_changed_and_forgotten_with_their_cgroup(outcome: Outcome) -> None:
    found = value(outcome, "commands")
    listed = {d["name"]: d for d in json.loads(found["list"]["out"])}
    assert {name: d["settings"]["weight"] for name, d in listed.items()} == {
        "host": 300,
        "vm1": 512,
        "vm2": 512,
    }
    assert found["set"]["code"] == 0, found["set"]
    assert found["set"]["out"].splitlines()[1].split() == ["vm1", "1", "512", "30"]
    assert "cap = 100001 % is out of range: 0 to 100000 %" in found["high"]["err"]
    assert "there is no cgroup nowhere below /sys/fs/cgroup" in found["unknown"]["err"]
    assert "domains of Credit2 have no setting colour" in found["setting"]["err"]
    assert found["capped"] == pytest.approx(0.3, abs=0.02)
    assert "later" in {d["name"] for d in json.loads(found["later"]["out"])}
    assert {d["name"] for d in json.loads(found["gone"]["out"])} == {"host", "vm1", "vm2"}
    assert found["remove"]["code"] == 1
    assert "domain later is gone: its cgroup was removed" in found["run"]["err"]
    assert "there is no cgroup later" in found["run"]["err"]
