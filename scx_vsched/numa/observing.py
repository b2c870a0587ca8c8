"""Looks at nodes, processes and what they share, and makes groups of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.numa.homes import KernelAffinity
from scx_vsched.numa.load import NodeLoad, node_loads, place_of
from scx_vsched.numa.memory import Memory, read_memory, referenced_part
from scx_vsched.numa.nodes import NumaNode, cpu_nodes, read_nodes
from scx_vsched.numa.planning import Group
from scx_vsched.numa.policies import Key, Kind
from scx_vsched.numa.processes import Process, Watcher
from scx_vsched.numa.rules import Verdict
from scx_vsched.numa.sharing import Sharing
from scx_vsched.topology.model import FULL_CAPACITY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scx_vsched.numa.files import Skips
    from scx_vsched.numa.homes import Affinity
    from scx_vsched.numa.settings import Places, Settings
    from scx_vsched.numa.shares import Key as SharedKey

    type Who = tuple[int, int]

__all__ = ["LEAST_LOAD", "Observer", "View"]

LEAST_LOAD = FULL_CAPACITY / 100
"""Who wants less than 1 % of a vCPU is idle."""

_MEMORY_EVERY_S = 10.0  # numa_maps walks a process's page tables


_GONE, _BOUND = _NOT_FIRM = ("gone", "bound to vCPUs")  # fixed by itself, not by a rule


@dataclass(frozen=True, slots=True)
class View:
    """What there is at `at_s` (seconds since boot); `processes` are those of all groups."""

    at_s: float
    nodes: tuple[NumaNode, ...]
    loads: tuple[NodeLoad, ...]
    groups: tuple[Group, ...]
    processes: Mapping[Who, Process]


@dataclass(slots=True)
class _Sized:
    """The memory of a process as it was read; `used_bytes` in use since the reading before."""

    at_s: float
    memory: Memory
    used_bytes: float = 0.0


class Observer:
    """Looks again and again; loads are of the time between two looks."""

    def __init__(
        self,
        settings: Settings,
        skips: Skips,
        places: Places,
        lost: Callable[[], Mapping[int, float]],
        affinity: Affinity | None = None,
    ) -> None:
        """`lost` says what each vCPU lacks of its capacity, 1024 for all of it."""
        self._settings = settings
        self._skips = skips
        self._places = places
        self._lost = lost
        self._affinity = affinity or KernelAffinity()
        self._watcher = Watcher(skips, places.proc)
        self._sharing = Sharing(skips, places.proc)
        self._sizes: dict[Who, _Sized] = {}
        policy = settings.policy
        self._everything = policy.kind is Kind.COARSE
        self._working_set = settings.working_set or policy.key is Key.ACCESSES
        self._cpus: set[int] = set()
        self._node_of: dict[int, int] = {}

    def look(
        self, now_s: float, homes: Mapping[Who, int], rested: Callable[[Sequence[Who]], bool]
    ) -> View:
        """What there is now. `homes` says which processes are bound to which nodes."""
        nodes = read_nodes(self._places.sys)
        usable = [node for node in nodes if node.cpus]
        self._node_of = cpu_nodes(usable)
        self._cpus = set(self._node_of)
        everybody = self._watcher.look(now_s)
        verdicts = {p.key: self._settings.rules.judge(p) for p in everybody}
        # the script of the thesis, `coarse`, looks at hosts only
        critical = {
            p.key
            for p in everybody
            if not self._everything and verdicts[p.key][0] is Verdict.FIXED and p.load >= LEAST_LOAD
        }
        loads = node_loads(usable, self._lost(), everybody, homes, critical)
        ours = {p.key: p for p in everybody if verdicts[p.key][0] is not Verdict.IGNORE}
        self._sizes = {who: sized for who, sized in self._sizes.items() if who in ours}
        groups = []
        for members in self._sharing.groups(list(ours.values()), now_s):
            found = [ours[who] for who in members]
            load = sum(process.load for process in found)
            if load < LEAST_LOAD and not self._everything and not any(m in homes for m in members):
                continue
            fixed = {
                who: why for who in members if (why := self._fixed(ours[who], verdicts[who], homes))
            }
            groups.append(self._group(found, homes, fixed, rested=rested(members), now_s=now_s))
        return View(now_s, nodes, tuple(loads), tuple(groups), ours)

    def moved(self, who: Who) -> None:
        """Its memory is elsewhere now."""
        self._sizes.pop(who, None)

    def _fixed(
        self, process: Process, verdict: tuple[Verdict, str], homes: Mapping[Who, int]
    ) -> str:
        """Why it may not move."""
        if verdict[0] is Verdict.FIXED:
            return verdict[1]
        if process.key in homes:
            return ""
        try:
            allowed = self._affinity.get(process.pid)
        except OSError as error:
            self._skips.note("affinities", error)
            return _GONE
        return "" if allowed >= self._cpus else _BOUND

    def _group(
        self,
        members: Sequence[Process],
        homes: Mapping[Who, int],
        fixed: Mapping[Who, str],
        *,
        rested: bool,
        now_s: float,
    ) -> Group:
        """One group; where it is, its fixed members say, else their homes, loads, memory."""
        load = sum(process.load for process in members)
        memory, used_bytes = self._memory(members, now_s)
        at = {p.key: homes.get(p.key, place_of(p, self._node_of)) for p in members}
        weights: Counter[int] = Counter()
        for process in members:
            node = at[process.key]
            if node is not None:
                # a fixed one outweighs all others, a home outweighs a run
                weight = process.load + 1 + (1 << 20) * (process.key in homes)
                weights[node] += int(weight) + (1 << 40) * (process.key in fixed)
        if not weights:
            weights.update(memory)
        node = max(sorted(weights), key=lambda n: weights[n]) if weights else self._any_node()
        spread = {homes[p.key] for p in members if p.key in homes}
        for process in members:
            if process.key not in homes:
                busy = (cpu for cpu, part in process.by_cpu.items() if part >= LEAST_LOAD)
                spread |= {self._node_of[cpu] for cpu in busy if cpu in self._node_of}
        return Group(
            members=tuple(process.key for process in members),
            name=max(members, key=lambda process: process.load).comm,
            node=node,
            load=load,
            memory=memory,
            threads=sum(process.threads for process in members),
            accesses=used_bytes / load if load else 0.0,
            fixed="; ".join(sorted(set(fixed.values()))),
            still=tuple(fixed),
            firm=tuple(who for who, why in fixed.items() if why not in _NOT_FIRM),
            apart=len(spread) > 1,
            kept=all(homes.get(process.key) == node for process in members if process.load),
            bound=any(process.key in homes for process in members),
            rested=rested,
        )

    def _any_node(self) -> int:
        return min(self._node_of.values(), default=0)

    def _memory(self, members: Sequence[Process], now_s: float) -> tuple[dict[int, int], float]:
        """Bytes by node, what is shared counted once; and bytes used by second."""
        total: Counter[int] = Counter()
        shared: dict[SharedKey, Counter[int]] = {}
        used = 0.0
        for process in members:
            sized = self._sized(process, now_s)
            used += sized.used_bytes
            total.update(sized.memory.own)
            for key, sizes in sized.memory.shared.items():
                seen = shared.setdefault(key, Counter())
                for node, size in sizes.items():
                    seen[node] = max(seen[node], size)
        for sizes in shared.values():
            total.update(sizes)
        return dict(total), used

    def _sized(self, process: Process, now_s: float) -> _Sized:
        before = self._sizes.get(process.key)
        every = 0.0 if self._working_set and process.active else _MEMORY_EVERY_S
        if before is not None and now_s - before.at_s < every * 0.9:
            return before
        mapped = self._sharing.shares(process).mapped
        home = place_of(process, self._node_of)
        memory = read_memory(
            process.pid, mapped, self._any_node() if home is None else home, self._skips,
            self._places.proc,
        )  # fmt: skip
        sized = _Sized(now_s, memory)
        if self._working_set:
            part = referenced_part(process.pid, self._places.proc)
            if part is not None and before is not None:
                own = {node: int(size * part) for node, size in memory.own.items()}
                sized.memory = Memory(own, memory.shared)
                sized.used_bytes = sum(own.values()) / max(now_s - before.at_s, 0.1)
        self._sizes[process.key] = sized
        return sized
