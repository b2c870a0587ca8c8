"""A scheduler at work: prerequisites, attaching, statistics, and the end."""
