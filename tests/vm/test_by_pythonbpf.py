"""What pythonbpf compiled, on the oldest and the newest kernel: hooks of two policies, a tracer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scx_vsched.backend.compiler import require
from scx_vsched.bpf.build import build
from scx_vsched.errors import UserError
from scx_vsched.policies import resolve_policy
from scx_vsched.vm.job import GUEST_DIR, Step

if TYPE_CHECKING:
    from conftest import Guests

    from scx_vsched.vm.boot import Outcome

pytestmark = pytest.mark.vm

SECONDS = 2.0
POLICIES = ("fifo", "core")


@pytest.fixture(scope="module", params=["oldest", "newest"])
def outcome(
    request: pytest.FixtureRequest, guests: Guests, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """Everything below, run in one VM."""
    try:
        require()
    except UserError as error:
        pytest.skip(f"{error.message} ({error.hint})")
    directory = tmp_path_factory.mktemp("pythonbpf")
    files = {}
    for name in POLICIES:
        files[f"{name}.bpf.o"] = directory / f"{name}.bpf.o"
        meta = build(resolve_policy(name), files[f"{name}.bpf.o"], backend="pythonbpf")
        assert len(meta.pythonbpf) >= 15
    steps = [
        Step(
            "scx_vsched.vm.guest_verify:exercise",
            {"object_path": f"{GUEST_DIR}/{name}.bpf.o", "seconds": SECONDS},
            name,
        )
        for name in POLICIES
    ]
    steps.append(Step("guest_record:watch", {"seconds": SECONDS}, "watch"))
    return guests.run(request.param, steps, files=files, timeout_s=600)


def value(outcome: Outcome, name: str) -> Any:
    step = next(step for step in outcome.steps if step.name == name)
    assert step.ok, f"{step.error}\n{step.traceback}"
    return step.value


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_by_pythonbpf_is_verified_and_at_work_under_load(
    outcome: Outcome, name: str
) -> None:
    found = value(outcome, name)
    assert found["exit_info"] is None, found
    assert found["state"] == "enabled", found
    assert sum(found["stats"].values()) > 0


def test_the_recorder_sees_what_runs_and_its_record_replays(outcome: Outcome) -> None:
    found = value(outcome, "watch")
    assert found["lost"] == {}
    assert "sleep" in found["programs"]
    assert all(0 < busy <= 1 for busy in found["busy"])
