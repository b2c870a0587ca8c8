"""The outcome of `vm accuracy` as Markdown and as a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scx_vsched.vm.lab.accuracy_records import Accuracy, Overhead, ShareSample, StackProbe

__all__ = [
    "AWAY_ERROR",
    "LONGEST_AWAY_NS",
    "WORST_ERROR",
    "Summary",
    "as_markdown",
    "away_error",
    "insert",
    "reached",
    "summarize",
]

MEAN_ERROR, WORST_ERROR = 0.04, 0.08  # of a share
AWAY_ERROR = 0.15  # of a mean absence, relative
BUSY_OVERHEAD, IDLE_DUTY = 0.005, 0.02  # of a vCPU
BEGIN, END = "<!-- accuracy: begin -->", "<!-- accuracy: end -->"
_MS = 1e6
# Absences that are judged: the range that has to be reached, with room for blur at its ends.
SHORTEST_AWAY_NS, LONGEST_AWAY_NS = 1.9 * _MS, 21 * _MS


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


def away_error(sample: ShareSample) -> float | None:
    """The relative error of the mean absence, where that is within the range to be judged."""
    inside = SHORTEST_AWAY_NS <= sample.true_away_ns <= LONGEST_AWAY_NS
    if not inside or sample.estimate_away_ns is None:
        return None
    return sample.estimate_away_ns / sample.true_away_ns - 1


def summarize(samples: Sequence[ShareSample], busy: bool) -> Summary:
    """The errors of the samples of busy vCPUs, or of idle ones."""
    chosen = [each for each in samples if each.busy == busy]
    errors = [abs(each.estimate - each.true) for each in chosen if each.estimate is not None]
    aways = [abs(error) for each in chosen if (error := away_error(each)) is not None]
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
    costs = all(within_budget(each) for each in found.overheads)
    return shares and stacks and costs and not found.problems


def within_budget(found: Overhead) -> bool:
    """Whether the probers cost no more than they may."""
    return _cost(found) <= (BUSY_OVERHEAD if found.busy else IDLE_DUTY)


def _cost(found: Overhead) -> float:
    """What counts: the probers' CPU time, on idle vCPUs all that the host ran them more."""
    if found.busy or found.ran is None or found.ran_without is None:
        return found.probers
    return max(found.probers, found.ran - found.ran_without)


def as_markdown(found: Accuracy, picture: str = "") -> str:
    """The section for docs/probing.md; `picture` is the picture's path as a link has it."""
    lines = [BEGIN, "", f"Measured in: {'; '.join(found.where)}.", ""]
    lines += [*_bounds_table(found), ""]
    if picture:
        lines += [f"![Estimated against true share and absence]({picture})", ""]
    for busy in (True, False):
        samples = [each for each in found.samples if each.busy == busy]
        if not samples:
            continue
        lines += [
            f"### {_word(busy).capitalize()} vCPUs",
            "",
            *_table(samples),
            "",
            _sentence(summarize(samples, busy)),
        ]
        lines += [""]
    if found.stacks:
        lines += ["### Stacks", "", *_stack_table(found.stacks), ""]
    if found.overheads:
        lines += ["### Overhead", "", *_overhead_table(found.overheads), ""]
    lines += [f"- Not measured: {problem}" for problem in found.problems]
    return "\n".join([*lines, END, ""])


def _bounds_table(found: Accuracy) -> list[str]:
    """Each bound and what was reached of it."""
    lines = ["| Bound | Reached | Kept |", "|---|---|---|"]
    for busy in dict.fromkeys(each.busy for each in found.samples):
        summary, word = summarize(found.samples, busy), _word(busy)
        mean, worst = summary.mean_error, summary.worst_error
        if mean is not None and worst is not None:
            kept = mean <= MEAN_ERROR and worst <= WORST_ERROR and not summary.missing
            lines.append(
                f"| shares of {word} vCPUs: mean error ≤ {MEAN_ERROR}, worst ≤ {WORST_ERROR} "
                f"| {mean:.3f}, {worst:.3f} | {_verdict(kept)} |"
            )
        lines.append(
            f"| mean absences of {word} vCPUs within {AWAY_ERROR:.0%} "
            f"| {summary.aways_within} of {summary.aways} "
            f"| {_verdict(summary.aways == summary.aways_within > 0)} |"
        )
    for busy in dict.fromkeys(each.busy for each in found.stacks):
        stacked = [each for each in found.stacks if each.busy == busy and each.true]
        alone = [each for each in found.stacks if each.busy == busy and not each.true]
        seen = sum(set(each.found) == set(each.true) for each in stacked)
        false = sum(bool(each.found) for each in alone)
        if stacked:
            lines.append(
                f"| stacks of {_word(busy)} vCPUs always found | {seen} of {len(stacked)} "
                f"| {_verdict(seen == len(stacked))} |"
            )
        if alone:
            lines.append(
                f"| no false stack of {_word(busy)} vCPUs | {false} in {len(alone)} probes "
                f"| {_verdict(not false)} |"
            )
    for each in found.overheads:
        most = BUSY_OVERHEAD if each.busy else IDLE_DUTY
        lines.append(
            f"| ≤ {most:.1%} of {_article(each.busy)} vCPU, {_place(each)} | {_cost(each):.2%} "
            f"| {_verdict(within_budget(each))} |"
        )
    return lines


def _verdict(kept: bool) -> str:
    return "yes" if kept else "**no**"


def _word(busy: bool) -> str:
    return "busy" if busy else "idle"


def _article(busy: bool) -> str:
    return "a busy dedicated" if busy else "an idle"


def _place(found: Overhead) -> str:
    return "this machine itself" if found.ran is None else "in a VM"


def _table(samples: Sequence[ShareSample]) -> list[str]:
    lines = [
        "| vCPU | share asked | host truth | estimate | error | mean absence, true | estimate "
        "| error | host load |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for each in sorted(samples, key=lambda sample: (sample.about != "share", sample.true)):
        said, error, away_said, away_off = "-", "-", "-", "-"
        if each.estimate is not None:
            said, error = f"{each.estimate:.3f}", f"{each.estimate - each.true:+.3f}"
        if each.estimate_away_ns is not None:
            away_said = f"{each.estimate_away_ns / _MS:.2f} ms"
        relative = away_error(each)
        if relative is not None:
            away_off = f"{relative:+.0%}"
        lines.append(
            f"| {each.vcpu} | {each.asked:.2f} | {each.true:.3f} | {said} | {error} "
            f"| {each.true_away_ns / _MS:.2f} ms | {away_said} | {away_off} | {each.load:.1f} |"
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
        "| stacked | guest | probes | found exactly | missed | false stacks | pair probes "
        "| median time |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in dict.fromkeys((each.phase, each.busy) for each in probes):
        group = [each for each in probes if (each.phase, each.busy) == kind]
        true = set(group[0].true)
        exact = sum(set(each.found) == true for each in group)
        missed = sum(not true <= set(each.found) for each in group)
        false = sum(bool(set(each.found) - true) for each in group)
        times = sorted(each.seconds for each in group)
        most = max(each.pair_probes for each in group)
        sets = " ".join("{" + ", ".join(map(str, each)) + "}" for each in group[0].true) or "none"
        lines.append(
            f"| {sets} | {_word(kind[1])} | {len(group)} | {exact} | {missed} | {false} "
            f"| at most {most} | {times[len(times) // 2]:.2f} s |"
        )
    return lines


def _overhead_table(overheads: Sequence[Overhead]) -> list[str]:
    lines = [
        "| dedicated vCPUs | time | CPU time of the probers | host ran the vCPUs | without probers "
        "| at most |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for each in overheads:
        most = BUSY_OVERHEAD if each.busy else IDLE_DUTY
        ran, without = (
            "-" if part is None else f"{part:.2%}" for part in (each.ran, each.ran_without)
        )
        lines.append(
            f"| {each.vcpus}, {_word(each.busy)}, {_place(each)} | {each.seconds:.0f} s "
            f"| {each.probers:.2%} | {ran} | {without} | {most:.1%} |"
        )
    return lines


def insert(page: str, section: str) -> str:
    """`page` with the part between the marks replaced by `section`, which is added without any."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return page.rstrip("\n") + "\n\n" + section if page.strip() else section
    return before + section.rstrip("\n") + after
