"""What the machine's vCPUs are and how they relate.

Sources of truth produce a `Topology`: typed, validated, immutable. So far there is one, the
kernel's own description, which in a guest is only what the hypervisor claims.
"""

from scx_vsched.topology.model import Llc, Topology, VCpuPlace
from scx_vsched.topology.sysfs import claimed_topology

__all__ = ["Llc", "Topology", "VCpuPlace", "claimed_topology"]
