"""Graphs in files: versioned JSON out and in, GraphML out.

The JSON is described by `schema.json` beside this file. A file holds one document, or several one
after the other (as JSON lines, one each interval, from `probe --watch --json`): then the last graph
counts, with the availability of all.

The part "availability" of a document is what `topology plot --what activity` draws: a list with one
entry for each watch of a vCPU, `{"vcpu": 3, "start_ns": …, "end_ns": …, "gaps": [start, length,
start, length, …]}`, all in nanoseconds of CLOCK_MONOTONIC (see records.Availability).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NoReturn

from scx_vsched.errors import UserError
from scx_vsched.topology.codec import (
    decode_availability,
    decode_graph,
    encode_availability,
    encode_graph,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from jsonschema.protocols import Validator

    from scx_vsched.topology.graph import VCpuGraph
    from scx_vsched.topology.records import Availability

__all__ = ["FORMAT", "VERSION", "Document", "document_text", "parse_document", "read_document"]

FORMAT = "scx_vsched topology"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Document:
    """A graph, and what probes saw of its vCPUs over time."""

    graph: VCpuGraph
    availability: tuple[Availability, ...] = field(default=())


def document_text(
    graph: VCpuGraph, availability: Iterable[Availability] = (), *, one_line: bool = False
) -> str:
    """The document as JSON with a newline at the end; equal graphs give equal text.

    `one_line` is for JSON lines; otherwise each vCPU and each pair has a line of its own.
    """
    data = {"format": FORMAT, "version": VERSION, **encode_graph(graph)}
    if watches := encode_availability(availability):
        data["availability"] = watches
    if one_line:
        return json.dumps(data, allow_nan=False, separators=(",", ":")) + "\n"
    return _indented(data) + "\n"


def read_document(path: Path) -> Document:
    """The document in a file; raises UserError, naming the file, for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text", _HINT) from None
    return parse_document(text, str(path))


def parse_document(text: str, name: str = "the document") -> Document:
    """The document in a text; raises UserError, beginning with `name`, for anything else."""
    graph, seen = None, []
    for data in _values(text, name):
        _check(data, name)
        try:
            graph = decode_graph(data)
            seen += decode_availability(data.get("availability", ()), graph.vcpus)
        except UserError as error:
            raise UserError(f"{name}: {error.message}", error.hint) from None
    if graph is None:
        raise UserError(f"{name} is empty", _HINT)
    known = set(graph.vcpus)
    return Document(graph, tuple(watch for watch in seen if watch.vcpu in known))


_HINT = "scx_vsched probe --json writes such a document"


def _values(text: str, name: str) -> Iterator[Any]:
    """The JSON values in a text, one after the other."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    at = _skip(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            end = " (the file ends here: is it whole?)" if error.pos >= len(text.rstrip()) else ""
            raise UserError(
                f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}{end}", _HINT
            ) from None
        except ValueError as error:
            raise UserError(f"{name}: {error}") from None
        except RecursionError:
            raise UserError(f"{name}: nested too deeply") from None
        yield value
        at = _skip(text, at)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _check(data: Any, name: str) -> None:
    """Raises UserError for what is no document of this version."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(f"{name} is JSON, but no topology", _HINT)
    version = data.get("version")
    if version != VERSION:
        raise UserError(
            f"{name} has version {json.dumps(version)} of the format, this program reads {VERSION}",
            "write it anew with this version's scx_vsched probe, or use that version's program",
        )
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    error = best_match(_validator().iter_errors(data))
    if error is not None:
        raise UserError(f"{name}: {error.json_path.removeprefix('$.')}: {_short(error.message)}")


@cache
def _validator() -> Validator:
    from jsonschema import Draft202012Validator  # noqa: PLC0415

    schema = files("scx_vsched.topology").joinpath("schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(schema))


def _short(message: str, limit: int = 200) -> str:
    """A validator's message quotes the value, which may be a whole document."""
    return message if len(message) <= limit else f"…{message[-limit:]}"


def _indented(data: dict[str, Any]) -> str:
    """JSON with one line for each item of a list: what people compare line by line."""
    lines = []
    for key, value in data.items():
        if isinstance(value, list) and value:
            items = ",\n".join(f"    {json.dumps(item, allow_nan=False)}" for item in value)
            lines.append(f"  {json.dumps(key)}: [\n{items}\n  ]")
        elif isinstance(value, dict) and any(isinstance(part, list) for part in value.values()):
            inner = _indented(value).replace("\n", "\n  ")
            lines.append(f"  {json.dumps(key)}: {inner}")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    return "{\n" + ",\n".join(lines) + "\n}"
