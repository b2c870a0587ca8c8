"""What the hypervisor and firmware claim: the kernel's view of its CPUs in sysfs.

Source: Documentation/ABI/stable/sysfs-devices-system-cpu and sysfs-devices-node of the kernel. A
guest's cache and package numbers may be missing or wrong; what is missing is filled in by the next
larger domain, what is wrong is for the probers to find out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.topology.convert import build_topology
from scx_vsched.topology.domains import Domains, numbered
from scx_vsched.topology.nodes import KernelNodes, told_distance

if TYPE_CHECKING:
    from scx_vsched.topology.model import Topology

__all__ = ["Claims", "claimed_topology", "parse_cpu_list", "read_claims", "read_kernel_nodes"]


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
class Claims:
    """What sysfs says: each possible vCPU's domains, and how far NUMA nodes are from each other.

    Every vCPU is a stack of its own, since no hypervisor tells of stacking. `node_distances` are
    firmware's, by pairs of indices of nodes as in `domains`.
    """

    domains: dict[int, Domains]
    node_distances: dict[tuple[int, int], int]


@dataclass(frozen=True, slots=True)
class _Claim:
    """Keys by which vCPUs are grouped: equal keys in the same larger domain mean the same."""

    node: int
    socket: int  # the package
    llc: int  # lowest vCPU of the cache
    core: int


@dataclass(frozen=True, slots=True)
class _Nodes:
    """NUMA nodes: which one a CPU is on, and their distances by pairs of node numbers."""

    of_cpu: dict[int, int]
    distances: dict[tuple[int, int], int]

    def distance(self, a: int, b: int) -> int:
        """The distance that firmware gives, or its default."""
        return told_distance(self.distances, a, b)


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
    return _Claim(node, int(package), -1 if leader is None else leader, int(core))


def _all_claims(cpus: Path, nodes: _Nodes) -> dict[int, _Claim]:
    possible = parse_cpu_list(_read(cpus / "possible") or "")
    found = [_claim(cpus / f"cpu{n}", n, nodes.of_cpu.get(n, 0)) for n in possible]
    nearest = next((claim for claim in found if claim), None)
    if nearest is None:
        raise UserError(f"{cpus} describes no CPU", "is sysfs mounted?")
    claims = {}
    for vcpu, claim in zip(possible, found, strict=True):
        if claim:
            nearest = claim
        # no core has a negative number
        claims[vcpu] = claim or replace(nearest, core=-1 - vcpu)
    return claims


def read_claims(sys: Path = Path("/sys")) -> Claims:
    """What sysfs below `sys` says of all possible vCPUs.

    A vCPU that is offline has no description; it is taken for a core of its own beside the
    nearest described vCPU with a lower number. A package of several NUMA nodes counts as one socket
    in each of them. Raises UserError when sysfs describes no CPU.
    """
    nodes = _read_nodes(sys / "devices/system/node")
    claims = _all_claims(sys / "devices/system/cpu", nodes)
    domains = numbered(
        {vcpu: (vcpu, c.core, c.llc, c.socket, c.node) for vcpu, c in claims.items()}
    )
    index = {claim.node: domains[vcpu].node for vcpu, claim in claims.items()}
    distances = {(index[a], index[b]): nodes.distance(a, b) for a in index for b in index}
    return Claims(domains, distances)


def claimed_topology(sys: Path = Path("/sys")) -> Topology:
    """The topology of all possible vCPUs as `read_claims` has it."""
    claims = read_claims(sys)
    node_of = {own.llc: own.node for own in claims.domains.values()}
    return build_topology(
        claims.domains,
        llc_distance=lambda a, b: claims.node_distances[node_of[a], node_of[b]],
    )


def read_kernel_nodes(sys: Path = Path("/sys")) -> KernelNodes:
    """The kernel's nodes of all possible vCPUs, from sysfs below `sys`.

    A vCPU that is offline has at most a link to its node; without one it counts as being on that of
    the nearest vCPU with a lower number. A kernel without NUMA has all on node 0. Raises UserError
    for more nodes than schedulers know.
    """
    nodes = _read_nodes(sys / "devices/system/node")
    cpus = sys / "devices/system/cpu"
    found: list[int] = []
    for vcpu in parse_cpu_list(_read(cpus / "possible") or ""):
        linked = [int(link.name[4:]) for link in (cpus / f"cpu{vcpu}").glob("node[0-9]*")]
        guess = linked[0] if linked else found[-1] if found else 0
        found.append(nodes.of_cpu.get(vcpu, guess))
    return KernelNodes(tuple(found), nodes.distances)
