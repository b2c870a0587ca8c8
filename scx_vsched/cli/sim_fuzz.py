"""`scx_vsched sim fuzz`, `sim replay` for what it found, and `sim record` of this machine."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.sim_output import (
    FAILED,
    TRACE_LIMIT,
    PictureMs,
    PicturePath,
    Progress,
    Sanitize,
    TracePath,
    show,
    stop_if_failed,
    write,
)

if TYPE_CHECKING:
    from scx_vsched.sim.fuzz import Finding

__all__ = ["fuzz_command", "record_command", "replay_command"]


def fuzz_command(
    *,
    cases: Annotated[int, typer.Option("--cases", min=1, help="How many to draw.")] = 2000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the first; the next has the next number.")
    ] = 0,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where failing cases are written.")
    ] = Path(),
    jobs: Annotated[
        int,
        typer.Option("--jobs", min=0, help="Processes that share the work; 0: one for each CPU."),
    ] = 0,
    max_findings: Annotated[
        int, typer.Option("--max-findings", min=1, help="Stop after so many.")
    ] = 5,
    sanitize: Sanitize = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Run random machines, workloads, policies and faults, and check every invariant.

    A failing case is made smaller and written to DIR as fuzz-SEED.json, for `sim replay`. Exit
    status 4 means that there was one.
    """
    from scx_vsched.sim.fuzz import fuzz

    started = time.monotonic()
    progress = Progress("cases")
    findings: list[Finding] = []

    def found(finding: Finding) -> None:
        findings.append(finding)
        path = out / f"fuzz-{finding.seed}.json"
        write(path, finding.case.to_json())
        typer.echo(
            f"seed {finding.seed}: {finding.failure.name}: {finding.failure.message} ({path})",
            err=True,
        )

    tally = fuzz(
        seed,
        cases,
        jobs=jobs or len(os.sched_getaffinity(0)),
        tell=lambda tally: progress(tally.cases, cases),
        found=found,
        max_findings=max_findings,
        sanitize=sanitize,
    )
    took_s = time.monotonic() - started
    if as_json:
        data = {
            "seed": seed, "cases": tally.cases, "failed": tally.failed, "events": tally.events,
            "scheduling_events": tally.records, "seconds": round(took_s, 1),
        }  # fmt: skip
        print(json.dumps(data, indent=2))
    else:
        print(
            f"{tally.cases:,} cases from seed {seed}, {tally.records:,} scheduling events: "
            f"{tally.failed} failed, {took_s:.0f} s"
        )
    if findings:
        raise typer.Exit(FAILED)


def replay_command(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A case that `sim fuzz` wrote.")],
    trace: TracePath = None,
    picture: PicturePath = None,
    picture_ms: PictureMs = 100.0,
    sanitize: Sanitize = False,
) -> None:
    """Run a case again, the same step for step.

    Exit status 4 means that it failed; the steps before that are printed.
    """
    from scx_vsched.sim.case import load_case, run_case
    from scx_vsched.sim.sanitize import start_again

    if sanitize:
        start_again()
    case = load_case(file)
    outcome = run_case(case, sanitize=sanitize, trace_limit=TRACE_LIMIT)
    print(
        f"{file.name}: {case.policy} on {len(case.machine.vcpus)} vCPUs, {outcome.records:,} steps "
        f"in {outcome.now_ns / 1e6:,.3f} ms, digest {outcome.digest}"
    )
    if case.expect and not outcome.failure:
        print(f"it failed with {case.expect} once and does so no more")
    show(outcome, file.name, trace, picture, picture_ms)
    stop_if_failed(outcome)


def record_command(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A name that ends with .json or .txt.")
    ],
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=60, help="How long to watch.")
    ] = 5.0,
) -> None:
    """Record this machine for `sim run` to replay: its host in FILE.json, its tasks in FILE.txt.

    For FILE.json, when the host takes vCPUs away (`sim run FILE.json …`); keeps all of them busy
    meanwhile. For FILE.txt, what runs and what wakes what (`sim run 4 FILE.txt`), through BPF
    programs that pythonbpf compiles.
    """
    if file.suffix == ".txt":
        _record_tasks(file, seconds)
        return
    from scx_vsched.sim.recorded import availability_document
    from scx_vsched.topology.native import NativeMachine
    from scx_vsched.topology.records import Demand
    from scx_vsched.topology.sysfs import claimed_topology

    machine = NativeMachine()
    found = machine.watch(machine.vcpus(), round(seconds * 1e9), Demand.NORMAL)
    write(file, availability_document(found, claimed_topology()))
    lost = sum(gap.length_ns for seen in found.values() for gap in seen.gaps)
    part = lost / max(1, sum(seen.end_ns - seen.start_ns for seen in found.values()))
    print(f"{len(found)} vCPUs for {seconds:g} s, away {100 * part:.1f} % of the time: {file}")


def _record_tasks(file: Path, seconds: float) -> None:
    from scx_vsched.sim.recorder import activity, as_text, record

    found = record(seconds)
    write(file, as_text(found))
    span_ns = found.end_ns - found.start_ns
    print(f"{len(found.events):,} events in {span_ns / 1e9:.1f} s: {file}")
    for vcpu in activity(found):
        busy = 100 * vcpu.busy_ns / span_ns
        print(f"  vCPU {vcpu.cpu}: busy {busy:.1f} % of the time, {vcpu.tasks_run:,} tasks run")
    for cpu, count in found.lost.items():
        print(f"warning: {count:,} events of vCPU {cpu} are missing", file=sys.stderr)
