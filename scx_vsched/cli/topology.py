"""`scx_vsched topology`: look at graphs of vCPUs, draw them, compare them, hand them on."""

# ruff: noqa: PLC0415 - commands import what they use, so that --help stays quick
# ruff: noqa: PLR0917 - parameters are options

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scx_vsched.cli.groups import Group

if TYPE_CHECKING:
    from scx_vsched.topology.document import Document

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="Show, draw, compare and export what vCPUs are, as probed or as claimed.",
)

_File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="A document of scx_vsched probe --json; without it, what this machine claims.",
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class _What(StrEnum):
    MATRIX = "matrix"
    TREE = "tree"
    ACTIVITY = "activity"
    ALL = "all"


class _Format(StrEnum):
    GRAPHML = "graphml"
    JSON = "json"


def _read(file: Path | None) -> Document:
    from scx_vsched.topology.claimed import claimed_graph
    from scx_vsched.topology.document import Document, read_document

    return Document(claimed_graph()) if file is None else read_document(file)


def _write(path: Path, text: str) -> None:
    from scx_vsched.errors import UserError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None


@app.command("show")
def show_command(file: _File = None, as_json: _AsJson = False) -> None:
    """Show each vCPU: domains, capacity, how often it is taken away, and what was claimed wrongly.

    Times in the column "away next" count from the moment of the document.
    """
    from scx_vsched.runtime.display import output_console
    from scx_vsched.topology.document import document_text
    from scx_vsched.topology.table import graph_table, headline, remarks

    document = _read(file)
    if as_json:
        print(document_text(document.graph, document.availability), end="")
        return
    print(headline(document.graph))
    console = output_console()
    console.print(graph_table(document.graph))
    for line in remarks(document.graph):
        print(line)


@app.command("plot")
def plot_command(
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The picture, .svg or .png.")
    ],
    file: _File = None,
    what: Annotated[
        _What,
        typer.Option(
            "--what",
            help="Latency matrix, tree of domains, activity over time; "
            "all writes one file each (OUT-matrix.svg, …).",
        ),
    ] = _What.MATRIX,
) -> None:
    """Draw a graph: latencies with capacities, domains, or when each vCPU ran."""
    from scx_vsched.topology.plot import Picture, draw, save

    document = _read(file)
    if what is _What.ALL:
        pictures = [p for p in Picture if p is not Picture.ACTIVITY or document.availability]
        targets = {p: out.with_name(f"{out.stem}-{p}{out.suffix}") for p in pictures}
    else:
        targets = {Picture(what): out}
    for picture, target in targets.items():
        save(draw(picture, document.graph, document.availability), target)
        print(target)


@app.command("diff")
def diff_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="A document.")],
    second: Annotated[Path | None, typer.Argument(metavar="B", help="Another document.")] = None,
    claimed: Annotated[
        bool,
        typer.Option(
            "--claimed",
            help="Compare what the guest was told, as A has it (else as this machine claims now), "
            "with what A measured.",
        ),
    ] = False,
    capacity_step: Annotated[
        int,
        typer.Option("--capacity-step", min=1, max=1024, help="Ignore smaller steps, of 1024."),
    ] = 64,
    latency_factor: Annotated[
        float, typer.Option("--latency-factor", min=1, help="Ignore changes by a smaller factor.")
    ] = 1.5,
    as_json: _AsJson = False,
) -> None:
    """Say what differs: domains, capacities, latencies. Domains count by their vCPUs, not numbers.

    Ends with 0 when nothing differs, 1 when something does, 2 in trouble, as diff does.
    """
    import json

    from scx_vsched.errors import UserError
    from scx_vsched.topology.diff import Thresholds, claim_differences, differences
    from scx_vsched.topology.diff import plain_difference as plain
    from scx_vsched.topology.measure import Origin
    from scx_vsched.topology.sentences import sentences

    thresholds = Thresholds(capacity_step, latency_factor)
    try:
        if claimed == (second is not None):
            raise UserError("diff compares A with B or, with --claimed, A with claims")
        after = _read(first).graph
        if claimed and after.claimed:
            found = claim_differences(after, thresholds)
            before_origin = Origin.CLAIMED
        elif claimed:
            before = _read(None).graph
            found, before_origin = differences(before, after, thresholds), Origin.CLAIMED
        else:
            before, after = after, _read(second).graph
            found, before_origin = differences(before, after, thresholds), before.snapshot.origin
    except UserError as error:
        error.exit_code = 2
        raise
    if as_json:
        print(json.dumps([plain(change) for change in found], indent=2))
    else:
        for line in sentences(found, before=before_origin, after=after.snapshot.origin):
            print(line)
    raise typer.Exit(1 if found else 0)


@app.command("export")
def export_command(
    file: _File = None,
    kind: Annotated[
        _Format, typer.Option("--format", help="GraphML for other tools, or our own JSON.")
    ] = _Format.GRAPHML,
    out: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default="standard output"),
    ] = None,
) -> None:
    """Write a graph for other tools."""
    document = _read(file)
    if kind is _Format.GRAPHML:
        from scx_vsched.topology.graphml import graphml_text

        text = graphml_text(document.graph)
    else:
        from scx_vsched.topology.document import document_text

        text = document_text(document.graph, document.availability)
    if out is None:
        print(text, end="")
    else:
        _write(out, text)
