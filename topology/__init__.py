"""What the machine's vCPUs are and how they relate: claimed, measured, drawn, handed on.

`sysfs` reads what the guest was told. `prober` measures: capacity (`vcap`), activity (`vact`) and
latency between vCPUs (`vtop`, `verify`) on a `Machine` (`records`), the real one (`native`) or a
synthetic one. Both make a graph (`graph`), which is written and read (`document`), shown (`table`,
`plot`), compared (`diff`) and turned into the scheduler's `Topology` (`convert`, `model`): typed,
validated, immutable.
"""

from scx_vsched.topology.model import Llc, Topology, VCpuPlace
from scx_vsched.topology.sysfs import claimed_topology

__all__ = ["Llc", "Topology", "VCpuPlace", "claimed_topology"]
