"""What a balancer has changed, in a file: one that is killed can be put back by the next one.

The scheduler's homes vanish with it; affinities of interrupts, workqueues and tasks do not.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scx_vsched.errors import UserError
from scx_vsched.numa.files import Skips, read
from scx_vsched.numa.homes import Affinity, AffinityHomes, Bound
from scx_vsched.numa.irqs import put_back
from scx_vsched.numa.nodes import read_nodes
from scx_vsched.numa.processes import parse_stat

__all__ = ["SAVED_PATH", "Restored", "Saved", "SavedFile", "restore"]

SAVED_PATH = Path("/run/scx_vsched/numa.json")


@dataclass(frozen=True, slots=True)
class Saved:
    """`owner` (number, start) changed things: files by their former text, and what it bound."""

    owner: tuple[int, int]
    files: dict[str, str] = field(default_factory=dict)
    bound: Bound | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """How many files were put back and how many processes are free, and what could not be done."""

    files: int
    processes: int
    skips: Skips


class SavedFile:
    """The file in which it is; written anew before each change."""

    def __init__(self, path: Path = SAVED_PATH, proc: str = "/proc", sys: str = "/sys") -> None:
        self._path = path
        self._proc, self._sys = proc, sys
        self._last: Saved | None = None

    def claim(self) -> Restored | None:
        """Put back what an owner that was killed left behind; None where there was nothing.

        Raises UserError while another balancer is at work.
        """
        return restore(self._path, self._proc, self._sys)

    def save(self, saved: Saved) -> None:
        """Keep it; raises UserError where that cannot be done."""
        if saved == self._last:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(".new")
            beside.write_text(json.dumps(asdict(saved)))
            beside.replace(self._path)
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {error.strerror}") from None
        self._last = saved

    def remove(self) -> None:
        """Everything is as it was."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self._last = None

    def owner(self) -> tuple[int, int]:
        """This process."""
        return os.getpid(), _start(os.getpid(), self._proc)


def restore(
    path: Path = SAVED_PATH,
    proc: str = "/proc",
    sys: str = "/sys",
    affinity: Affinity | None = None,
) -> Restored | None:
    """Put back what is in the file, and remove it; None where there is none.

    Raises UserError while its owner is at work, and where it cannot be read.
    """
    saved = _load(path)
    if saved is None:
        return None
    if _start(saved.owner[0], proc) == saved.owner[1]:
        raise UserError(
            f"the balancer that wrote {path} is at work (process {saved.owner[0]})",
            "end it: it puts everything back itself",
        )
    skips = Skips()
    files = put_back(saved.files, skips)
    processes = 0
    if saved.bound is not None:
        homes = AffinityHomes(
            read_nodes(sys), skips, proc=proc, affinity=affinity, bound=saved.bound
        )
        processes = len(homes.bound.processes)
        homes.clear()
    with contextlib.suppress(OSError):
        path.unlink()
    return Restored(files, processes, skips)


def _load(path: Path) -> Saved | None:
    try:
        raw: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "run it as root") from None
    except ValueError:
        raise UserError(f"{path} is no state of a balancer", f"remove it: rm {path}") from None
    try:
        return Saved(
            (int(raw["owner"][0]), int(raw["owner"][1])),
            {str(name): str(text) for name, text in raw["files"].items()},
            _bound(raw["bound"]) if raw["bound"] else None,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise UserError(f"{path} is no state of a balancer", f"remove it: rm {path}") from None


def _bound(raw: Any) -> Bound:
    processes = tuple((int(pid), int(start)) for pid, start in raw["processes"])
    return Bound(processes, tuple(map(int, raw["nodes"])), int(raw["since"]))


def _start(pid: int, proc: str) -> int:
    """When process `pid` was born, -1 for none."""
    try:
        return parse_stat(read(f"{proc}/{pid}/stat")).start
    except (OSError, ValueError):
        return -1
