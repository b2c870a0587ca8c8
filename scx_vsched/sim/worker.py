"""The process that `sim.apart` starts: a line for each case in, a verdict for each one out."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from scx_vsched.sim.case import Case, run_case

__all__ = ["READY", "main"]

READY = "ready"  # said before the first case


def main() -> None:
    """Runs cases until the input ends."""
    sanitize = "--sanitize" in sys.argv
    print(READY, flush=True)
    for line in sys.stdin:
        outcome = run_case(Case.from_json(json.loads(line), "the case"), sanitize=sanitize)
        failure = outcome.failure
        verdict = {
            "failure": failure and asdict(failure),
            "events": outcome.events,
            "records": outcome.records,
            "digest": outcome.digest,
        }
        print(json.dumps(verdict), flush=True)


if __name__ == "__main__":
    main()
