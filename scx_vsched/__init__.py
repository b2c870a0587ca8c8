"""A CPU scheduler for virtual machines: sched_ext schedulers generated from Python policies.

Data flows one way: probers → topology graph → model → templates → object → kernel.
See README.md for the commands and docs/ for the reference.
"""

from scx_vsched import version

__all__ = ["__version__"]

__version__ = version.VERSION
