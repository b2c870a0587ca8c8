"""Xen's schedulers, for the mechanism `host`."""
