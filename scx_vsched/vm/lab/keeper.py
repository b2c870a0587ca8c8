"""A small process that restores the host when the process that shapes a VM is done or gone.

It waits for the end of its standard input, which comes by itself when the other process is killed,
and then removes the other's control groups: frozen threads are thawed and threads under a quota
are set free. It runs in a session of its own so that Ctrl-C does not reach it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

from scx_vsched.errors import UserError
from scx_vsched.vm.lab.groups import find_hierarchies, owner_name, remove

__all__ = ["Keeper", "main"]

_END_S = 15.0


class Keeper:
    """The keeper of this process's control groups; `close` has it restore the host now."""

    def __init__(self) -> None:
        """Start it; to be done before the first group is made."""
        name = owner_name(os.getpid())
        assert name is not None  # noqa: S101 - this process exists
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scx_vsched.vm.lab.keeper", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Restore the host; returns when that is done.

        Raises:
            UserError: groups are left; the message names them.
        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            status = 1
        if status:
            raise UserError(
                "control groups of the shaped VM could not be removed",
                "the next start of a shaped VM tries again",
            )


def main(argv: list[str]) -> int:
    """Wait for the end of standard input, then remove the groups named `argv[0]`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    return 0 if remove(find_hierarchies(), argv[0]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
