"""Files that come with the package by name, and others by their path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_named"]


def read_named(kind: str, name: str, known: Mapping[str, Path]) -> tuple[str, Path]:
    """The text of what is known as `name`, or of the file of that path, and where it lies.

    Raises UserError, which says what `kind` it was to be, where it cannot be read.
    """
    path = known.get(name) or Path(name)
    try:
        return path.read_text(encoding="utf-8"), path
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(
            f"no {kind} {name}: {reason}", f"name a file, or one of: {', '.join(known)}"
        ) from None
