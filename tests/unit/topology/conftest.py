"""Properties of graphs: many small examples, however slow the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("topology", deadline=None, max_examples=50)
settings.load_profile("topology")
