"""The same seed is the same run: in every process, and however the code was compiled."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from scx_vsched.sim import scheduler
from scx_vsched.sim.apart import Apart
from scx_vsched.sim.build import build_library
from scx_vsched.sim.case import Case, run_case
from scx_vsched.sim.draw import draw_case
from scx_vsched.sim.profile import machine_named
from scx_vsched.sim.run import Options
from scx_vsched.sim.scheduler import prepare
from scx_vsched.sim.workload_file import builtin_workloads, load_workload

# Digests of the seeds below: they change only where the scheduler, a policy or the engine does.
SEEDS = (1, 5, 11)
# Of one build, the policy `core` on the newest kernel: sanitizers take their time to compile.
SANITIZED = (16, 51, 71, 91, 119, 169)

APART = """
import sys
from scx_vsched.sim.case import run_case
from scx_vsched.sim.draw import draw_case
print(*(run_case(draw_case(int(seed))).digest for seed in sys.argv[1:]))
"""


def digests(*seeds: int) -> list[str]:
    return [run_case(draw_case(seed)).digest for seed in seeds]


def test_two_runs_in_one_process_are_the_same() -> None:
    assert digests(*SEEDS) == digests(*SEEDS)


def test_the_seeds_of_a_run_and_its_order_in_the_process_matter_to_no_other() -> None:
    assert digests(*SEEDS) == digests(*reversed(SEEDS))[::-1]


def test_runs_of_different_seeds_differ() -> None:
    assert len(set(digests(*range(20, 26)))) == 6


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_another_process_draws_and_runs_the_same(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", APART, *map(str, SEEDS)],
        env={"PYTHONHASHSEED": hash_seed, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
        | {"XDG_CACHE_HOME": str(build_library(None).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == digests(*SEEDS)


def test_what_gcc_builds_with_sanitizers_does_the_same() -> None:
    with Apart(sanitize=True) as apart:
        found = [apart.run(draw_case(seed)) for seed in SANITIZED]
    assert [verdict.failure for verdict in found] == [None] * len(SANITIZED)
    assert [verdict.digest for verdict in found] == digests(*SANITIZED)


@pytest.mark.parametrize("level", ["-O0", "-O1"])
def test_every_build_does_the_same(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want = digests(5)
    monkeypatch.setattr("scx_vsched.sim.build.OPTIMISE", level)
    prepare_afresh()
    assert digests(5) == want
    prepare_afresh()


def prepare_afresh() -> None:
    for made in (scheduler.compiled, scheduler._default):
        made.cache_clear()


def test_a_case_that_went_through_its_file_runs_the_same() -> None:
    for seed in range(40):
        case = draw_case(seed)
        assert Case.from_json(case.to_json(), "case") == case
    case = draw_case(5)
    assert run_case(Case.from_json(case.to_json(), "case")).digest == run_case(case).digest


@pytest.mark.parametrize("policy", ["core", "default"])
def test_what_is_kept_of_the_trace_does_not_change_the_run(policy: str) -> None:
    machine = machine_named("rcvm", contended=True)
    load = load_workload("requests", machine)
    options = Options(end_ns=300_000_000, seed=7)
    plain = prepare(policy).run(machine, load, options)
    kept = prepare(policy).run(machine, load, replace(options, trace_limit=1000, check_every=1))
    assert kept.digest == plain.digest
    assert kept.latencies_ns == plain.latencies_ns


@pytest.mark.parametrize("workload", list(builtin_workloads()))
def test_every_workload_that_comes_with_the_package_runs_without_a_fault(workload: str) -> None:
    machine = machine_named("rcvm", contended=True)
    options = Options(end_ns=200_000_000, check_every=20, drain=True)
    for policy in ("core", "default"):
        outcome = prepare(policy).run(machine, load_workload(workload, machine), options)
        assert outcome.failure is None
        assert sum(outcome.counts.values()) > 0
