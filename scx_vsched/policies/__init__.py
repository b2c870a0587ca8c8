"""The built-in policies, and how a policy is found by name or by file."""

from __future__ import annotations

import difflib
from pathlib import Path

from scx_vsched.errors import UserError

__all__ = [
    "builtin_policies",
    "gallery_folder",
    "gallery_policies",
    "resolve_policy",
    "xen_policies",
]


def builtin_policies() -> dict[str, Path]:
    """The files of the built-in policies by name, sorted."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {path.stem: path for path in files}


def gallery_folder() -> Path:
    """Where the policies to learn from are."""
    return Path(__file__).parent / "gallery"


def gallery_policies() -> dict[str, Path]:
    """The files of the policies to learn from by name, sorted."""
    files = sorted(gallery_folder().glob("[!_]*.py"))
    return {path.stem: path for path in files}


def xen_policies() -> dict[str, Path]:
    """The files of Xen's schedulers by name, sorted; they schedule domains on a host."""
    files = sorted((Path(__file__).parent / "xen").glob("[!_]*.py"))
    return {path.stem: path for path in files}


def resolve_policy(name_or_path: str) -> Path:
    """The file of a built-in policy, or the file itself; UserError if there is neither.

    Those of the gallery and Xen's are found by name, too.
    """
    builtin = builtin_policies() | gallery_policies() | xen_policies()
    if name_or_path in builtin:
        return builtin[name_or_path]
    path = Path(name_or_path)
    try:
        found = path.is_file()
    except (OSError, ValueError):  # too long a name, or a NUL byte in it
        found = False
    if found:
        return path
    names = ", ".join(builtin)
    if path.suffix == ".py" or len(path.parts) > 1:
        raise UserError(f"no policy file {name_or_path!r}", f"built-in policies: {names}")
    near = difflib.get_close_matches(name_or_path, builtin, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(
        f"no policy called {name_or_path!r}",
        f"{hint}built-in policies: {names}; or give the path of a policy file",
    )
