"""A synthetic machine: a known hierarchy, noise, preemption and changes, in simulated time."""

from scx_vsched.topology.synthetic.hierarchy import Hierarchy, Place
from scx_vsched.topology.synthetic.machine import Counters, SyntheticMachine
from scx_vsched.topology.synthetic.patterns import Always, Both, Never, Pattern, Periodic, Random
from scx_vsched.topology.synthetic.spec import (
    Change,
    Costs,
    Latencies,
    Noise,
    Steal,
    SyntheticSpec,
    VCpuSpec,
)

__all__ = [
    "Always",
    "Both",
    "Change",
    "Costs",
    "Counters",
    "Hierarchy",
    "Latencies",
    "Never",
    "Noise",
    "Pattern",
    "Periodic",
    "Place",
    "Random",
    "Steal",
    "SyntheticMachine",
    "SyntheticSpec",
    "VCpuSpec",
]
