"""The flat tables that the engine and Python share: engine/config.h, member by member."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char, c_int64, c_uint32, c_uint64

__all__ = [
    "FEED",
    "HOME",
    "HOOK",
    "NEVER",
    "Entity",
    "Group",
    "Instruction",
    "Load",
    "Machine",
    "Metric",
    "Options",
    "PCpu",
    "Program",
    "Record",
    "Result",
    "Script",
    "Source",
    "Task",
    "TaskStats",
    "VCpuStats",
]

NEVER = 2**64 - 1
LEVELS = 5


def _u64(names: str) -> list[tuple[str, type]]:
    return [(name, c_uint64) for name in names.split()]


class PCpu(Structure):
    """struct sim_pcpu"""

    _fields_ = _u64("core llc node speed")


class Entity(Structure):
    """struct sim_entity"""

    _fields_ = _u64("pcpu weight quota_ns period_ns phase_ns nr_gates gates")


class Machine(Structure):
    """struct sim_machine"""

    _fields_ = [
        *_u64("vcpus pcpus entities tick_ns steal_visible smt_factor host_slice_ns host_wakeup_ns"),
        *_u64("ipi_ns halt_wake_ns switch_ns syscall_ns wake_ns"),
        ("migrate_ns", c_uint64 * LEVELS),
        ("line_ns", c_uint64 * LEVELS),
        ("pcpu", POINTER(PCpu)),
        ("entity", POINTER(Entity)),
        ("vcpu_core", POINTER(c_uint64)),
        ("vcpu_llc", POINTER(c_uint64)),
        ("vcpu_node", POINTER(c_uint64)),
        ("numbers", POINTER(c_uint64)),
    ]


class Instruction(Structure):
    """struct sim_instruction"""

    _fields_ = _u64("op a b c distribution")


class Program(Structure):
    """struct sim_program"""

    _fields_ = _u64("start")


class Task(Structure):
    """struct sim_task"""

    _fields_ = [
        *_u64("program count"),
        ("nice", c_int64),
        *_u64("policy kthread group affinity start_ns stagger_ns footprint migration_disabled"),
    ]


class Source(Structure):
    """struct sim_source"""

    _fields_ = _u64("channel interval_ns distribution start_ns end_ns nr_irqs irqs")


class Group(Structure):
    """struct sim_group"""

    _fields_ = _u64("parent weight")


class Script(Structure):
    """struct sim_script"""

    _fields_ = _u64("at_ns op a b c")


class Load(Structure):
    """struct sim_load"""

    _fields_ = [
        *_u64("instructions programs tasks locks barriers channels sources groups metrics"),
        *_u64("script max_tasks"),
        ("instruction", POINTER(Instruction)),
        ("program", POINTER(Program)),
        ("task", POINTER(Task)),
        ("barrier", POINTER(c_uint64)),
        ("channel", POINTER(c_uint64)),
        ("source", POINTER(Source)),
        ("group", POINTER(Group)),
        ("step", POINTER(Script)),
        ("numbers", POINTER(c_uint64)),
    ]


MAX_GAPS = 256


class Watch(Structure):
    """struct sim_watch"""

    _fields_ = [
        *_u64("vcpu start_ns end_ns pcpu speed nr_gaps"),
        ("gaps", c_uint64 * (2 * MAX_GAPS)),
        *_u64("open_ns"),
    ]


FEED = ctypes.CFUNCTYPE(c_int64, c_uint64)
HOME = ctypes.CFUNCTYPE(c_int64, c_uint64, c_uint64, c_uint64, c_uint64)
HOOK = ctypes.CFUNCTYPE(c_uint64, c_uint64, POINTER(c_uint64), POINTER(c_uint64))
PROBED = ctypes.CFUNCTYPE(c_int64, POINTER(Watch))


class Options(Structure):
    """struct sim_options"""

    _fields_ = [
        *_u64(
            "seed end_ns warmup_ns max_events max_wall_ms ext ops_flags timeout_ms stranded_ns "
            "check_every trace_limit drain"
        ),
        ("feed", FEED),
        ("home", HOME),
        ("hook", HOOK),
        *_u64("probe"),
        ("probed", PROBED),
    ]


class Record(Structure):
    """struct sim_record"""

    _fields_ = [
        ("at", c_uint64),
        ("kind", c_uint32),
        ("vcpu", c_uint32),
        ("task", c_uint32),
        ("detail", c_uint32),
    ]


class VCpuStats(Structure):
    """struct sim_vcpu_stats"""

    _fields_ = _u64("hosted_ns stolen_ns busy_ns switches ticks")


class TaskStats(Structure):
    """struct sim_task_stats"""

    _fields_ = _u64("pid program run_ns waited_ns wakeups switches migrations")


class Metric(Structure):
    """struct sim_metric"""

    _fields_ = [*_u64("count samples"), ("values", POINTER(c_uint64))]


class Result(Structure):
    """struct sim_result"""

    _fields_ = [
        *_u64("now events records digest failed"),
        *_u64("wakeups migrations switches kicks remote_kicks far_migrations longest_wait_ns"),
        *_u64("trace_records trace_start"),
        ("trace", POINTER(Record)),
        *_u64("vcpus tasks metrics"),
        ("vcpu", POINTER(VCpuStats)),
        ("task", POINTER(TaskStats)),
        ("metric", POINTER(Metric)),
        ("name", c_char * 64),
        ("message", c_char * 1024),
    ]


# In the order of sim_sizes() in engine/main.c.
SHARED: tuple[type[ctypes.Structure], ...] = (
    Machine,
    Load,
    Options,
    Result,
    Record,
    Watch,
)
