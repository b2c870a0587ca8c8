"""What the hypervisor and firmware claim: the kernel's view of its CPUs in sysfs.

Source: Documentation/ABI/stable/sysfs-devices-system-cpu and sysfs-devices-node of the kernel. A
guest's cache and package numbers may be missing or wrong; what is missing is filled in by the next
larger domain, what is wrong is for the probers to find out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scx_vsched.errors import UserError
from scx_vsched.topology.model import OTHER_NODE, SAME_NODE, Llc, Topology, VCpuPlace

__all__ = ["claimed_topology", "parse_cpu_list"]

# Firmware that says nothing of a distance means these (ACPI specification, SLIT).
_LOCAL_DISTANCE = 10
_REMOTE_DISTANCE = 20


def parse_cpu_list(text: str) -> list[int]:
    """The numbers in a kernel list such as `0-3,8`; an empty list is empty."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


@dataclass(frozen=True, slots=True)
class _Claim:
    """Keys by which vCPUs are grouped; equal keys mean the same domain."""

    node: int
    llc: tuple[int, int, int]  # node, package, lowest vCPU of the cache
    core: tuple[int, int, int]  # node, package, core


@dataclass(frozen=True, slots=True)
class _Nodes:
    """NUMA nodes: which one a CPU is on, and their distances by pairs of node numbers."""

    of_cpu: dict[int, int]
    distances: dict[tuple[int, int], int]

    def distance(self, a: int, b: int) -> int:
        """The distance that firmware gives, or its default."""
        return self.distances.get((a, b), _LOCAL_DISTANCE if a == b else _REMOTE_DISTANCE)


def _read_nodes(base: Path) -> _Nodes:
    of_cpu: dict[int, int] = {}
    distances: dict[tuple[int, int], int] = {}
    online = parse_cpu_list(_read(base / "online") or "")
    for node in online:
        for number in parse_cpu_list(_read(base / f"node{node}/cpulist") or ""):
            of_cpu[number] = node
        row = (_read(base / f"node{node}/distance") or "").split()
        distances |= {(node, to): int(d) for to, d in zip(online, row, strict=False)}
    return _Nodes(of_cpu, distances)


def _llc_leader(cpu: Path, number: int) -> int | None:
    """The lowest vCPU that shares the last-level cache, None where no cache is described."""
    best_level, leader = 0, None
    for index in cpu.glob("cache/index*"):
        level = int(_read(index / "level") or 0)
        shared = _read(index / "shared_cpu_list")
        if level > best_level and shared and _read(index / "type") != "Instruction":
            best_level, leader = level, min(parse_cpu_list(shared) or [number])
    # a guest may be shown only its private caches, which are no domain to share tasks in
    return leader if best_level > 2 else None


def _claim(cpu: Path, number: int, node: int) -> _Claim | None:
    package = _read(cpu / "topology/physical_package_id")
    core = _read(cpu / "topology/core_id")
    if package is None or core is None:
        return None  # offline: sysfs describes a CPU only while it is online
    leader = _llc_leader(cpu, number)
    llc = (node, int(package), -1 if leader is None else leader)
    return _Claim(node, llc, (node, int(package), int(core)))


def _claims(cpus: Path, nodes: _Nodes) -> list[_Claim]:
    """A claim for each possible vCPU; Linux numbers them without gaps."""
    possible = parse_cpu_list(_read(cpus / "possible") or "")
    found = [_claim(cpus / f"cpu{n}", n, nodes.of_cpu.get(n, 0)) for n in possible]
    nearest = next((claim for claim in found if claim), None)
    if nearest is None:
        raise UserError(f"{cpus} describes no CPU", "is sysfs mounted?")
    claims = []
    for number, claim in zip(possible, found, strict=True):
        if claim:
            nearest = claim
        claims.append(claim or _Claim(nearest.node, nearest.llc, (nearest.node, -1, number)))
    return claims


def claimed_topology(sys: Path = Path("/sys")) -> Topology:
    """The topology of all possible vCPUs as sysfs below `sys` describes it.

    A vCPU that is offline has no description; it is taken for a core of its own beside the
    nearest described vCPU with a lower number. Raises UserError when sysfs describes no CPU.
    """
    nodes = _read_nodes(sys / "devices/system/node")
    claims = _claims(sys / "devices/system/cpu", nodes)
    node_index = {node: i for i, node in enumerate(sorted({claim.node for claim in claims}))}
    llc_keys = list(dict.fromkeys(claim.llc for claim in claims))
    core_keys = list(dict.fromkeys((claim.llc, claim.core) for claim in claims))
    llc_index = {key: i for i, key in enumerate(llc_keys)}
    core_index = {key: i for i, key in enumerate(core_keys)}

    def near(index: int) -> tuple[tuple[int, int], ...]:
        home = llc_keys[index][0]
        others = [i for i in range(len(llc_keys)) if i != index]
        # ties go to the next cache up, so that thieves do not all start with the first
        others.sort(
            key=lambda i: (
                llc_keys[i][0] != home,
                nodes.distance(home, llc_keys[i][0]),
                (i - index) % len(llc_keys),
            )
        )
        return tuple((i, SAME_NODE if llc_keys[i][0] == home else OTHER_NODE) for i in others)

    return Topology(
        vcpus=tuple(
            VCpuPlace(
                number,
                llc_index[claim.llc],
                node_index[claim.node],
                core_index[claim.llc, claim.core],
            )
            for number, claim in enumerate(claims)
        ),
        llcs=tuple(Llc(i, node_index[key[0]], near(i)) for i, key in enumerate(llc_keys)),
        nr_nodes=len(node_index),
        smt=max(Counter((claim.llc, claim.core) for claim in claims).values()) > 1,
    )
