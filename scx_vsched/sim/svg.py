"""A timeline as a static SVG: one row a vCPU, with the times at which the host kept it away."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scx_vsched.sim.timeline import Move, Timeline

    type _Scale = Callable[[int], float]

__all__ = ["timeline_svg"]

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 1200, 76, 28, 46, 26, 16
# Okabe and Ito's colours, told apart by everyone, then tints of them for further tasks.
_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#5b5b9a",
    "#8c564b", "#66a61e", "#a6761d", "#7570b3",
)  # fmt: skip
_MAX_MOVES = 400  # beyond that the lines hide what they show
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def timeline_svg(spans: Timeline, title: str) -> str:
    """The picture as text; the same for the same spans."""
    rows = len(spans.running)
    height = _TOP + rows * _ROW + 56
    scale = (_WIDTH - _LEFT - _RIGHT) / (spans.end_ns - spans.start_ns)

    def x(at_ns: int) -> float:
        return _LEFT + (at_ns - spans.start_ns) * scale

    def y(vcpu: int) -> float:
        return _TOP + vcpu * _ROW

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    out += _axis(spans, rows, x)
    for vcpu in range(rows):
        top = y(vcpu)
        out.append(f'<text x="{_LEFT - 8}" y="{top + 13}" text-anchor="end">vCPU {vcpu}</text>')
        out.append(
            f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_BAR}" '
            'fill="#f2f2f2"/>'
        )
        for span in spans.running[vcpu]:
            colour = _COLOURS[(span.pid or 0) % len(_COLOURS)]
            width = max((span.end_ns - span.start_ns) * scale, 0.4)
            out.append(
                f'<rect x="{x(span.start_ns):.2f}" y="{top}" width="{width:.2f}" '
                f'height="{_BAR}" fill="{colour}"><title>task {span.pid}, '
                f"{(span.end_ns - span.start_ns) / 1e6:.3f} ms</title></rect>"
            )
        out += _away(spans, vcpu, top, x)
    out += _moves(spans, x, y)
    out += _legend(spans, _TOP + rows * _ROW + 44)
    out.append("</svg>\n")
    return "\n".join(out)


def _axis(spans: Timeline, rows: int, x: _Scale) -> list[str]:
    length_ms = (spans.end_ns - spans.start_ns) / 1e6
    step = next((s for s in _STEPS if length_ms / s <= 14), _STEPS[-1])
    bottom = _TOP + rows * _ROW
    lines = []
    first = -(-spans.start_ns // (step * 1_000_000)) * step
    for ms in range(int(first), int(spans.end_ns // 1_000_000) + 1, step):
        at = x(ms * 1_000_000)
        lines.append(
            f'<line x1="{at:.1f}" y1="{_TOP - 6}" x2="{at:.1f}" y2="{bottom}" stroke="#ddd"/>'
            f'<text x="{at:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#555">{ms} ms</text>'
        )
    return lines


def _away(spans: Timeline, vcpu: int, top: float, x: _Scale) -> list[str]:
    """Dark over a task that is on its vCPU while the host keeps that away."""
    lines = []
    hosted = spans.hosted[vcpu]
    for task in spans.running[vcpu]:
        at = task.start_ns
        for span in [*(s for s in hosted if s.end_ns > task.start_ns), None]:
            until = task.end_ns if span is None else min(span.start_ns, task.end_ns)
            if until > at:
                lines.append(
                    f'<rect x="{x(at):.2f}" y="{top}" width="{x(until) - x(at):.2f}" '
                    f'height="{_BAR}" fill="black" fill-opacity="0.62"/>'
                )
            if span is None or span.start_ns >= task.end_ns:
                break
            at = max(at, span.end_ns)
            if at >= task.end_ns:
                break
    return lines


def _moves(spans: Timeline, x: _Scale, y: _Scale) -> list[str]:
    if len(spans.moves) > _MAX_MOVES:
        return []
    return [
        f'<line x1="{x(m.at_ns):.2f}" y1="{y(m.source) + _BAR / 2}" x2="{x(m.at_ns):.2f}" '
        f'y2="{y(m.target) + _BAR / 2}" stroke="#c00" stroke-width="0.7" stroke-opacity="0.6"/>'
        f'<circle cx="{x(m.at_ns):.2f}" cy="{y(m.target) + _BAR / 2}" r="1.8" fill="#c00">'
        f"<title>{_told(m)}</title></circle>"
        for m in spans.moves
    ]


def _told(move: Move) -> str:
    why = f", {move.why}" if move.why else ""
    return f"task {move.pid}: vCPU {move.source} to {move.target}{why}"


def _legend(spans: Timeline, y: float) -> list[str]:
    shown = len(spans.moves) <= _MAX_MOVES
    moves = "a task moves to the dot (why: point at it)"
    if not shown:
        moves = f"{len(spans.moves):,} migrations, not drawn"
    symbol = (
        f'<line x1="{_LEFT + 592}" y1="{y - 12}" x2="{_LEFT + 592}" y2="{y}" stroke="#c00"/>'
        f'<circle cx="{_LEFT + 592}" cy="{y}" r="2.5" fill="#c00"/>'
    )
    return [
        f'<rect x="{_LEFT}" y="{y - 10}" width="22" height="11" fill="{_COLOURS[0]}"/>'
        f'<text x="{_LEFT + 28}" y="{y}">a task runs (a colour each)</text>'
        f'<rect x="{_LEFT + 210}" y="{y - 10}" width="22" height="11" fill="{_COLOURS[0]}"/>'
        f'<rect x="{_LEFT + 210}" y="{y - 10}" width="22" height="11" fill="black" '
        'fill-opacity="0.62"/>'
        f'<text x="{_LEFT + 238}" y="{y}">it waits: the host keeps its vCPU away</text>'
        f'<rect x="{_LEFT + 490}" y="{y - 10}" width="22" height="11" fill="#f2f2f2"/>'
        f'<text x="{_LEFT + 518}" y="{y}">idle</text>'
        f"{symbol if shown else ''}"
        f'<text x="{_LEFT + 604}" y="{y}">{moves}</text>'
    ]
