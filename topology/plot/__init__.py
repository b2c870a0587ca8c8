"""Pictures of a graph, as SVG or PNG. The only part of the package that needs matplotlib."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from scx_vsched.topology.graph import VCpuGraph
    from scx_vsched.topology.records import Availability

__all__ = ["Picture", "draw", "save"]


class Picture(StrEnum):
    """What can be drawn."""

    MATRIX = "matrix"  # latency of all pairs as a heat map, and capacities
    TREE = "tree"  # domains, as told and as measured
    ACTIVITY = "activity"  # when each vCPU ran


def draw(what: Picture, graph: VCpuGraph, availability: Sequence[Availability] = ()) -> Figure:
    """The picture as a matplotlib figure.

    Raises UserError without matplotlib, and for `Picture.ACTIVITY` without any availability.
    """
    try:
        import matplotlib  # noqa: F401, PLC0415
    except ImportError:
        raise UserError("pictures need matplotlib", "pip install 'scx_vsched[plot]'") from None
    match what:
        case Picture.MATRIX:
            from scx_vsched.topology.plot.matrix import draw_matrix  # noqa: PLC0415

            return draw_matrix(graph)
        case Picture.TREE:
            from scx_vsched.topology.plot.tree import draw_tree  # noqa: PLC0415

            return draw_tree(graph)
        case Picture.ACTIVITY:
            from scx_vsched.topology.plot.activity import draw_activity  # noqa: PLC0415

            return draw_activity(graph, availability)


def save(figure: Figure, path: Path) -> None:
    """Writes the picture; the name's end says whether as SVG or as PNG.

    The same figure gives the same bytes. Raises UserError for another end, and where the file
    cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in {"svg", "png"}:
        raise UserError(f"{path}: a picture ends in .svg or .png")
    import matplotlib  # noqa: PLC0415

    # Without a fixed salt SVG ids, and without this metadata the date, differ each time.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "scx_vsched"}):
        try:
            figure.savefig(path, format=kind, metadata=metadata)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from None
