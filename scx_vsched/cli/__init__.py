"""The `scx_vsched` command.

A `UserError` ends it with one message and its exit code; usage errors end with 2, an interrupt with
130. Anything else that escapes is a defect and shows a traceback.
"""

from __future__ import annotations

import os
import sys

from scx_vsched.errors import UserError

__all__ = ["main"]

_INTERRUPTED = 130  # as a shell says it


def main() -> None:
    """Run the command line and end the process with its exit status."""
    # plain help: the boxes of rich cost each `--help` twice the time of all the rest
    os.environ.setdefault("TYPER_USE_RICH", "0")
    try:
        # In here, so that Ctrl-C is an interrupt from the start: importing can take seconds.
        from scx_vsched.cli.app import app  # noqa: PLC0415

        app(prog_name="scx_vsched")
    except UserError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
