"""A simulated machine: vCPUs as the guest is told of them, and the host that they really have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from scx_vsched.errors import UserError
from scx_vsched.topology.model import OTHER_NODE, SAME_NODE, Llc, Topology, VCpuPlace

__all__ = ["Costs", "HostThread", "Machine", "PCpu", "VCpu", "simple_machine"]

FULL_SPEED = 1024


@dataclass(frozen=True, slots=True)
class PCpu:
    """A hardware thread of the host; equal numbers of `core`, `llc`, `node` mean the same one."""

    core: int
    llc: int = 0
    node: int = 0
    speed: int = FULL_SPEED  # 1/1024


@dataclass(frozen=True, slots=True)
class HostThread:
    """A thread of the host: of a vCPU, or a competitor that always wants to run.

    Without a period there is no quota. `gates_ns` are the lengths of alternately open and shut
    times, repeated; while shut the thread stays away whatever it wants. `phase_ns` is how far into
    the period or the pattern the run begins; None draws it from the seed, the same for all threads
    of one hardware thread.
    """

    pcpu: int
    weight: int = 1024
    quota_ns: int = 0
    period_ns: int = 0
    phase_ns: int | None = None
    gates_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class VCpu:
    """What the guest is told of a vCPU; numbers as in `PCpu`."""

    core: int
    llc: int = 0
    node: int = 0
    capacity: int = FULL_SPEED  # as told to the scheduler, 1/1024
    latency_ns: int = 0  # the mean time for which it is taken away, as told


@dataclass(frozen=True, slots=True)
class Costs:
    """What things cost; see docs/simulator.md for where the defaults come from.

    `migrate_ns` and `line_ns` by distance: same hardware thread, core, cache, node, other node.
    """

    switch_ns: int = 1_500
    syscall_ns: int = 300
    wake_ns: int = 1_200
    ipi_ns: int = 1_500
    halt_wake_ns: int = 5_000
    migrate_ns: tuple[int, ...] = (0, 500, 3_000, 15_000, 40_000)
    line_ns: tuple[int, ...] = (0, 20, 60, 150, 300)


@dataclass(frozen=True, slots=True)
class Change:
    """A step of the machine during the run; `op` is one of workload.SCRIPT_OPS."""

    at_ns: int
    op: str
    a: int = 0
    b: int = 0
    c: int = 0


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest and its host. `threads` holds the vCPUs' host threads by number, then competitors."""

    vcpus: tuple[VCpu, ...]
    pcpus: tuple[PCpu, ...]
    threads: tuple[HostThread, ...]
    name: str = ""
    tick_ns: int = 4_000_000
    steal_visible: bool = False
    smt_factor: int = 640  # speed of each thread of a core while more than one is busy, 1/1024
    host_slice_ns: int = 3_000_000
    host_wakeup_ns: int = 1_000_000
    costs: Costs = field(default_factory=Costs)
    changes: tuple[Change, ...] = ()
    # what the scheduler is told of the vCPUs later: a change `feed` names one of these by number
    retold: tuple[tuple[VCpu, ...], ...] = ()
    # of the nodes, in order of their numbers and as firmware has it; without any each is 20
    node_distances: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises UserError for a machine that cannot be."""
        vcpus, pcpus = len(self.vcpus), len(self.pcpus)
        if not 1 <= vcpus <= 4096:
            raise UserError(f"a machine of {vcpus} vCPUs", "1 to 4096 can be simulated")
        if len(self.threads) < vcpus:
            raise UserError(f"{vcpus} vCPUs have only {len(self.threads)} host threads")
        if any(len(told) != vcpus for told in self.retold):
            raise UserError("what is told later is not about as many vCPUs")
        nodes = len({vcpu.node for vcpu in self.vcpus})
        if self.node_distances and len(self.node_distances) != nodes * nodes:
            raise UserError(
                f"{len(self.node_distances)} distances of {nodes} nodes",
                f"give one from each node to each, {nodes * nodes} in all",
            )
        for number, thread in enumerate(self.threads):
            who = f"vCPU {number}" if number < vcpus else f"competitor {number - vcpus}"
            self._check_thread(who, thread, pcpus)
        for number, pcpu in enumerate(self.pcpus):
            if not 1 <= pcpu.speed <= 16 * FULL_SPEED:
                raise UserError(f"hardware thread {number} has the speed {pcpu.speed}, not 1/1024")
        for what, value in (
            ("tick", self.tick_ns),
            ("host slice", self.host_slice_ns),
            ("context switch", self.costs.switch_ns),
            ("system call", self.costs.syscall_ns),
        ):
            if not 1 <= value <= 10**12:
                raise UserError(f"a {what} of {value} ns is impossible", "use 1 ns to 1000 s")
        if not 1 <= self.smt_factor <= FULL_SPEED:
            raise UserError(f"an SMT factor of {self.smt_factor}/1024", "1 to 1024")

    @staticmethod
    def _check_thread(who: str, thread: HostThread, pcpus: int) -> None:
        if not 0 <= thread.pcpu < pcpus:
            raise UserError(f"{who} is on the hardware thread {thread.pcpu} of {pcpus}")
        if not 1 <= thread.weight <= 1_000_000:
            raise UserError(f"{who} has the weight {thread.weight}", "1 to 1000000")
        if thread.quota_ns < 0 or thread.period_ns < 0 or min(thread.gates_ns, default=0) < 0:
            raise UserError(f"{who} has a negative time")
        if thread.period_ns and not 1_000 <= thread.quota_ns <= thread.period_ns:
            raise UserError(
                f"{who} has {thread.quota_ns} of every {thread.period_ns} ns",
                "a quota is at least 1000 ns and at most its period",
            )
        if thread.gates_ns and (
            len(thread.gates_ns) % 2 or sum(thread.gates_ns[0::2]) < 1_000 or not thread.gates_ns[0]
        ):
            raise UserError(
                f"{who} has a pattern that never opens, or that lacks a time",
                "give pairs of open and shut times",
            )

    @property
    def distances(self) -> dict[tuple[int, int], int]:
        """The distances that are known, by pairs of indices of nodes."""
        nodes = len({vcpu.node for vcpu in self.vcpus})
        return {divmod(at, nodes): found for at, found in enumerate(self.node_distances)}

    def shares(self) -> list[float]:
        """The part of a full hardware thread that each vCPU has while all of them are busy."""
        asked = [_share(thread) for thread in self.threads]
        on: dict[int, float] = {}
        for thread, share in zip(self.threads, asked, strict=True):
            on[thread.pcpu] = on.get(thread.pcpu, 0.0) + share
        cores: dict[int, set[int]] = {}
        for thread in self.threads[: len(self.vcpus)]:
            cores.setdefault(self.pcpus[thread.pcpu].core, set()).add(thread.pcpu)
        found = []
        for thread, share in zip(self.threads[: len(self.vcpus)], asked, strict=False):
            pcpu = self.pcpus[thread.pcpu]
            speed = pcpu.speed / FULL_SPEED
            if len(cores[pcpu.core]) > 1:
                speed *= self.smt_factor / FULL_SPEED
            found.append(speed * share / max(1.0, on[thread.pcpu]))
        return found

    def topology(self, later: int | None = None) -> Topology:
        """What the guest is told, as the scheduler gets it: at first, or `later` by its number."""
        vcpus = self.vcpus if later is None else self.retold[later]
        llc_keys = list(dict.fromkeys((vcpu.node, vcpu.llc) for vcpu in vcpus))
        nodes = sorted({vcpu.node for vcpu in vcpus})
        cores = list(dict.fromkeys(vcpu.core for vcpu in vcpus))
        count = len(llc_keys)

        def near(index: int) -> tuple[tuple[int, int], ...]:
            home = llc_keys[index][0]
            others = [i for i in range(count) if i != index]
            others.sort(key=lambda i: (llc_keys[i][0] != home, (i - index) % count))
            return tuple((i, SAME_NODE if llc_keys[i][0] == home else OTHER_NODE) for i in others)

        llc_index = {key: i for i, key in enumerate(llc_keys)}
        core_index = {core: i for i, core in enumerate(cores)}
        return Topology(
            vcpus=tuple(
                VCpuPlace(
                    number,
                    llc_index[vcpu.node, vcpu.llc],
                    nodes.index(vcpu.node),
                    core_index[vcpu.core],
                    min(vcpu.capacity, FULL_SPEED),
                    latency_ns=vcpu.latency_ns,
                )
                for number, vcpu in enumerate(vcpus)
            ),
            llcs=tuple(Llc(i, nodes.index(key[0]), near(i)) for i, key in enumerate(llc_keys)),
            nr_nodes=len(nodes),
            smt=max(Counter(vcpu.core for vcpu in vcpus).values()) > 1,
        )


def _share(thread: HostThread) -> float:
    share = thread.quota_ns / thread.period_ns if thread.period_ns else 1.0
    if thread.gates_ns:
        share *= sum(thread.gates_ns[0::2]) / sum(thread.gates_ns)
    return share


def simple_machine(vcpus: int, *, threads: int = 1, per_llc: int = 0, nodes: int = 1) -> Machine:
    """`vcpus` dedicated vCPUs, as told: `threads` a core, `per_llc` a cache (0: all)."""
    per_node = -(-vcpus // nodes)
    per_llc = per_llc or per_node
    places = [(n // threads, n // per_llc, n // per_node) for n in range(vcpus)]
    return Machine(
        name=f"{vcpus} dedicated vCPUs",
        vcpus=tuple(VCpu(*place) for place in places),
        pcpus=tuple(PCpu(*place) for place in places),
        threads=tuple(HostThread(n) for n in range(vcpus)),
    )
