"""Who runs, who wakes whom and what is an interrupt: BPF programs in pythonbpf's Python.

Nothing imports this file: `scx_vsched.sim.recorder` has pythonbpf compile its text. There are no
calls between functions, so each program says all of it; the recorder makes those for other kinds of
interrupts out of those named after `irq_handler`. `scx_input(offset, size)` is an argument of
the tracepoint, `scx_field(task, name)` a member of a task, which the recorder finds in the kernel's
BTF. Programs at tracepoints with BTF miss nothing; those at ordinary ones are left out while their
vCPU is in the midst of another's.
"""

# ruff: noqa: A004 - as pythonbpf has it
from ctypes import c_int64, c_uint32, c_uint64, c_void_p

from pythonbpf import bpf, bpfglobal, map, section, struct
from pythonbpf.helper import ktime, pid, smp_processor_id
from pythonbpf.maps import ArrayMap, RingBuffer

from scx_vsched.backend.helpers import scx_field, scx_input


@bpf
@struct
class event_t:
    at_ns: c_uint64
    number: c_uint64
    state: c_uint64
    comm0: c_uint64
    comm1: c_uint64
    next_comm0: c_uint64
    next_comm1: c_uint64
    kind: c_uint32
    cpu: c_uint32
    by: c_uint32
    in_irq: c_uint32
    preempted: c_uint32
    exit_state: c_uint32
    pid: c_uint32
    prio: c_uint32
    next_pid: c_uint32
    next_prio: c_uint32


@bpf
@map
def events() -> RingBuffer:
    return RingBuffer(max_entries=33554432)


# of each vCPU, those that found no room among them
@bpf
@map
def numbers() -> ArrayMap:
    return ArrayMap(key=c_uint32, value=c_uint64, max_entries=4096)


# of interrupts within each other, on each vCPU
@bpf
@map
def depths() -> ArrayMap:
    return ArrayMap(key=c_uint32, value=c_uint64, max_entries=4096)


@bpf
@section("tp_btf/sched_switch")
def on_switch(ctx: c_void_p) -> c_int64:
    cpu: c_uint32 = smp_processor_id()
    number: c_uint64 = 0
    before = numbers.lookup(cpu)
    if before:
        number = before + 1
    numbers.update(cpu, number)
    event = event_t()
    event.at_ns = ktime()
    event.number = number
    event.kind = 0
    event.cpu = cpu
    prev: c_uint64 = scx_input(8, 8)
    following: c_uint64 = scx_input(16, 8)
    event.preempted = scx_input(0, 8)
    event.state = scx_input(24, 8)
    event.exit_state = scx_field(prev, "exit_state")
    event.comm0 = scx_field(prev, "comm0")
    event.comm1 = scx_field(prev, "comm1")
    event.pid = scx_field(prev, "pid")
    event.prio = scx_field(prev, "prio")
    event.next_comm0 = scx_field(following, "comm0")
    event.next_comm1 = scx_field(following, "comm1")
    event.next_pid = scx_field(following, "pid")
    event.next_prio = scx_field(following, "prio")
    events.output(event)
    return 0


@bpf
@section("tp_btf/sched_waking")
def on_waking(ctx: c_void_p) -> c_int64:
    cpu: c_uint32 = smp_processor_id()
    number: c_uint64 = 0
    before = numbers.lookup(cpu)
    if before:
        number = before + 1
    numbers.update(cpu, number)
    depth: c_uint64 = 0
    deep = depths.lookup(cpu)
    if deep:
        depth = deep + 0
    event = event_t()
    event.at_ns = ktime()
    event.number = number
    event.kind = 1
    event.cpu = cpu
    event.by = pid()
    event.in_irq = depth
    task: c_uint64 = scx_input(0, 8)
    event.comm0 = scx_field(task, "comm0")
    event.comm1 = scx_field(task, "comm1")
    event.pid = scx_field(task, "pid")
    event.prio = scx_field(task, "prio")
    events.output(event)
    return 0


@bpf
@section("tp_btf/sched_wakeup_new")
def on_wakeup_new(ctx: c_void_p) -> c_int64:
    cpu: c_uint32 = smp_processor_id()
    number: c_uint64 = 0
    before = numbers.lookup(cpu)
    if before:
        number = before + 1
    numbers.update(cpu, number)
    depth: c_uint64 = 0
    deep = depths.lookup(cpu)
    if deep:
        depth = deep + 0
    event = event_t()
    event.at_ns = ktime()
    event.number = number
    event.kind = 2
    event.cpu = cpu
    event.by = pid()
    event.in_irq = depth
    task: c_uint64 = scx_input(0, 8)
    event.comm0 = scx_field(task, "comm0")
    event.comm1 = scx_field(task, "comm1")
    event.pid = scx_field(task, "pid")
    event.prio = scx_field(task, "prio")
    events.output(event)
    return 0


@bpf
@section("tp_btf/irq_handler_entry")
def on_irq_handler_entry(ctx: c_void_p) -> c_int64:
    cpu: c_uint32 = smp_processor_id()
    depth: c_uint64 = 0
    deep = depths.lookup(cpu)
    if deep:
        depth = deep + 1
    depths.update(cpu, depth)
    return 0


@bpf
@section("tp_btf/irq_handler_exit")
def on_irq_handler_exit(ctx: c_void_p) -> c_int64:
    cpu: c_uint32 = smp_processor_id()
    depth: c_uint64 = 0
    deep = depths.lookup(cpu)
    if deep:
        depth = deep + 0
    if depth > 0:
        depth = depth - 1
    depths.update(cpu, depth)
    return 0


@bpf
@bpfglobal
def LICENSE() -> str:  # noqa: N802 - as pythonbpf has it
    return "GPL"
