"""Jinja templates of the mechanisms, and the C headers that generated code includes."""
