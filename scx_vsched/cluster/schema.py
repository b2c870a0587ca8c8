"""The files of ClusterData-2011-2: tables, columns, event types, sentinels, units.

Source: "Google cluster-usage traces: format + schema" as giantvm.md has it. CSV without a header,
gzip, in parts; times in microseconds; resources normalised to the largest machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "BEFORE_TRACE_US",
    "MACHINE_EVENTS",
    "PERIOD_US",
    "TASK_EVENTS",
    "TASK_USAGE",
    "TRACE_START_US",
    "UNIT",
    "US",
    "Event",
    "MachineEvent",
    "Table",
]

US = 1_000_000  # microseconds of a second
TRACE_START_US = 600 * US
BEFORE_TRACE_US = 0
PERIOD_US = 300 * US  # of one sample of usage
# CPU and memory are integers here, so that sums are exact and no decision depends on the order in
# which loads were added: ten-millionths of the largest machine, finer than the trace's own digits.
UNIT = 10_000_000


class Event(IntEnum):
    """What happened to a task."""

    SUBMIT = 0
    SCHEDULE = 1
    EVICT = 2
    FAIL = 3
    FINISH = 4
    KILL = 5
    LOST = 6
    UPDATE_PENDING = 7
    UPDATE_RUNNING = 8


class MachineEvent(IntEnum):
    """What happened to a machine."""

    ADD = 0
    REMOVE = 1
    UPDATE = 2


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its folder, all columns in order, and those that a row cannot do without.

    `kinds` gives a column's type by letter: t a time in µs (unsigned, for the sentinels 2^63-1
    and 2^64-1), i an integer, f a number, s text.
    """

    name: str
    columns: tuple[str, ...]
    kinds: str
    mandatory: tuple[str, ...]


TASK_EVENTS = Table(
    "task_events",
    (
        *("time", "missing_info", "job", "index", "machine", "event", "user", "class"),
        *("priority", "cpu_request", "memory_request", "disk_request", "different_machines"),
    ),
    "tiiiiisiifffi",
    ("time", "job", "index", "event", "priority"),
)
TASK_USAGE = Table(
    "task_usage",
    (
        *("start", "end", "job", "index", "machine", "cpu", "canonical_memory"),
        *("assigned_memory", "unmapped_page_cache", "page_cache", "max_memory", "disk_time"),
        *("disk_space", "max_cpu", "max_disk_time", "cycles_per_instruction"),
        *("accesses_per_instruction", "sample_portion", "aggregation", "sampled_cpu"),
    ),
    "ttiiifffffffffffffif",
    ("start", "end", "job", "index", "machine"),
)
MACHINE_EVENTS = Table(
    "machine_events",
    ("time", "machine", "event", "platform", "cpu", "memory"),
    "tiisff",
    ("time", "machine", "event"),
)
