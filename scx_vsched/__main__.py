"""`python -m scx_vsched` is the same as the `scx_vsched` command."""

from scx_vsched.cli import main

main()
