"""`scx_vsched sim fidelity`: the simulator beside recorded measurements in VMs."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick

from __future__ import annotations

__all__ = ["fidelity_command"]


def fidelity_command() -> None:
    """Simulate what was measured in VMs, and print both as a table in Markdown."""
    from scx_vsched.sim.fidelity import compare_with_vms, markdown, measured

    rows = list(compare_with_vms(measured()))
    print("\n".join(markdown(rows)))
