"""The cluster simulator: traces in the schema of Google's ClusterData-2011-2, policies, metrics.

Facts, sources and what is inferred: giantvm.md. The decisions are those of `scx_vsched.numa`.
"""

from __future__ import annotations

__all__: list[str] = []
