"""From a policy to a scheduler in the kernel: render, compile, inspect, load."""
