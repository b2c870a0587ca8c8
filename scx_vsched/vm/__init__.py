"""Virtual machines to verify, run and measure schedulers in.

`kernels` finds and fetches kernels, `boot` runs a job in a VM on one of them, `agent` is what runs
inside; `verify`, `run` and `bench` are the jobs.
"""
