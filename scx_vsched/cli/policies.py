"""`scx_vsched policies`: the built-in policies and what can be tuned in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from scx_vsched.policy.contract import Feature
    from scx_vsched.policy.program import PolicyProgram

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def policies(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the built-in policies with their tunables, features and statistics."""
    from scx_vsched.policies import (  # noqa: PLC0415
        builtin_policies,
        gallery_folder,
        gallery_policies,
        xen_policies,
    )
    from scx_vsched.policy.compiler import compile_file  # noqa: PLC0415

    programs = {name: compile_file(path) for name, path in sorted(builtin_policies().items())}
    if as_json:
        import json  # noqa: PLC0415

        print(json.dumps([_plain(name, program) for name, program in programs.items()], indent=2))
    else:
        for name, program in programs.items():
            _print(name, program)
        print(f"To learn from, in {gallery_folder()}: {', '.join(gallery_policies())}")
        print(f"For domains on a host, after Xen: {', '.join(xen_policies())}")


def _plain(name: str, program: PolicyProgram) -> dict[str, object]:
    return {
        "name": name,
        "doc": program.doc,
        "mechanism": program.mechanism.name,
        "tunables": [
            {
                "name": tunable.name,
                "type": tunable.type,
                "default": tunable.default,
                "min": tunable.min,
                "max": tunable.max,
                "unit": tunable.unit,
                "doc": tunable.doc,
                "frozen": tunable.frozen,
            }
            for tunable in program.tunables
        ],
        "features": [{"name": each.name, "doc": each.doc} for each in _features(program)],
        "stats": [
            *({"name": s.name, "doc": s.doc} for s in program.stats(program.features)),
            *({"name": made.name, "doc": made.doc} for made in program.counters),
        ],
    }


def _features(program: PolicyProgram) -> list[Feature]:
    """Those that the policy's hooks make use of."""
    return [each for each in program.mechanism.features if each.name in program.features]


def _print(name: str, program: PolicyProgram) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    console.print(f"[bold]{name}[/bold] (mechanism {program.mechanism.name})", highlight=False)
    for paragraph in program.doc.strip().split("\n\n"):
        console.print(" ".join(paragraph.split()), markup=False, highlight=False)
    if program.tunables:
        table = Table("tunable", "default", "range", "unit", "meaning", box=None, pad_edge=False)
        for tunable in program.tunables:
            table.add_row(
                tunable.name,
                str(tunable.default),
                f"{tunable.min}-{tunable.max}",
                tunable.unit,
                tunable.doc,
            )
        console.print(table)
    features = Table("feature (--without)", "meaning", box=None, pad_edge=False)
    for feature in _features(program):
        features.add_row(feature.name, feature.doc)
    console.print(features)
    console.print()
