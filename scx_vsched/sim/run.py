"""One run: fills in the engine's tables, lets it run, and takes the results out."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scx_vsched.bpf.domains import HOST, Domains
from scx_vsched.sim import layout
from scx_vsched.sim.library import Feeder, Library
from scx_vsched.sim.tables import load_table, machine_table, options_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scx_vsched.bpf.model import ObjectMeta
    from scx_vsched.sim.hooks import Hooks
    from scx_vsched.sim.machine import Machine
    from scx_vsched.sim.workload import Workload

__all__ = ["Failure", "Options", "Outcome", "Record", "TaskResult", "VCpuResult", "simulate"]

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run. `trace_limit` records are kept at most, the last ones."""

    seed: int = 1
    end_ns: int = NS_PER_S
    warmup_ns: int = 0
    max_events: int = 10**10
    max_wall_s: float = 600.0
    timeout_ms: int = 30_000
    stranded_ms: int = 500
    check_every: int = 0
    trace_limit: int = 0
    drain: bool = False
    scheduler: bool = True  # the one under test, rather than the default one
    probe: bool = False  # probers watch the vCPUs and tell the scheduler
    ops_flags: tuple[str, ...] = ()  # of the scheduler's operations


@dataclass(frozen=True, slots=True)
class Failure:
    """An invariant that did not hold: its name, what was found, and when."""

    name: str
    message: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Record:
    """A step of the run; `kind` is one of KINDS, `vcpu` and `pid` may be absent.

    A `decision` says which statistic of the scheduler counted it: `detail` is its place among
    them, `why` its name.
    """

    at_ns: int
    kind: str
    vcpu: int | None
    pid: int | None
    detail: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class VCpuResult:
    """A vCPU's time: on a hardware thread, wanted but not given, running tasks."""

    hosted_ns: int
    stolen_ns: int
    busy_ns: int
    switches: int
    ticks: int


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A task that lived at the end."""

    pid: int
    program: int
    run_ns: int
    waited_ns: int
    wakeups: int
    switches: int
    migrations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run gave. `counts` and `latencies_ns` are by the workload's metrics."""

    now_ns: int
    events: int  # of the engine
    records: int  # scheduling events: wake-ups, switches, ticks, kicks, …
    digest: str
    failure: Failure | None
    wakeups: int
    migrations: int
    far_migrations: int
    switches: int
    kicks: int
    ipis: int
    longest_wait_ns: int  # of a runnable task for its turn
    counts: dict[str, int]
    latencies_ns: dict[str, list[int]]
    vcpus: tuple[VCpuResult, ...]
    tasks: tuple[TaskResult, ...]
    trace: tuple[Record, ...]
    stats: dict[str, int] = field(default_factory=dict)


# In the order of enum record_kind in engine/api.h.
KINDS = (
    "wake", "enqueue", "switch_in", "preempted", "slept", "migrate", "tick", "kick", "ipi",
    "host_in", "host_out", "halt", "irq", "fork", "exit", "offline", "online", "affinity",
    "weight", "bypass", "host_change", "kept", "idle_claim", "request", "cgroup",
    "decision",
    "timer",
)  # fmt: skip


def _trace(result: layout.Result, stat_names: Sequence[str]) -> tuple[Record, ...]:
    count, start = result.trace_records, result.trace_start
    absent = 2**32 - 1
    found = []
    for i in range(count):
        r = result.trace[(start + i) % count]
        kind = KINDS[r.kind]
        why = ""
        if kind == "decision" and r.detail < len(stat_names):
            why = stat_names[r.detail]
        vcpu = None if r.vcpu == absent else r.vcpu
        found.append(Record(r.at, kind, vcpu, r.task or None, r.detail, why))
    return tuple(found)


def _outcome(result: layout.Result, load: Workload, stats: dict[str, int]) -> Outcome:
    failure = None
    if result.failed:
        failure = Failure(result.name.decode(), result.message.decode(), result.now)
    metrics = [result.metric[i] for i in range(result.metrics)]
    return Outcome(
        now_ns=result.now,
        events=result.events,
        records=result.records,
        digest=f"{result.digest:016x}",
        failure=failure,
        wakeups=result.wakeups,
        migrations=result.migrations,
        far_migrations=result.far_migrations,
        switches=result.switches,
        kicks=result.kicks,
        ipis=result.remote_kicks,
        longest_wait_ns=result.longest_wait_ns,
        counts={n: m.count for n, m in zip(load.metrics, metrics, strict=False)},
        latencies_ns={
            n: m.values[: m.samples] if m.samples else []
            for n, m in zip(load.metrics, metrics, strict=False)
        },
        vcpus=tuple(
            VCpuResult(v.hosted_ns, v.stolen_ns, v.busy_ns, v.switches, v.ticks)
            for v in (result.vcpu[i] for i in range(result.vcpus))
        ),
        tasks=tuple(
            TaskResult(t.pid, t.program, t.run_ns, t.waited_ns, t.wakeups, t.switches, t.migrations)
            for t in (result.task[i] for i in range(result.tasks))
        ),
        trace=_trace(result, tuple(stats)),
        stats=stats,
    )


def _define_domains(
    library: Library, meta: ObjectMeta, load: Workload, hooks: Hooks | None
) -> None:
    """As user space does it; the id of a group is its number plus 1 (engine/main.c)."""
    written = (hooks.set_domain,) if hooks else ()
    domains = Domains(library, meta, *written)  # type: ignore[arg-type]
    for number, group in enumerate(load.groups):
        if group.domain is None:
            continue
        if number:
            domains.define(f"group{number}", number + 1, group.domain)
        else:
            domains.change(HOST, group.domain)


def simulate(
    library_path: Path,
    machine: Machine,
    load: Workload,
    options: Options,
    *,
    tunables: Mapping[int, int] | None = None,
    stat_names: Sequence[str] = (),
    hooks: Hooks | None = None,
    meta: ObjectMeta | None = None,
) -> Outcome:
    """Runs `load` on `machine` under the scheduler in `library_path`.

    `tunables` are by their place in the object's description, `stat_names` in the order of the map
    `stats`; `hooks` are computed in CPython. `meta` describes the scheduler's object. Raises
    UserError for tables that contradict each other, and what a hook raised; what goes wrong within
    the run is the outcome's `failure`.
    """
    tables = machine_table(machine), load_table(load, machine), options_table(options)
    library = Library(library_path)
    try:
        result = library.call("sim_setup", *tables)
        if options.scheduler and not result.failed:
            library.set_constant("nr_vcpu_ids", len(machine.vcpus))
            library.set_constant("tick_ns", machine.tick_ns, 8)
            library.set_constant("watchdog_ms", options.timeout_ms)
            if hooks:
                tables[-1].hook = layout.HOOK(hooks.call)
            if meta and meta.mechanism == "host":
                _define_domains(library, meta, load, hooks)
            else:
                feeder = Feeder(library, machine)
                tables[-1].feed = layout.FEED(feeder.update)
                tables[-1].probed = layout.PROBED(feeder.probed)
                tables[-1].home = layout.HOME(feeder.home)
            for slot, value in (tunables or {}).items():
                library.set_tunable(slot, struct.pack("=q" if value < 0 else "=Q", value))
        if not result.failed:
            result = library.call("sim_run")
        if hooks and hooks.error:
            raise hooks.error
        stats: dict[str, int] = {}
        if options.scheduler:
            counters = library.map("stats")
            for index, name in enumerate(stat_names):
                stats[name] = sum(
                    int.from_bytes(counters.read(vcpu * counters.entries + index), "little")
                    for vcpu in range(len(machine.vcpus))
                )
        return _outcome(result, load, stats)
    finally:
        library.close()
