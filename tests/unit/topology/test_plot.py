"""Pictures: they show what matters, are the same each time, and refuse what cannot be drawn."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcpu_graphs import flat, hpvm, large, rcvm, watches

from scx_vsched.errors import UserError
from scx_vsched.topology.graph import VCpuGraph
from scx_vsched.topology.measure import Origin, Snapshot
from scx_vsched.topology.plot import Picture, draw, save
from scx_vsched.topology.plot.activity import running
from scx_vsched.topology.plot.style import STACKED, STRAGGLER
from scx_vsched.topology.records import Availability, Gap

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

GRAPHS = {
    "rcvm": rcvm(),
    "hpvm": hpvm(),
    "large": large(96),
    "claimed": VCpuGraph(hpvm().domains, snapshot=Snapshot(Origin.CLAIMED)),
    "one": VCpuGraph(flat(1), snapshot=Snapshot(Origin.CLAIMED)),
}


def words(figure: Figure, *, saved: bool = False) -> set[str]:
    """All texts of a picture; those of axes are there once it was drawn or saved."""
    from matplotlib.text import Text  # noqa: PLC0415

    if not saved:
        figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text) if text.get_visible()}


@pytest.mark.parametrize("what", Picture)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_picture_of_every_graph(what: Picture, name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]
    kind, magic = ("svg", b"<?xml") if name in {"hpvm", "one"} else ("png", b"\x89PNG")
    path = tmp_path / f"picture.{kind}"
    save(draw(what, graph, watches(graph)), path)
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("what", Picture)
def test_stacked_pair_and_stragglers_catch_the_eye(what: Picture, tmp_path: Path) -> None:
    graph = rcvm()
    path = tmp_path / "picture.svg"
    figure = draw(what, graph, watches(graph))
    save(figure, path)
    colors = path.read_text()
    assert STACKED in colors
    assert STRAGGLER in colors
    assert any("stacked" in text for text in words(figure, saved=True))
    assert any("straggler" in text for text in words(figure, saved=True))
    calm = hpvm()
    save(draw(what, calm, watches(calm)), path)
    assert STACKED not in path.read_text()
    assert STRAGGLER not in path.read_text()


@pytest.mark.parametrize(
    ("what", "kind"), [*((what, "svg") for what in Picture), (Picture.TREE, "png")]
)
def test_pictures_are_the_same_each_time(what: Picture, kind: str, tmp_path: Path) -> None:
    graph = rcvm()
    texts = []
    for name in ("one", "other"):
        path = tmp_path / f"{name}.{kind}"
        save(draw(what, graph, watches(graph)), path)
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]
    assert not re.search(rb"dc:date|tEXt", texts[0])


def test_matrix_of_few_vcpus_says_each_latency() -> None:
    said = words(draw(Picture.MATRIX, rcvm()))
    assert "5.8" in said
    assert any(re.fullmatch(r"\(4\d\)", text) for text in said)
    assert {str(vcpu) for vcpu in range(12)} <= said
    assert {"ns, one way", "capacity (of 1024)"} <= said


def test_matrix_of_many_vcpus_thins_labels_but_keeps_stacked_ones() -> None:
    graph = large(512)
    figure = draw(Picture.MATRIX, graph)
    figure.canvas.draw()
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) < 130
    assert {",".join(map(str, stack)) for stack in graph.stacks()} <= set(labels)


@pytest.mark.parametrize("count", [4, 32, 200])
def test_labels_of_the_matrix_do_not_overlap(count: int) -> None:
    graph = (
        large(count) if count >= 64 else VCpuGraph(flat(count), snapshot=Snapshot(Origin.CLAIMED))
    )
    figure = draw(Picture.MATRIX, graph)
    figure.canvas.draw()
    labels = figure.axes[0].get_yticklabels()
    boxes = sorted((t.get_window_extent().y0, t.get_window_extent().y1) for t in labels)
    assert len(boxes) > 3
    assert all(low[1] <= high[0] + 1 for low, high in itertools.pairwise(boxes))


def test_tree_shows_told_beside_measured_where_they_differ() -> None:
    assert {"told", "measured"} <= words(draw(Picture.TREE, rcvm()))
    assert "told" not in words(draw(Picture.TREE, hpvm()))
    assert "told: 1 node, 1 socket, 1 LLC, 128 cores" in words(draw(Picture.TREE, large(128)))


def test_activity_says_the_share_that_each_vcpu_ran() -> None:
    graph = VCpuGraph(flat(2), snapshot=Snapshot(Origin.MEASURED))
    seen = [
        Availability(0, 1000, 2000, (Gap(1200, 300), Gap(1900, 500)), 0, 0, 0),
        Availability(1, 1000, 2000, (), 0, 0, 0),
    ]
    assert {"60%", "100%"} <= words(draw(Picture.ACTIVITY, graph, seen))


def test_activity_without_records_is_refused() -> None:
    with pytest.raises(UserError, match="no activity to draw"):
        draw(Picture.ACTIVITY, rcvm())


@given(
    st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 400)), max_size=12),
)
def test_running_times_are_what_gaps_leave(gaps: list[tuple[int, int]]) -> None:
    watch = Availability(0, 100, 1100, tuple(Gap(*gap) for gap in gaps), 0, 0, 0)
    away = {t for start, length in gaps for t in range(start, start + length)}
    expected = {t for t in range(100, 1100) if t not in away}
    times = running(watch)
    assert {t for start, end in times for t in range(start, end)} == expected
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


@pytest.mark.parametrize("kind", ["gif", "", "pdf", "svgz"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"out.{kind}"
    with pytest.raises(UserError, match=r"ends in \.svg or \.png"):
        save(draw(Picture.TREE, GRAPHS["one"]), path)
    assert not path.exists()


def test_unwritable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent/out.svg: No such file"):
        save(draw(Picture.TREE, GRAPHS["one"]), tmp_path / "absent/out.svg")


def test_without_matplotlib_the_way_to_get_it_is_said() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from scx_vsched.errors import UserError\n"
        "from scx_vsched.topology.claimed import claimed_graph\n"
        "from scx_vsched.topology.plot import Picture, draw\n"
        "try:\n"
        "    draw(Picture.TREE, claimed_graph())\n"
        "except UserError as error:\n"
        "    print(error.message, error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "pictures need matplotlib pip install 'scx_vsched[plot]'\n"
