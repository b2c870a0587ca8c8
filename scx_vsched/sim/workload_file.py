"""Workloads from TOML files: names instead of numbers, times with units, counts by the machine.

docs/simulator.md describes the format; the built-in ones in scx_vsched/sim/workloads are examples.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.named_files import read_named
from scx_vsched.sim.profile import read_text
from scx_vsched.sim.sched_trace import trace_workload
from scx_vsched.sim.workload import (
    OPS,
    Group,
    Instruction,
    Program,
    Source,
    TaskSet,
    Workload,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.sim.machine import Machine

__all__ = ["builtin_workloads", "load_workload", "parse_time", "parse_workload"]

_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s)$")
_COUNT = re.compile(r"(?:(\d+)\s*\*\s*)?vcpus(?:\s*/\s*(\d+))?$")
_POLICIES = {"normal": 0, "batch": 3, "idle": 5}
_NO_ARGUMENT = ("yield", "join", "end", "forever", "stamp", "exit")
# What the first argument of a step names.
_NAMES = {
    "lock": "locks", "unlock": "locks", "spin_lock": "locks", "barrier": "barriers",
    "send": "channels", "receive": "channels", "fork": "programs", "mark": "metrics",
    "latency": "metrics",
}  # fmt: skip


def builtin_workloads() -> dict[str, Path]:
    """The workloads that come with the package, by name."""
    folder = Path(__file__).parent / "workloads"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_workload(name: str, machine: Machine) -> Workload:
    """The built-in workload `name`, or the one in the file of that path, sized for `machine`.

    A name that ends with .txt is that of a recorded trace: scx_vsched.sim.sched_trace.
    Raises UserError where there is none, or it is not valid.
    """
    if name.endswith(".txt"):
        return trace_workload(read_text(name), Path(name).stem)
    text, path = read_named("workload", name, builtin_workloads())
    return parse_workload(text, path.stem, machine)


def parse_time(text: str | int, where: str) -> int:
    """Nanoseconds in a time with its unit, such as `1.5ms`; UserError for anything else."""
    match = _TIME.match(str(text).strip())
    if not match:
        raise UserError(f"{where}: {text!r} is not a time", "for example 500us, 2ms, 1.5s")
    return round(float(match[1]) * _UNITS[match[2]])


class _Reader:
    """The names of a file, and the machine that it is for."""

    def __init__(self, raw: dict[str, Any], name: str, machine: Machine) -> None:
        self.raw = raw
        self.name = name
        self.machine = machine
        self.names: dict[str, list[str]] = {
            "locks": list(raw.get("locks", [])),
            "barriers": list(raw.get("barriers", {})),
            "channels": list(raw.get("channels", {})),
            "metrics": list(raw.get("metrics", [])),
            "programs": [str(program.get("name", "")) for program in self.rows("program")],
        }

    def rows(self, key: str) -> list[dict[str, Any]]:
        rows = self.raw.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{self.name}: {key} is written [[{key}]]")
        return rows

    def count(self, value: str | int, where: str) -> int:
        """A number, or a multiple or part of the machine's vCPUs (at least 1)."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        match = _COUNT.match(str(value).strip())
        if not match:
            raise UserError(f"{where}: {value!r} is no count", "for example 4, vcpus, vcpus / 2")
        return max(1, len(self.machine.vcpus) * int(match[1] or 1) // int(match[2] or 1))

    def index(self, kind: str, name: str, where: str) -> int:
        known = self.names[kind]
        if name not in known:
            raise UserError(
                f"{where}: no {kind.removesuffix('s')} {name!r}",
                f"declared are {', '.join(known) or 'none'}",
            )
        return known.index(name)

    def step(self, text: str, where: str) -> Instruction:
        op, *rest = str(text).split()
        where = f"{where}, step {text!r}"
        if op not in OPS:
            raise UserError(f"{where}: no such step", f"there are {', '.join(OPS)}")
        if op in _NO_ARGUMENT:
            return self._plain(op, rest, where)
        if not rest:
            raise UserError(f"{where}: needs an argument")
        if op in ("compute", "sleep"):
            return self._lasting(op, rest, where)
        if op in ("period", "until"):
            return Instruction(op, parse_time(rest[0], where))
        if op == "loop":
            return Instruction(op, self.count(" ".join(rest), where) if not rest[0].isdigit()
                               else int(rest[0]))  # fmt: skip
        a = self.index(_NAMES[op], rest[0], where)
        sync = op == "send" and rest[-1] == "sync"
        extra = rest[1:-1] if sync else rest[1:]
        if op == "fork":
            text_count = " ".join(extra) or "1"
            count = int(text_count) if text_count.isdigit() else self.count(text_count, where)
            return Instruction(op, a, count)
        if len(extra) > (op in ("send", "receive")) or not all(part.isdigit() for part in extra):
            raise UserError(f"{where}: cannot make sense of {' '.join(extra)!r}")
        return Instruction(op, a, int(extra[0]) if extra else 0, int(sync))

    @staticmethod
    def _plain(op: str, rest: Sequence[str], where: str) -> Instruction:
        if rest:
            raise UserError(f"{where}: takes no argument")
        return Instruction(op)

    @staticmethod
    def _lasting(op: str, rest: Sequence[str], where: str) -> Instruction:
        if rest[0] == "exp" and len(rest) == 2:
            return Instruction(op, parse_time(rest[1], where), distribution="exponential")
        if len(rest) != 1:
            raise UserError(f"{where}: cannot make sense of {' '.join(rest)!r}")
        low, dots, high = rest[0].partition("..")
        if dots:
            first, last = parse_time(low, where), parse_time(high, where)
            return Instruction(op, first, last, distribution="uniform")
        return Instruction(op, parse_time(low, where))

    def tasks(self, row: dict[str, Any]) -> TaskSet:
        where = f"{self.name}: tasks of {row.get('program')}"
        known = {
            "program", "count", "nice", "policy", "kthread", "group", "vcpus", "start", "stagger",
            "footprint",
        }  # fmt: skip
        self.only(row, known, where)
        policy = str(row.get("policy", "normal"))
        if policy not in _POLICIES:
            raise UserError(f"{where}: no policy {policy!r}", f"there are {', '.join(_POLICIES)}")
        return TaskSet(
            program=str(row.get("program", "")),
            count=self.count(row.get("count", 1), where),
            nice=int(row.get("nice", 0)),
            policy=_POLICIES[policy],
            kthread=bool(row.get("kthread", False)),
            group=int(row.get("group", 0)),
            affinity=self.numbers(row["vcpus"], f"{where}.vcpus") if "vcpus" in row else None,
            start_ns=parse_time(row.get("start", "0ns"), where),
            stagger_ns=parse_time(row.get("stagger", "0ns"), where),
            footprint=round(float(row.get("footprint", 1.0)) * 1024),
        )

    def source(self, row: dict[str, Any]) -> Source:
        where = f"{self.name}: source"
        self.only(row, {"channel", "interval", "load", "service", "distribution", "irqs"}, where)
        if "load" in row:
            service = parse_time(row.get("service", ""), f"{where}.service")
            share = float(row["load"]) * sum(self.machine.shares())
            if share <= 0:
                raise UserError(f"{where}: a load of {row['load']}", "it must be above 0")
            interval = max(1, round(service / share))
        else:
            interval = parse_time(row.get("interval", ""), f"{where}.interval")
        return Source(
            channel=self.index("channels", str(row.get("channel", "")), where),
            interval_ns=interval,
            distribution=str(row.get("distribution", "exponential")),
            irqs=self.numbers(row.get("irqs", []), f"{where}.irqs"),
        )

    @staticmethod
    def numbers(value: Any, where: str) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(isinstance(item, int) for item in value):
            raise UserError(f"{where}: {value!r} is no list of vCPUs", "for example [0, 2]")
        return tuple(value)

    def program(self, row: dict[str, Any]) -> Program:
        where = f"{self.name}: program {row.get('name')}"
        self.only(row, {"name", "steps"}, where)
        steps = row.get("steps", [])
        if not isinstance(steps, list):
            raise UserError(f"{where}: steps is no list", 'for example ["compute 5ms", "forever"]')
        return Program(str(row.get("name", "")), tuple(self.step(step, where) for step in steps))

    @staticmethod
    def only(row: dict[str, Any], known: set[str], where: str) -> None:
        for key in row:
            if key not in known:
                names = ", ".join(sorted(known))
                raise UserError(f"{where}: unknown key {key!r}", f"known: {names}")


def parse_workload(text: str, name: str, machine: Machine) -> Workload:
    """The workload that the TOML `text` describes; `name` is for messages.

    Raises UserError, naming the place, for what is not valid.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{name}: not valid TOML: {error}") from None
    known = {
        "description", "metrics", "locks", "barriers", "channels", "program", "tasks", "source",
        "group", "max_tasks",
    }  # fmt: skip
    _Reader.only(raw, known, name)
    try:
        reader = _Reader(raw, name, machine)
        return Workload(
            name=name,
            programs=tuple(reader.program(row) for row in reader.rows("program")),
            tasks=tuple(reader.tasks(row) for row in reader.rows("tasks")),
            locks=len(reader.names["locks"]),
            barriers=tuple(
                reader.count(parties, f"{name}: barriers")
                for parties in raw.get("barriers", {}).values()
            ),
            channels=tuple(
                reader.count(size, f"{name}: channels") for size in raw.get("channels", {}).values()
            ),
            sources=tuple(reader.source(row) for row in reader.rows("source")),
            groups=(
                Group(),
                *(
                    Group(int(row.get("parent", 0)), int(row.get("weight", 100)), row.get("domain"))
                    for row in reader.rows("group")
                ),
            ),
            metrics=tuple(reader.names["metrics"]),
            max_tasks=int(raw.get("max_tasks", 4096)),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{name}: {error}", "compare with the built-in workloads") from None
