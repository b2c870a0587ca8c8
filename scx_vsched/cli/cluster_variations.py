"""`--vary NAME=VALUES` of `scx_vsched cluster sweep`: several values of any option."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import product
from typing import TYPE_CHECKING, get_args, get_type_hints

from scx_vsched.cli.cluster_options import SimulationOptions
from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer.models import OptionInfo

__all__ = ["parse_variations", "variations"]

type Value = int | float | str | bool | None

# These say what is simulated; a sweep simulates one thing in many ways.
_FIXED = ("seed", "workload_machines")
_MOST_VALUES = 1000


def parse_variations(texts: Sequence[str]) -> dict[str, list[Value]]:
    """The values of each option by its field's name, from `cell-size=2,4` or `machines=700:900:50`.

    START:END:STEP has both ends. `none` is no limit where an option knows that. Raises UserError
    for what is no option, no value of it, or named twice.
    """
    found: dict[str, list[Value]] = {}
    names = {one.name for one in fields(SimulationOptions)} - {*_FIXED}
    for text in texts:
        option, equals, values = text.partition("=")
        name = option.strip().removeprefix("--").replace("-", "_")
        if not equals or name not in names:
            known = ", ".join(sorted(names)).replace("_", "-")
            raise UserError(f"--vary {text}: not NAME=VALUES", f"names are {known}")
        if name in found:
            raise UserError(f"--vary names {option} twice")
        found[name] = _values(text, name, values)
    return found


def _values(text: str, name: str, values: str) -> list[Value]:
    kinds, info = _kind(name)
    found: list[Value] = []
    for part in values.split(","):
        if part == "none" and type(None) in kinds:
            found.append(None)
            continue
        try:
            numbers = _numbers(part.strip(), kinds)
        except ValueError:
            raise UserError(f"--vary {text}: {part!r} is no value of it") from None
        for number in numbers:
            low = info.min is not None and not isinstance(number, str) and number < info.min
            high = info.max is not None and not isinstance(number, str) and number > info.max
            if low or high:
                raise UserError(f"--vary {text}: {number} is out of range")
        found += numbers
    if len(set(found)) != len(found):
        raise UserError(f"--vary {text}: a value is there twice")
    return found


def _kind(name: str) -> tuple[tuple[type, ...], OptionInfo]:
    """The types of an option's values, and what typer knows of it."""
    kind, info = get_args(get_type_hints(SimulationOptions, include_extras=True)[name])
    return get_args(kind) or (kind,), info


def _numbers(text: str, kinds: tuple[type, ...]) -> list[int] | list[float] | list[str]:
    """A value, or those from START to END by STEP. Raises ValueError for neither."""
    if str in kinds:
        return [text]
    if bool in kinds:
        return [("false", "true").index(text)]
    kind = int if int in kinds else float
    start, *rest = (kind(part) for part in text.split(":"))
    if not all(math.isfinite(number) for number in (start, *rest)):
        raise ValueError
    if not rest:
        return [start]
    end, step = rest
    if step <= 0 or end < start or (count := round((end - start) / step)) >= _MOST_VALUES:
        raise ValueError
    return [
        kind(round(start + i * step, 9)) for i in range(count + 1) if start + i * step <= end + 1e-9
    ]


def variations(
    options: SimulationOptions, varied: dict[str, list[Value]]
) -> list[tuple[dict[str, Value], SimulationOptions]]:
    """Each combination of values, and the options with it."""
    return [
        (point, replace(options, **point))  # type: ignore[arg-type]
        for values in product(*varied.values())
        for point in [dict(zip(varied, values, strict=True))]
    ]
