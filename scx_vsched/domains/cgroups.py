"""Finds cgroups by their paths, and their ids as the kernel's schedulers know them."""

from __future__ import annotations

from pathlib import Path

from scx_vsched.errors import UserError

__all__ = ["ROOT", "cgroup_id", "expand", "find"]

ROOT = Path("/sys/fs/cgroup")
"""Where the cgroups of version 2 are mounted."""

_MAGIC = "*?["


def cgroup_id(name: str, root: Path = ROOT) -> int | None:
    """The id of the cgroup `name`, None where there is none that schedulers are told of.

    They know those with the cpu controller: the others count as the one above them.
    """
    folder = root / name
    try:
        if not (folder / "cpu.weight").exists():
            return None
        return folder.stat().st_ino
    except OSError:  # gone meanwhile
        return None


def expand(pattern: str, root: Path = ROOT) -> dict[str, int]:
    """The cgroups that `pattern` names, itself or by wildcards, with their ids."""
    if not any(sign in pattern for sign in _MAGIC):
        names = [pattern]
    else:
        try:
            names = sorted(str(path.relative_to(root)) for path in root.glob(pattern))
        except (OSError, ValueError):
            names = []
    found = ((name, cgroup_id(name, root)) for name in names)
    return {name: number for name, number in found if number is not None}


def find(name: str, root: Path = ROOT) -> int:
    """The id of the cgroup `name`; raises UserError that says what is wrong with it."""
    found = cgroup_id(name, root)
    if found is not None:
        return found
    folder = root / name
    if not root.is_dir() or not (root / "cgroup.controllers").exists():
        raise UserError(f"no cgroups of version 2 are mounted on {root}")
    if not folder.is_dir():
        raise UserError(
            f"there is no cgroup {name} below {root}",
            f"make one: mkdir {folder}, and write its processes' ids to {folder}/cgroup.procs",
        )
    raise UserError(
        f"the cgroup {name} has no cpu controller, so the scheduler cannot tell it apart",
        f"enable it: echo +cpu > {folder.parent}/cgroup.subtree_control",
    )
