"""One run: fills in the engine's tables, lets it run, and takes the results out."""

from __future__ import annotations

import _ctypes
import ctypes
import struct
from ctypes import c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scx_vsched.bpf.feed import Feed
from scx_vsched.bpf.libbpf import BpfError
from scx_vsched.errors import UserError
from scx_vsched.sim import layout
from scx_vsched.sim.workload import DISTRIBUTIONS, OPS, SCRIPT_OPS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
    counts: dict[str, int]
    latencies_ns: dict[str, list[int]]
    vcpus: tuple[VCpuResult, ...]
    tasks: tuple[TaskResult, ...]
    trace: tuple[Record, ...]
    stats: dict[str, int] = field(default_factory=dict)
    maps: dict[str, list[bytes]] = field(default_factory=dict)


# In the order of enum record_kind in engine/api.h.
KINDS = (
    "wake", "enqueue", "switch_in", "preempted", "slept", "migrate", "tick", "kick", "ipi",
    "host_in", "host_out", "halt", "irq", "fork", "exit", "offline", "online", "affinity",
    "weight", "bypass", "host_change", "kept", "idle_claim", "request", "cgroup",
    "decision",
    "decision",
)  # fmt: skip


class _Library:
    """The engine with a policy, loaded afresh: unloading it forgets all of its state."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for function in ("sim_setup", "sim_run"):
            getattr(self._library, function).restype = ctypes.POINTER(layout.Result)
        self._library.sim_sizes.restype = c_uint64
        self._library.sim_map_values.restype = ctypes.c_void_p
        for which, table in enumerate(layout.SHARED):
            if self._library.sim_sizes(which) != ctypes.sizeof(table):
                raise AssertionError(f"layout.{table.__name__} differs from the engine's")

    def close(self) -> None:
        self._library.sim_end()
        _ctypes.dlclose(self._library._handle)

    def call(self, function: str, *tables: Any) -> Any:
        return getattr(self._library, function)(*map(ctypes.byref, tables)).contents

    def set_constant(self, name: str, value: int, size: int = 4) -> None:
        """As SchedulerObject does it before the object is loaded."""
        cell = c_uint32.in_dll(self._library, name)
        self.poke(ctypes.addressof(cell), value.to_bytes(size, "little"))

    def program(self, name: str) -> _Program:
        """The program of user space called `name`, as SchedulerObject has it."""
        return _Program(self._library, name)

    def poke(self, address: int, raw: bytes) -> None:
        self._library.sim_poke(ctypes.c_void_p(address), raw, c_uint32(len(raw)))

    def set_tunable(self, slot: int, raw: bytes) -> None:
        base = ctypes.addressof(ctypes.c_char.in_dll(self._library, "tunables"))
        self.poke(base + 8 * slot, raw)

    def map(self, name: str) -> _Table:
        """The array map called `name`; KeyError without one."""
        entries, size = c_uint32(), c_uint32()
        address = self._library.sim_map_values(
            name.encode(), ctypes.byref(entries), ctypes.byref(size)
        )
        if not address:
            raise KeyError(name)
        return _Table(address, entries.value, size.value)


@dataclass(frozen=True, slots=True)
class _Program:
    library: Any
    name: str

    def test_run(self) -> _Run:
        """As bpf.object.Program.test_run."""
        return _Run(
            self.library.sim_program(ctypes.cast(getattr(self.library, self.name), c_void_p))
        )


@dataclass(frozen=True, slots=True)
class _Run:
    retval: int


@dataclass(frozen=True, slots=True)
class _Table:
    address: int
    entries: int
    value_size: int

    def write(self, index: int, raw: bytes) -> None:
        """As bpf.libbpf.Map.write."""
        if len(raw) != self.value_size or not 0 <= index < self.entries:
            raise ValueError(f"{len(raw)} bytes for entry {index} of {self.value_size} bytes")
        ctypes.memmove(self.address + index * self.value_size, raw, self.value_size)

    def read(self, index: int) -> bytes:
        return ctypes.string_at(self.address + index * self.value_size, self.value_size)

    def shared(self, size: int) -> memoryview:
        """As bpf.object.Map.shared."""
        return memoryview((ctypes.c_char * size).from_address(self.address)).cast("B")


class _Feeder:
    """What user space does while the scheduler runs: it is told of topologies, one by one."""

    def __init__(self, library: _Library, machine: Machine) -> None:
        topology = machine.topology()
        self._machine = machine
        # a step of the simulation is atomic: no operation is ever under way
        self._feed = Feed(library, topology, topology, wait=lambda: None)  # type: ignore[arg-type]

    def update(self, number: int) -> int:
        """Hands the topology `number` over; called by the engine, which takes no exceptions."""
        try:
            self._feed.update(self._machine.topology(number))
        except (BpfError, ValueError):
            return 1
        return 0


class _Numbers:
    """The table of numbers that others point into."""

    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, values: Sequence[int]) -> int:
        start = len(self.values)
        self.values.extend(values)
        return start

    def mask(self, vcpus: Sequence[int], words: int) -> int:
        bits = [0] * words
        for vcpu in vcpus:
            bits[vcpu // 64] |= 1 << vcpu % 64
        return self.add(bits)


def _array(kind: Any, items: Sequence[Any]) -> Any:
    return (kind * max(len(items), 1))(*items)


def _machine_table(machine: Machine) -> layout.Machine:
    numbers = _Numbers()
    threads = [
        layout.Entity(
            t.pcpu, t.weight, t.quota_ns, t.period_ns,
            layout.NEVER if t.phase_ns is None else t.phase_ns,
            len(t.gates_ns), numbers.add(t.gates_ns),
        )
        for t in machine.threads
    ]  # fmt: skip
    costs = machine.costs
    return layout.Machine(
        vcpus=len(machine.vcpus),
        pcpus=len(machine.pcpus),
        entities=len(threads),
        tick_ns=machine.tick_ns,
        steal_visible=machine.steal_visible,
        smt_factor=machine.smt_factor,
        host_slice_ns=machine.host_slice_ns,
        host_wakeup_ns=machine.host_wakeup_ns,
        ipi_ns=costs.ipi_ns,
        halt_wake_ns=costs.halt_wake_ns,
        switch_ns=costs.switch_ns,
        syscall_ns=costs.syscall_ns,
        wake_ns=costs.wake_ns,
        migrate_ns=tuple(costs.migrate_ns),
        line_ns=tuple(costs.line_ns),
        pcpu=_array(
            layout.PCpu, [layout.PCpu(p.core, p.llc, p.node, p.speed) for p in machine.pcpus]
        ),
        entity=_array(layout.Entity, threads),
        vcpu_core=_array(c_uint64, [v.core for v in machine.vcpus]),
        vcpu_llc=_array(c_uint64, [v.llc for v in machine.vcpus]),
        vcpu_node=_array(c_uint64, [v.node for v in machine.vcpus]),
        numbers=_array(c_uint64, numbers.values),
    )


def _instructions(load: Workload) -> tuple[list[layout.Instruction], list[int]]:
    """All programs behind one another, with each one's start."""
    flat: list[layout.Instruction] = []
    starts = []
    for program in load.programs:
        starts.append(len(flat))
        loops: list[int] = []
        for step in program.instructions:
            a = step.a
            if step.op == "loop":
                loops.append(len(flat) + 1)
            elif step.op == "end":
                a = loops.pop()
            elif step.op == "forever":
                a = starts[-1]
            flat.append(
                layout.Instruction(
                    OPS.index(step.op), a, step.b, step.c, DISTRIBUTIONS.index(step.distribution)
                )
            )
    return flat, starts


def _load_table(load: Workload, machine: Machine) -> layout.Load:
    numbers = _Numbers()
    vcpus = len(machine.vcpus)
    words = -(-vcpus // 64)
    names = [program.name for program in load.programs]
    instructions, starts = _instructions(load)

    def mask(of: Sequence[int], who: str) -> int:
        for vcpu in of:
            if not 0 <= vcpu < vcpus:
                raise UserError(f"{who} names vCPU {vcpu}", f"the machine has {vcpus}")
        return numbers.mask(of, words)

    tasks = [
        layout.Task(
            names.index(t.program), t.count, t.nice, t.policy, t.kthread, t.group,
            layout.NEVER if t.affinity is None else mask(t.affinity, f"a task of {t.program}"),
            t.start_ns, t.stagger_ns, t.footprint, 0,
        )
        for t in load.tasks
    ]  # fmt: skip
    for source in load.sources:
        mask(source.irqs, "a source")
    sources = [
        layout.Source(
            s.channel, s.interval_ns, DISTRIBUTIONS.index(s.distribution), s.start_ns, s.end_ns,
            len(s.irqs), numbers.add(s.irqs),
        )
        for s in load.sources
    ]  # fmt: skip
    steps = [(s.at_ns, s.op, s.a, mask(s.mask, "a change") if s.mask else s.b, s.c)
             for s in load.script]  # fmt: skip
    steps += [(c.at_ns, c.op, c.a, c.b, c.c) for c in machine.changes]
    steps.sort(key=lambda step: step[0])
    _check_steps(steps, load, machine)
    return layout.Load(
        instructions=len(instructions),
        programs=len(starts),
        tasks=len(tasks),
        locks=load.locks,
        barriers=len(load.barriers),
        channels=len(load.channels),
        sources=len(sources),
        groups=len(load.groups),
        metrics=len(load.metrics),
        script=len(steps),
        max_tasks=load.max_tasks,
        instruction=_array(layout.Instruction, instructions),
        program=_array(layout.Program, [layout.Program(start) for start in starts]),
        task=_array(layout.Task, tasks),
        barrier=_array(c_uint64, load.barriers),
        channel=_array(c_uint64, load.channels),
        source=_array(layout.Source, sources),
        group=_array(layout.Group, [layout.Group(g.parent, g.weight) for g in load.groups]),
        step=_array(
            layout.Script,
            [layout.Script(at, SCRIPT_OPS.index(op), a, b, c) for at, op, a, b, c in steps],
        ),
        numbers=_array(c_uint64, numbers.values),
    )


def _check_steps(
    steps: Sequence[tuple[int, str, int, int, int]], load: Workload, machine: Machine
) -> None:
    limits = {
        "offline": len(machine.vcpus),
        "online": len(machine.vcpus),
        "group_weight": len(load.groups),
        "quota": len(machine.threads),
        "pin": len(machine.threads),
        "speed": len(machine.pcpus),
        "feed": len(machine.retold),
    }
    for _, op, a, b, c in steps:
        if op in limits and not 0 <= a < limits[op]:
            raise UserError(f"a change ({op}) names number {a} of {limits[op]}")
        if (op == "group_move" and b >= len(load.groups)) or (
            op == "pin" and b >= len(machine.pcpus)
        ):
            raise UserError(f"a change ({op}) goes to number {b}, which there is not")
        if op == "quota" and c and not 1_000 <= b <= c:
            raise UserError(f"a change gives a quota of {b} ns in {c} ns")
        if (op == "group_weight" and not 1 <= b <= 10_000) or (op == "speed" and b < 1):
            raise UserError(f"a change ({op}) to {b} is impossible")


def _options_table(options: Options) -> layout.Options:
    if not 1 <= options.end_ns <= 10**15:
        raise UserError(f"a run of {options.end_ns} ns", "up to a million seconds")
    return layout.Options(
        seed=options.seed % 2**64,
        end_ns=options.end_ns,
        warmup_ns=options.warmup_ns,
        max_events=options.max_events,
        max_wall_ms=int(options.max_wall_s * 1000),
        ext=options.scheduler,
        timeout_ms=options.timeout_ms,
        stranded_ns=options.stranded_ms * 1_000_000,
        check_every=options.check_every,
        trace_limit=options.trace_limit,
        drain=options.drain,
    )


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


def _outcome(
    result: layout.Result, load: Workload, stats: dict[str, int], maps: dict[str, list[bytes]]
) -> Outcome:
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
        maps=maps,
    )


def simulate(
    library_path: Path,
    machine: Machine,
    load: Workload,
    options: Options,
    *,
    tunables: Mapping[int, int] | None = None,
    stat_names: Sequence[str] = (),
    keep_maps: Sequence[str] = (),
) -> Outcome:
    """Runs `load` on `machine` under the scheduler in `library_path`.

    `tunables` are by their place in the object's description, `stat_names` in the order of the map
    `stats`; the entries of `keep_maps` come back as bytes. Raises UserError for tables that
    contradict each other; what goes wrong within the run is the outcome's `failure`.
    """
    tables = _machine_table(machine), _load_table(load, machine), _options_table(options)
    library = _Library(library_path)
    try:
        result = library.call("sim_setup", *tables)
        if options.scheduler and not result.failed:
            library.set_constant("nr_vcpu_ids", len(machine.vcpus))
            library.set_constant("tick_ns", machine.tick_ns, 8)
            feeder = _Feeder(library, machine)
            tables[-1].feed = layout.FEED(feeder.update)
            for slot, value in (tunables or {}).items():
                library.set_tunable(slot, struct.pack("=q" if value < 0 else "=Q", value))
        if not result.failed:
            result = library.call("sim_run")
        stats, maps = {}, {}
        if options.scheduler:
            counters = library.map("stats")
            for index, name in enumerate(stat_names):
                stats[name] = sum(
                    int.from_bytes(counters.read(vcpu * counters.entries + index), "little")
                    for vcpu in range(len(machine.vcpus))
                )
            for name in keep_maps:
                table = library.map(name)
                maps[name] = [table.read(i) for i in range(table.entries)]
        return _outcome(result, load, stats, maps)
    finally:
        library.close()
