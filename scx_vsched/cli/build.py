"""`scx_vsched build`: a policy becomes a loadable object."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scx_vsched.cli.settings import BackendOption, complete_policy, parse_settings

__all__ = ["app"]

app = typer.Typer(add_completion=False)


@app.command()
def build(
    *,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            autocompletion=complete_policy,
            help="Built-in policy by name, or a policy file.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", show_default="NAME.bpf.o", help="The object."
        ),
    ] = None,
    c_file: Annotated[
        Path | None, typer.Option("--c", metavar="FILE", help="Keep the generated C here.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="FEATURE", help="Leave a feature out (repeatable)."),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            "--freeze",
            metavar="NAME[=VALUE]",
            help="Fix a tunable for good, at its default or this value (repeatable).",
        ),
    ] = None,
    clang: Annotated[
        str | None, typer.Option("--clang", metavar="PATH", help="The compiler, 16 or newer.")
    ] = None,
    backend: BackendOption = "clang",
) -> None:
    """Compile a policy to an object that `run --object` loads on any kernel from 6.12 on.

    The policy file is read, never run.
    """
    from scx_vsched.bpf.build import build as build_object  # noqa: PLC0415
    from scx_vsched.policies import resolve_policy  # noqa: PLC0415

    source = resolve_policy(policy)
    target = out or Path(f"{source.stem}.bpf.o")
    frozen: dict[str, int | None] = dict.fromkeys(s for s in freeze or () if "=" not in s)
    frozen |= parse_settings((s for s in freeze or () if "=" in s), option="--freeze ")
    meta = build_object(
        source,
        target,
        without=tuple(without or ()),
        freeze=frozen,
        keep_c=c_file,
        clang=clang,
        backend=backend,
    )
    features = ", ".join(meta.features) or "no features"
    print(f"{target}: policy {meta.policy}, {features}, {target.stat().st_size:,} bytes")
    if meta.pythonbpf:
        print(f"by pythonbpf: {', '.join(meta.pythonbpf)}")
