"""Placement over nodes: decisions shared by the balancer of a guest and the cluster simulator."""

from __future__ import annotations

__all__: list[str] = []
