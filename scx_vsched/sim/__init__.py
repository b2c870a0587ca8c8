"""A deterministic simulator: the scheduler's own C code on simulated machines."""
