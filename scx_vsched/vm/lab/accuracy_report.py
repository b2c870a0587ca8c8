"""The outcome of `vm accuracy` as Markdown, as a verdict, and as a picture."""

# ruff: noqa: PLC0415 - matplotlib is needed for the picture only

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scx_vsched.vm.lab.accuracy import Accuracy, ShareSample, StackProbe

__all__ = ["Summary", "as_markdown", "draw", "insert", "reached", "summarize"]

MEAN_ERROR, WORST_ERROR = 0.04, 0.08  # of a share
AWAY_ERROR = 0.15  # of a mean absence, relative
BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
_MS = 1e6
_AWAY_FROM_NS, _AWAY_TO_NS = 1.9 * _MS, 21 * _MS


@dataclass(frozen=True, slots=True)
class Summary:
    """Errors over all vCPUs and patterns of one kind; None where nothing was measured.

    Shares: mean and worst absolute error. Absences: worst relative error and how many of
    `aways` were within `AWAY_ERROR`. `missing` counts vCPUs of which the prober said nothing.
    """

    busy: bool
    mean_error: float | None
    worst_error: float | None
    worst_away_error: float | None
    aways: int
    aways_within: int
    missing: int

    @property
    def ok(self) -> bool:
        """Whether all that was to be reached was."""
        return (
            self.mean_error is not None
            and self.worst_error is not None
            and self.mean_error <= MEAN_ERROR
            and self.worst_error <= WORST_ERROR
            and self.aways == self.aways_within > 0
            and not self.missing
        )


def _away_error(sample: ShareSample) -> float | None:
    """The relative error of the mean absence, where that is within the range to be judged."""
    inside = _AWAY_FROM_NS <= sample.true_away_ns <= _AWAY_TO_NS
    if not inside or sample.estimate_away_ns is None:
        return None
    return sample.estimate_away_ns / sample.true_away_ns - 1


def summarize(samples: Sequence[ShareSample], busy: bool) -> Summary:
    """The errors of the samples of busy vCPUs, or of idle ones."""
    chosen = [each for each in samples if each.busy == busy]
    errors = [abs(each.estimate - each.true) for each in chosen if each.estimate is not None]
    aways = [abs(error) for each in chosen if (error := _away_error(each)) is not None]
    return Summary(
        busy,
        sum(errors) / len(errors) if errors else None,
        max(errors, default=None),
        max(aways, default=None),
        len(aways),
        sum(error <= AWAY_ERROR for error in aways),
        len(chosen) - len(errors),
    )


def reached(found: Accuracy) -> bool:
    """Whether everything measured is as good as it has to be, and everything was measured."""
    kinds = {each.busy for each in found.samples}
    shares = all(summarize(found.samples, busy).ok for busy in kinds)
    stacks = all(set(each.found) == set(each.true) for each in found.stacks)
    return shares and stacks and not found.problems


def as_markdown(found: Accuracy, picture: str = "") -> str:
    """The section for docs/probing.md; `picture` is the picture's path as a link has it."""
    lines = [BEGIN, "", f"Measured in VMs: {'; '.join(found.where)}.", ""]
    if picture:
        lines += [f"![Estimated against true share and absence]({picture})", ""]
    for busy in (True, False):
        samples = [each for each in found.samples if each.busy == busy]
        if not samples:
            continue
        word = "Busy" if busy else "Idle"
        lines += [
            f"### {word} vCPUs",
            "",
            *_table(samples),
            "",
            _sentence(summarize(samples, busy)),
        ]
        lines += [""]
    if found.stacks:
        lines += ["### Stacks", "", *_stack_table(found.stacks), ""]
    lines += [f"- Not measured: {problem}" for problem in found.problems]
    return "\n".join([*lines, END, ""])


def _table(samples: Sequence[ShareSample]) -> list[str]:
    lines = [
        "| vCPU | share asked | host truth | estimate | error | mean absence, true | estimate "
        "| error | host load |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in sorted(samples, key=lambda sample: (sample.about != "share", sample.true)):
        said, error, away_said, away_error = "-", "-", "-", "-"
        if each.estimate is not None:
            said, error = f"{each.estimate:.3f}", f"{each.estimate - each.true:+.3f}"
        if each.estimate_away_ns is not None:
            away_said = f"{each.estimate_away_ns / _MS:.2f} ms"
        relative = _away_error(each)
        if relative is not None:
            away_error = f"{relative:+.0%}"
        lines.append(
            f"| {each.vcpu} | {each.asked:.2f} | {each.true:.3f} | {said} | {error} "
            f"| {each.true_away_ns / _MS:.2f} ms | {away_said} | {away_error} | {each.load:.1f} |"
        )
    return lines


def _sentence(summary: Summary) -> str:
    if summary.mean_error is None or summary.worst_error is None:
        return "Nothing was measured."
    text = (
        f"Shares: mean absolute error {summary.mean_error:.3f} (to be at most {MEAN_ERROR}), "
        f"worst {summary.worst_error:.3f} (at most {WORST_ERROR})."
    )
    if summary.worst_away_error is not None:
        text += (
            f" Mean absence: {summary.aways_within} of {summary.aways} within {AWAY_ERROR:.0%}, "
            f"worst {summary.worst_away_error:.0%}."
        )
    if summary.missing:
        text += f" Of {summary.missing} vCPUs the prober said nothing."
    return text


def _stack_table(probes: Sequence[StackProbe]) -> list[str]:
    lines = [
        "| stacked | probes | found exactly | missed | false stacks | pair probes | median time |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in dict.fromkeys(each.phase for each in probes):
        group = [each for each in probes if each.phase == name]
        true = set(group[0].true)
        exact = sum(set(each.found) == true for each in group)
        missed = sum(not true <= set(each.found) for each in group)
        false = sum(bool(set(each.found) - true) for each in group)
        times = sorted(each.seconds for each in group)
        most = max(each.pair_probes for each in group)
        sets = " ".join("{" + ", ".join(map(str, each)) + "}" for each in group[0].true) or "none"
        lines.append(
            f"| {sets} | {len(group)} | {exact} | {missed} | {false} | at most {most} "
            f"| {times[len(times) // 2]:.2f} s |"
        )
    return lines


def insert(page: str, section: str) -> str:
    """`page` with the part between the marks replaced by `section`, which is added without any."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return page.rstrip("\n") + "\n\n" + section if page.strip() else section
    return before + section.rstrip("\n") + after


def draw(found: Accuracy, path: Path) -> None:
    """Estimates against truth as two scatter plots; SVG or PNG by the end of the name.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("pictures need matplotlib", "pip install 'scx_vsched[plot]'") from None
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    shares, aways = figure.subplots(1, 2)
    for busy, color, marker in ((True, "#1f6fb4", "o"), (False, "#d9822b", "s")):
        label = "busy vCPU" if busy else "idle vCPU"
        chosen = [each for each in found.samples if each.busy == busy]
        pairs = [(each.true, each.estimate) for each in chosen if each.estimate is not None]
        shares.scatter(*_columns(pairs), c=color, marker=marker, s=26, label=label, alpha=0.85)
        pairs = [
            (each.true_away_ns / _MS, each.estimate_away_ns / _MS)
            for each in chosen
            if each.estimate_away_ns is not None and _away_error(each) is not None
        ]
        aways.scatter(*_columns(pairs), c=color, marker=marker, s=26, label=label, alpha=0.85)
    line = (0.0, 1.0)
    shares.plot(line, line, color="#777777", linewidth=0.8)
    shares.fill_between(
        line,
        [each - WORST_ERROR for each in line],
        [each + WORST_ERROR for each in line],
        color="#777777",
        alpha=0.15,
        label=f"± {WORST_ERROR:g}",
    )
    shares.set(xlabel="share that the host gave", ylabel="share estimated", xlim=line, ylim=line)
    line = (0.0, _AWAY_TO_NS / _MS)
    aways.plot(line, line, color="#777777", linewidth=0.8)
    aways.fill_between(
        line,
        [each * (1 - AWAY_ERROR) for each in line],
        [each * (1 + AWAY_ERROR) for each in line],
        color="#777777",
        alpha=0.15,
        label=f"± {AWAY_ERROR:.0%}",
    )
    aways.set(xlabel="mean absence on the host, ms", ylabel="estimated, ms", xlim=line, ylim=line)
    for axes in (shares, aways):
        axes.set_aspect("equal")
        axes.legend(frameon=False, loc="upper left")
    try:
        # Without a date the same figure gives the same bytes.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot write {path}: {error}", "end its name in .svg or .png") from None


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]
