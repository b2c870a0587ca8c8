"""`scx_vsched inspect`: what is in an object."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from scx_vsched.bpf.inspect import Report

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="OBJECT", help="A BPF object file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show an object's programs, maps, operations, relocations and what it wants of the kernel."""
    from scx_vsched.bpf.inspect import inspect_object  # noqa: PLC0415

    report = inspect_object(path)
    if as_json:
        import json  # noqa: PLC0415

        print(json.dumps(report.to_dict(), indent=2))
    else:
        _print(report)


def _print(report: Report) -> None:
    from scx_vsched.runtime.display import output_console  # noqa: PLC0415

    console = output_console()
    console.print(f"{report.path}: {report.size:,} bytes, licence {report.license}", markup=False)
    if meta := report.meta:
        console.print(
            f"policy {meta.policy} on mechanism {meta.mechanism}, by scx_vsched {meta.version}; "
            f"features: {', '.join(meta.features) or 'none'}",
            markup=False,
        )
        if meta.pythonbpf:
            console.print(f"hooks by pythonbpf: {', '.join(meta.pythonbpf)}", markup=False)
        _table(
            console,
            ("tunable", "default", "range", "unit", "meaning"),
            (
                (t.name, t.default, f"{t.min}-{t.max}", t.unit, t.doc + " (frozen)" * t.frozen)
                for t in meta.tunables
            ),
        )
    _table(
        console,
        ("program", "section", "instructions", "source"),
        (
            (p.name, p.section, p.instructions, ", ".join(map(_short, p.sources)))
            for p in report.programs
        ),
    )
    _table(
        console,
        ("map", "type", "key", "value", "entries"),
        ((m.name, m.type, m.key_size, m.value_size, m.max_entries) for m in report.maps),
    )
    _table(
        console,
        ("table", "operation", "program"),
        ((o.table, o.member, o.program) for o in report.operations),
    )
    _table(
        console,
        ("wanted of the kernel", "kind", "may be absent"),
        ((e.name, e.kind, "yes" if e.weak else "no") for e in report.externs),
    )
    _table(
        console,
        ("relocations in", "symbols", "CO-RE"),
        (
            (r.section, r.symbols, ", ".join(f"{count} {kind}" for kind, count in r.core.items()))
            for r in report.relocations
        ),
    )


def _short(source: str) -> str:
    """A source without its directory."""
    return source.rpartition("/")[2]


def _table(console: Console, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        # As text: names in an object are not markup.
        table.add_row(*(Text(str(cell)) for cell in row))
    if table.row_count:
        console.print()
        console.print(table)
