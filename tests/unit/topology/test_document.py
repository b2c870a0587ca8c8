"""Documents: what is written is read again, and anything else is refused with the reason."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from vcpu_graphs import flat, hpvm, large, rcvm, watches

from scx_vsched.errors import UserError
from scx_vsched.topology import document
from scx_vsched.topology.document import document_text, parse_document, read_document
from scx_vsched.topology.domains import Level, numbered, relation
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.graphml import graphml_text
from scx_vsched.topology.measure import (
    Activity,
    Evidence,
    Origin,
    PairMeasure,
    Prediction,
    Snapshot,
    VCpuMeasure,
)
from scx_vsched.topology.records import Availability, Gap, Relation

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = Path(document.__file__).with_name("schema.json")

TIMES = st.integers(0, 2**62)
DURATIONS = st.floats(0, 1e12) | st.integers(0, 10**12)
PARTS = st.floats(0, 1)
OF_1024 = st.integers(0, 1024)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


MEASURES = st.builds(
    VCpuMeasure,
    capacity=maybe(OF_1024),
    share=maybe(PARTS),
    speed=maybe(OF_1024),
    evidence=maybe(st.sampled_from(Evidence)),
    steal_share=maybe(PARTS),
    gap_share=maybe(PARTS),
    activity=maybe(st.builds(Activity, DURATIONS, DURATIONS, DURATIONS, DURATIONS, maybe(TIMES))),
    prediction=maybe(st.builds(Prediction, TIMES, PARTS, maybe(DURATIONS))),
    unavailable=maybe(st.text(max_size=20)),
)
SNAPSHOTS = st.builds(
    Snapshot,
    st.sampled_from([Origin.CLAIMED, Origin.MEASURED]),
    time=st.text(max_size=30),
    monotonic_ns=maybe(TIMES),
    kernel=st.text(max_size=10),
    clocksource=st.text(max_size=10),
    probes=st.integers(0, 10**9),
    class_latency_ns=st.dictionaries(st.sampled_from(Relation), DURATIONS),
    settings=st.dictionaries(st.text(max_size=8), st.floats(-1e9, 1e9)),
    notes=st.lists(st.text(max_size=9), max_size=3).map(tuple),
)


@st.composite
def graphs(draw: st.DrawFn) -> VCpuGraph:
    """Any graph of up to ten vCPUs, whose numbers may have gaps."""
    key = st.tuples(*(st.integers(0, 2) for _ in Level))
    keys = draw(st.dictionaries(st.integers(0, 5000), key, min_size=1, max_size=10))
    domains = numbered(keys)
    told = draw(st.sets(st.sampled_from(sorted(keys))))
    pairs = {}
    for a in sorted(keys):
        for b in sorted(keys):
            if a < b and draw(st.booleans()):
                origin = draw(st.sampled_from(Origin))
                latency = draw(maybe(DURATIONS)) if origin is Origin.MEASURED else None
                pairs[a, b] = PairMeasure(relation(domains[a], domains[b]), origin, latency)
    return VCpuGraph(
        domains,
        snapshot=draw(SNAPSHOTS),
        measures={v: draw(MEASURES) for v in keys},
        pairs=pairs,
        claimed=numbered({v: draw(key) for v in sorted(told)}),
    )


@given(graphs(), st.booleans())
def test_what_is_written_is_read_again(graph: VCpuGraph, one_line: bool) -> None:
    text = document_text(graph, one_line=one_line)
    read = parse_document(text).graph
    assert read == graph
    assert document_text(read, one_line=one_line) == text


@given(graphs())
def test_graphml_has_the_same_vcpus_and_pairs(graph: VCpuGraph) -> None:
    # XML has no way to say most control characters
    plain = "".join(c for c in graph.snapshot.time if c.isalnum() and c.isascii())
    graph = VCpuGraph(
        graph.domains, snapshot=Snapshot(Origin.MEASURED, time=plain), pairs=dict(graph.pairs())
    )
    read = networkx.parse_graphml(graphml_text(graph), node_type=int)
    assert sorted(read) == list(graph.vcpus)
    for (a, b), pair in graph.pairs():
        assert read.edges[a, b].get("latency_ns") == pair.latency_ns
        assert read.edges[a, b]["relation"] == pair.relation.name.lower()
    for vcpu, own in graph.domains.items():
        assert read.nodes[vcpu]["core"] == own.core


def test_graphml_carries_measures_and_claims_as_plain_attributes() -> None:
    read = networkx.parse_graphml(graphml_text(rcvm()), node_type=int)
    node = read.nodes[8]
    assert node["capacity"] == 51
    assert node["activity_mean_ns"] == 19e6
    assert (node["core"], node["claimed_core"]) == (4, 8)
    assert node["evidence"] == "gaps"
    assert read.graph["latency_ns_llc"] == pytest.approx(48, abs=2)
    assert read.graph["setting_light_period_ms"] == 1000


def test_availability_is_part_of_the_document() -> None:
    graph = rcvm()
    seen = watches(graph)
    read = parse_document(document_text(graph, seen))
    assert list(read.availability) == seen
    assert read.graph == graph


def test_json_lines_give_the_last_graph_and_all_availability() -> None:
    graph = rcvm()
    second = VCpuGraph(graph.domains, snapshot=Snapshot(Origin.MEASURED, probes=99))
    watch = [
        Availability(3, start, start + 100, (Gap(start + 5, 9),), 0, 1, 2, 3) for start in (0, 500)
    ]
    text = document_text(graph, watch[:1], one_line=True)
    text += document_text(second, watch[1:], one_line=True)
    assert text.count("\n") == 2
    read = parse_document(text)
    assert read.graph == second
    assert list(read.availability) == watch


@pytest.mark.parametrize("graph", [rcvm(), hpvm(), large(64)], ids=["rcvm", "hpvm", "large"])
def test_documents_follow_the_schema(graph: VCpuGraph) -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(document_text(graph, watches(graph))))


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one value of a document; `path` as in `vcpus.3.capacity`."""

    def apply(data: Any) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            data = data[part]
        data[last] = value

    return apply


def cyclic(data: dict[str, Any]) -> None:
    parents = {item["id"]: item for item in data["domains"]}
    parents["llc0"]["parent"] = "core3"


def second_parent(data: dict[str, Any]) -> None:
    data["domains"].append({"id": "core2", "level": "core", "parent": "socket0"})


def domain_twice(data: dict[str, Any]) -> None:
    data["domains"].append(dict(data["domains"][-1]))


def reverse_pair(data: dict[str, Any]) -> None:
    pair = data["pairs"][0]
    data["pairs"].append({**pair, "a": pair["b"], "b": pair["a"], "latency_ns": 77.0})


def pair_twice(data: dict[str, Any]) -> None:
    data["pairs"].append(dict(data["pairs"][0]))


def vcpu_twice(data: dict[str, Any]) -> None:
    data["vcpus"].append(dict(data["vcpus"][3]))


def no_pairs(data: dict[str, Any]) -> None:
    del data["pairs"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (change("format", "something"), "is JSON, but no topology"),
        (change("version", 2), "has version 2 of the format, this program reads 1"),
        (change("version", None), "has version null of the format, this program reads 1"),
        (cyclic, "cyclic: .*core3 in llc0 in core3|cyclic: .*llc0 in core3 in llc0"),
        (second_parent, "core2 has two parents: llc0 and socket0"),
        (domain_twice, "stack10 is given twice"),
        (change("domains.0.parent", "llc0"), "cyclic"),
        (change("domains.1.parent", "node9"), "socket0 has the unknown parent node9"),
        (change("domains.3.parent", "socket0"), "core0, a core, is in socket0, a socket; .* a llc"),
        (
            change("domains.1.parent", None),
            "socket0, a socket, is in nothing; it must be in a node",
        ),
        (change("vcpus.3.stack", "core1"), "vCPU 3 is on 'core1', which is no stack"),
        (change("vcpus.3.stack", "stack99"), "vCPU 3 is on 'stack99', which is no stack"),
        (vcpu_twice, "vCPU 3 is given twice"),
        (change("vcpus.3.capacity", 2000), r"vcpus\[3\].capacity: 2000 is greater"),
        (change("vcpus.3.capacity", "full"), r"vcpus\[3\].capacity: 'full' is not of type"),
        (change("vcpus.3.share", -0.5), r"vcpus\[3\].share: -0.5 is less"),
        (change("vcpus.3.capacty", 5), r"vcpus\[3\]: .*'capacty' was unexpected"),
        (change("vcpus", []), "vcpus"),
        (reverse_pair, "asymmetric: 0-1 is SMT siblings, 5.8.* ns, measured, but 1-0 is .* 77 ns"),
        (pair_twice, "the pair 0-1 is given twice"),
        (change("pairs.0.b", 0), "a pair of vCPU 0 with itself"),
        (change("pairs.0.b", 99), "unknown vCPU 99"),
        (change("pairs.0.relation", "apart"), "0-1 is different NUMA nodes, but .* SMT siblings"),
        (change("pairs.0.relation", "near"), r"pairs\[0\].relation: 'near' is not one of"),
        (change("pairs.0.latency_ns", -3), r"pairs\[0\].latency_ns: -3 is less"),
        (change("pairs.0.origin", "inferred"), "the pair 0-1: a latency that is inferred"),
        (no_pairs, "'pairs' is a required property"),
        (change("claimed.vcpus.0.vcpu", 50), "a claim of the unknown vCPU 50"),
        (change("availability.0.vcpu", 50), "availability of the unknown vCPU 50"),
        (change("availability.0.end_ns", 0), "ends before it starts"),
        (change("availability.0.gaps", [5]), "last gap has no length"),
        (change("availability.0.gaps", [5, -5]), r"gaps\[1\]: -5 is less"),
        (change("snapshot.origin", "inferred"), "snapshot.origin: 'inferred' is not one of"),
    ],
)
def test_documents_that_contradict_themselves_are_refused(
    spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    graph = rcvm()
    data = json.loads(document_text(graph, watches(graph)))
    spoil(data)
    with pytest.raises(UserError) as refusal:
        parse_document(json.dumps(data), "graph.json")
    assert refusal.value.message.startswith("graph.json")
    assert re.search(reason, refusal.value.message), refusal.value.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  \n", "is empty"),
        ("[1, 2]", "is JSON, but no topology"),
        ("42", "is JSON, but no topology"),
        ("{", "graph.json:1:2: not JSON: .*is it whole"),
        ('{\n  "format": nonsense\n}', "graph.json:2:13: not JSON"),
        ('{"format": NaN}', "NaN is not a number"),
        ('{"format": -Infinity}', "-Infinity is not a number"),
        ('{"format": ' + "9" * 5000 + "}", "graph.json: "),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_document_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse_document(text, "graph.json")


@given(st.integers(1, 10_000))
def test_truncated_documents_name_the_place(length: int) -> None:
    text = document_text(rcvm()).rstrip()
    with pytest.raises(UserError, match=r"graph.json(:\d+:\d+: not JSON| is empty)"):
        parse_document(text[: length % len(text)], "graph.json")


def test_huge_floats_are_refused() -> None:
    text = document_text(rcvm()).replace('"share": 0.05', '"share": 1e999', 1)
    with pytest.raises(UserError, match="share"):
        parse_document(text)
    text = document_text(rcvm()).replace('"mean_ns": 19000000', '"mean_ns": 1e999', 1)
    with pytest.raises(UserError, match="vCPU 8: activity: mean_ns is inf"):
        parse_document(text)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), (b"\xff\xfe\x00", "is not text"), (b"", "is empty")],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "graph.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"graph.json.*{reason}"):
        read_document(path)
    with pytest.raises(UserError, match="Is a directory"):
        read_document(tmp_path)


def test_equal_graphs_give_equal_text_whatever_the_order() -> None:
    measures = {v: VCpuMeasure(capacity=v) for v in range(4)}
    pairs = {
        (0, 1): PairMeasure(Relation.LLC, Origin.MEASURED, 40.0),
        (3, 2): PairMeasure(Relation.LLC, Origin.MEASURED, 41.0),
    }
    snapshot = Snapshot(Origin.MEASURED, settings={"b_ms": 1.0, "a_ms": 2.0})
    one = VCpuGraph(flat(4), snapshot=snapshot, measures=measures, pairs=pairs)
    swapped = Snapshot(Origin.MEASURED, settings={"a_ms": 2.0, "b_ms": 1.0})
    other = VCpuGraph(
        dict(reversed(flat(4).items())),
        snapshot=swapped,
        measures=dict(reversed(measures.items())),
        pairs={(b, a): pair for (a, b), pair in reversed(pairs.items())},
    )
    assert document_text(one) == document_text(other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.data())
def test_no_change_of_a_document_is_a_traceback(data: st.DataObject) -> None:
    """Any value anywhere in the place of another: a graph, or a message."""
    graph = rcvm()
    changed: Any = json.loads(document_text(graph, watches(graph, length_ms=20)))
    at = changed
    for _ in range(data.draw(st.integers(0, 3))):
        keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
        inner = [key for key in keys if isinstance(at[key], dict | list) and at[key]]
        if not inner:
            break
        at = at[data.draw(st.sampled_from(inner))]
    keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
    other = st.sampled_from([at[key] for key in keys]) | JSON
    at[data.draw(st.sampled_from(keys))] = data.draw(other)
    try:
        read = parse_document(json.dumps(changed))
    except UserError as error:
        assert error.message.startswith("the document")
    else:
        text = document_text(read.graph, read.availability)
        again = parse_document(text)
        assert again.graph == read.graph
        assert document_text(again.graph, again.availability) == text
