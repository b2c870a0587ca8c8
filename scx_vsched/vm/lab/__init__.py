"""The lab: VMs whose vCPUs have a known shape, and what the host really gave each of them."""

from __future__ import annotations

__all__: list[str] = []
