"""Renders a policy and its mechanism's template to C.

The templates hold no decisions: they get an `ObjectMeta`, the hooks as C text and the views'
fields. The output is a function of its input alone, byte for byte.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from scx_vsched.bpf.kept import describe_kept
from scx_vsched.bpf.model import (
    META_FORMAT,
    HistogramMeta,
    ObjectMeta,
    SettingMeta,
    StatMeta,
    TunableMeta,
)
from scx_vsched.errors import UserError
from scx_vsched.policy import ir
from scx_vsched.policy.c_state import domain_layout
from scx_vsched.policy.callgraph import calls_of
from scx_vsched.policy.emit_c import emit_c
from scx_vsched.policy.views import VIEWS, field_info
from scx_vsched.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from scx_vsched.policy.program import PolicyProgram

__all__ = [
    "describe",
    "hooks_in_use",
    "include_dir",
    "render",
    "reserved_identifiers",
    "tracked_fields",
]

_OPS_NAME_LEN = 100  # the kernel's limit is 127
_META_LINE = 88  # characters of the description in each C string


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    c_type: str


@dataclass(frozen=True, slots=True)
class _View:
    c_name: str
    fields: tuple[_Field, ...]


def _templates() -> Path:
    return Path(str(resources.files("scx_vsched.templates")))


def include_dir() -> Path:
    """The directory of the C headers that generated code includes."""
    return _templates() / "include"


def _sources() -> list[Path]:
    return [*_templates().rglob("*.j2"), *include_dir().glob("*.h")]


@functools.cache
def reserved_identifiers() -> frozenset[str]:
    """Every identifier that occurs in a template or header: none may come from a policy."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in _sources())
    return frozenset(re.findall(r"[A-Za-z_]\w*", text))


@functools.cache
def _macros() -> frozenset[str]:
    """Those of them that the preprocessor would replace wherever they stand."""
    texts = (path.read_text(encoding="utf-8") for path in _sources())
    return frozenset(name for text in texts for name in re.findall(r"(?m)^#define (\w+)", text))


def describe(program: PolicyProgram, without: Collection[str] = ()) -> ObjectMeta:
    """The description of an object made from `program` less the features in `without`.

    Raises UserError when `without` names a feature that the mechanism does not have.
    """
    mechanism = program.mechanism
    known = [feature.name for feature in mechanism.features]
    features = tuple(name for name in program.features if name not in without)
    flags = [
        f for feature in mechanism.features if feature.name in features for f in feature.ops_flags
    ]
    for name in without:
        if name not in known:
            raise UserError(
                f"the mechanism {mechanism.name} has no feature {name!r}",
                f"its features are {', '.join(known)}",
            )
    return ObjectMeta(
        format=META_FORMAT,
        version=VERSION,
        policy=program.name,
        policy_doc=program.doc,
        mechanism=mechanism.name,
        features=features,
        tunables=tuple(
            TunableMeta(t.name, t.type, t.default, t.min, t.max, t.unit, t.doc, t.frozen)
            for t in program.tunables
        ),
        stats=(
            *(StatMeta(stat.name, stat.doc) for stat in program.stats(features)),
            *(StatMeta(c.name, c.doc) for c in program.counters if c.kind == "counter"),
        ),
        histograms=tuple(
            HistogramMeta(c.name, c.unit, c.doc) for c in program.counters if c.kind == "histogram"
        ),
        ops_flags=tuple(dict.fromkeys([*mechanism.ops_flags, *flags])),
        **_domains(program),
    )


def _domains(program: PolicyProgram) -> dict[str, Any]:
    """What user space has to know of domains' state, where the mechanism has settings."""
    if not program.mechanism.settings:
        return {}
    offsets, size = domain_layout(program)
    fields = [f for state in program.states if state.scope == "domain" for f in state.cls.fields]
    settings = tuple(
        SettingMeta(
            f.name,
            f.type.name,
            offsets[f.name],
            f.default,
            f.setting.min,
            f.setting.max,
            f.setting.unit,
            f.setting.doc,
        )
        for f in fields
        if f.setting
    )
    return {"settings": settings, "domain_size": size}


def _views(tracked: Collection[str]) -> tuple[_View, ...]:
    return tuple(
        _View(
            view.lower(),
            tuple(
                _Field(field.name, field.type.name if field.type else "bool")
                for field in field_info(view).values()
                if field.name in tracked or not field.tracked
            ),
        )
        for view in VIEWS
    )


def _reachable(program: PolicyProgram, names: Collection[str]) -> frozenset[str]:
    """These functions of `program` and all that they call."""
    pending = list(names)
    needed: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(call.function for call in calls_of(program.function(name)))
    return frozenset(needed)


def _without_hooks(program: PolicyProgram, features: Collection[str]) -> PolicyProgram:
    """`program` less what only the hooks of other features need."""
    defined = {function.name for function in program.functions}
    needed = _reachable(
        program,
        {
            hook.name
            for hook in program.mechanism.hooks
            if hook.name in defined and (not hook.feature or hook.feature in features)
        },
    )
    unused = {hook.name for hook in program.mechanism.hooks if hook.feature} - needed
    if not unused & defined:
        return program
    functions = tuple(function for function in program.functions if function.name in needed)
    return dataclasses.replace(program, functions=functions)


def hooks_in_use(program: PolicyProgram, without: Collection[str] = ()) -> tuple[str, ...]:
    """The names of the hooks that an object less the features in `without` has."""
    used = _without_hooks(program, describe(program, without).features)
    return tuple(function.name for function in used.functions if function.kind == "hook")


def tracked_fields(program: PolicyProgram) -> frozenset[str]:
    """The fields that the mechanism has to keep because a hook reads them."""
    return frozenset(
        node.field
        for function in program.functions
        for node in ir.walk(function)
        if isinstance(node, ir.Field) and field_info(node.view)[node.field].tracked
    )


@functools.cache
def _fields_of_features() -> frozenset[str]:
    """The fields that some feature knows, rather than the account of how vCPUs are used."""
    infos = (info for view in VIEWS for info in field_info(view).values())
    return frozenset(info.name for info in infos if info.feature)


def _preempted(program: PolicyProgram) -> frozenset[str]:
    """The fields of a task that the hook `preempts` may read of the one that runs."""
    defined = {function.name for function in program.functions}
    needed = _reachable(program, {"preempts"} & defined)
    return frozenset(
        node.field
        for function in program.functions
        if function.name in needed
        for node in ir.walk(function)
        if isinstance(node, ir.Field) and node.view == "Task"
    )


def _c_int(value: int, type_name: str) -> str:
    if type_name == "u64":
        return f"{value}ULL"
    # the literal 2**63 does not fit a signed type, so its negation cannot be written directly
    return f"({value + 1}LL - 1)" if value == -(1 << 63) else f"{value}LL"


def _c_string_lines(text: str) -> list[str]:
    chunks = (text[i : i + _META_LINE] for i in range(0, len(text), _META_LINE))
    return [chunk.replace("\\", "\\\\").replace('"', '\\"') for chunk in chunks]


def _comment(text: str) -> str:
    """`text` as it may stand inside a C comment: one line of printable ASCII that cannot end it."""
    line = text.strip().partition("\n")[0]
    line = "".join(c if " " <= c <= "~" else "?" for c in line)
    return line.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def _number_lines(text: str, name: str) -> str:
    """Has clang call the text `name`, also after hooks whose lines belong to the policy's file."""
    lines = [f'#line 1 "{name}"', *text.splitlines()]
    here = "#line HERE"
    return "".join(
        # the directive numbers the line after it; the file's own first line is the second here
        f'#line {i} "{name}"\n' if line == here else f"{line}\n"
        for i, line in enumerate(lines, start=1)
    )


def render(
    program: PolicyProgram,
    without: Collection[str] = (),
    elsewhere: Mapping[str, str] | None = None,
) -> str:
    """C source of the scheduler that `program` describes, less the features in `without`.

    `elsewhere` has the C of hooks that pythonbpf compiles.
    """
    meta = dataclasses.replace(describe(program, without), pythonbpf=tuple(elsewhere or ()))
    program = _without_hooks(program, meta.features)
    tracked = tracked_fields(program)
    accounts = {feature.name for feature in program.mechanism.features if feature.keeps_usage}
    used = tracked - _fields_of_features()
    ops_name = f"vsched_{program.name.lower()}"[:_OPS_NAME_LEN]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is C
    )
    environment.filters["c_int"] = _c_int
    environment.filters["comment"] = _comment
    text = environment.get_template(program.mechanism.template).render(
        meta=meta,
        meta_lines=_c_string_lines(meta.to_json()),
        banner=_comment(program.doc) or "a scheduler policy",
        source_name=_comment(Path(program.filename).name),
        ops_name=ops_name,
        views=_views(tracked),
        tracked=tracked,
        preempted=_preempted(program),
        usage=bool(used) or bool(accounts.intersection(meta.features)),
        kept=describe_kept(program, meta.features),
        counters=program.counters,
        hooked=frozenset(f.name for f in program.functions if f.kind == "hook"),
        hooks=emit_c(program, reserved_identifiers(), macros=_macros(), elsewhere=elsewhere),
    )
    return _number_lines(text, f"{ops_name}.bpf.c")
