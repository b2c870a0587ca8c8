"""Profiles become simulated machines: the lab's files (docs/lab.md), records, or sizes in a word.

`8` is eight dedicated vCPUs, `8x2` the same as four cores of two threads, `64/16` sixty-four with a
cache for each sixteen.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.sim.machine import FULL_SPEED, Change, HostThread, Machine, PCpu, VCpu
from scx_vsched.sim.machine import simple_machine as _simple
from scx_vsched.sim.recorded import recorded_machine

if TYPE_CHECKING:
    from scx_vsched.vm.lab.profile import Profile, VcpuShape

__all__ = ["machine_named", "machine_of"]

_SIZE = re.compile(r"(\d+)(?:x(\d+))?(?:/(\d+))?$")
_NS_PER_US = 1_000


def machine_named(name: str, *, contended: bool = False, honest: bool = False) -> Machine:
    """The machine of the profile called `name` (or in that file), or of that size.

    A file whose name ends with .json is a record of availability: scx_vsched.sim.recorded.

    With `contended` each vCPU that has a quota shares its hardware thread with a rival that has
    the rest of the period, as in vSched §5.1: then it is away when the rival runs, and not only
    when it has used up its share. With `honest` the scheduler is told each vCPU's true capacity.
    Raises UserError where there is no such profile.
    """
    size = _SIZE.match(name)
    if size:
        vcpus, threads, per_llc = (int(part or 0) for part in size.groups())
        return _simple(vcpus, threads=threads or 1, per_llc=per_llc)
    if name.endswith(".json"):
        return recorded_machine(read_text(name), name)
    from scx_vsched.vm.lab.profile import load_profile  # noqa: PLC0415

    machine = machine_of(load_profile(name), contended=contended)
    return replace(machine, vcpus=_true_capacities(machine)) if honest else machine


def read_text(name: str) -> str:
    """The text of a file; UserError where there is none."""
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {name}: {error}") from None


def machine_of(profile: Profile, *, contended: bool = False) -> Machine:
    """The machine that `profile` describes, whose host has a hardware thread for each vCPU.

    What the guest is told is true except for stacks and for vCPUs of the same single host CPU,
    which share the hardware thread of their first member. A quota is bandwidth control; the other
    mechanisms keep the vCPU away by the
    clock.
    """
    places = _places(profile)
    threads = [
        _thread(shape, pcpu)
        for shape, pcpu in zip(profile.shapes, _pcpus(profile.shapes), strict=True)
    ]
    if contended:
        shared = Counter(thread.pcpu for thread in threads)
        threads += [
            HostThread(t.pcpu, quota_ns=t.period_ns - t.quota_ns, period_ns=t.period_ns)
            for t in threads
            if t.period_ns > t.quota_ns and shared[t.pcpu] == 1
        ]
    return Machine(
        name=profile.name,
        vcpus=tuple(VCpu(*place) for place in places),
        pcpus=tuple(PCpu(*place) for place in places),
        threads=tuple(threads),
        changes=_changes(profile),
    )


def _places(profile: Profile) -> list[tuple[int, int, int]]:
    """Core, cache and node of each vCPU, as QEMU's -smp numbers them."""
    options = dict(part.split("=") for part in profile.smp.split(",")[1:])
    count = len(profile.shapes)
    sockets = int(options.get("sockets", 1))
    threads = int(options.get("threads", 1))
    per_socket = -(-count // sockets)
    if profile.numa and len(profile.numa) != sockets:
        raise UserError(f"the profile {profile.name} has nodes that are not its sockets")
    node_of = (lambda socket: socket) if profile.numa else (lambda _: 0)
    return [(n // threads, n // per_socket, node_of(n // per_socket)) for n in range(count)]


def _pcpus(shapes: tuple[VcpuShape, ...]) -> list[int]:
    first: dict[str, int] = {}
    keys = [
        f"cpu {shape.cpus[0]}" if len(shape.cpus) == 1 else shape.stack or f"own {vcpu}"
        for vcpu, shape in enumerate(shapes)
    ]
    return [first.setdefault(key, vcpu) for vcpu, key in enumerate(keys)]


def _thread(shape: VcpuShape, pcpu: int) -> HostThread:
    from scx_vsched.vm.lab.profile import Mechanism  # noqa: PLC0415

    if shape.quota_us is None:
        return HostThread(pcpu)
    quota, period = shape.quota_us * _NS_PER_US, shape.period_us * _NS_PER_US
    if shape.by is Mechanism.QUOTA:
        return HostThread(pcpu, quota_ns=quota, period_ns=period)
    if quota == period:
        return HostThread(pcpu)
    # where the profile does not say it they know nothing of each other, like rivals on a host
    phase = None if shape.phase_us is None else (period - shape.phase_us * _NS_PER_US) % period
    return HostThread(pcpu, gates_ns=(quota, period - quota), phase_ns=phase)


def _changes(profile: Profile) -> tuple[Change, ...]:
    changes = []
    stages = profile.stages()
    for (_, before), (at_s, after) in itertools.pairwise(stages):
        at_ns = round(at_s * 1e9)
        old, new = _pcpus(before), _pcpus(after)
        for vcpu, shape in enumerate(after):
            if shape != before[vcpu]:
                thread = _thread(shape, vcpu)
                if thread.gates_ns:
                    raise UserError(
                        f"{profile.name}: a change by {shape.by} cannot be simulated",
                        "use by = quota in [[change]]",
                    )
                changes.append(Change(at_ns, "quota", vcpu, thread.quota_ns, thread.period_ns))
            if old[vcpu] != new[vcpu]:
                changes.append(Change(at_ns, "pin", vcpu, new[vcpu]))
    return tuple(changes)


def _true_capacities(machine: Machine) -> tuple[VCpu, ...]:
    return tuple(
        replace(vcpu, capacity=max(1, round(share * FULL_SPEED)))
        for vcpu, share in zip(machine.vcpus, machine.shares(), strict=True)
    )
