"""The report of a study as Markdown: the thesis's figures again, and what goes beyond them.

Every number comes from the runs; the verdicts follow from intervals alone. Why a difference is
there is said by taking it apart: who waited, how many moves there were, how large each was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scx_vsched.cluster.claims import (
    MACHINES_CLAIM,
    RATIO_CLAIM,
    Claim,
    Judged,
    Verdict,
    judge,
)
from scx_vsched.cluster.compare import Comparison, Estimate, difference
from scx_vsched.cluster.report import COLUMNS, estimate_text
from scx_vsched.cluster.study import COARSE, FINE, NONE, PRICED, Study
from scx_vsched.numa.policies import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scx_vsched.cluster.sweep import Outcome

__all__ = ["PICTURE_TITLES", "study_markdown"]

PICTURE_TITLES = {
    "cpu": "Mean CPU over time",
    "gini": "Gini of the machines' CPU over time",
    "bytes-moved": "Memory moved over time",
    "policies": "All policies",
    "machines": "On 700 to 900 machines",
    "ratio": "Allocation ratios",
    "frontier": "Balance against bytes",
    "cell-size": "Cell sizes",
    "period": "Balance periods",
}
_GIB = 1 << 30
_MOST_TO_FIRST = 0.9  # "nearly all"
_BETTER = {"cpu": 1, "gini": -1, "overcommit": -1, "delay_s": -1, "bytes_moved": -1}


def study_markdown(study: Study, head: str, pictures: Mapping[str, str]) -> str:
    """The whole report; `head` says what was simulated and how, `pictures` has paths by name."""

    def picture(name: str) -> str:
        return f"![{PICTURE_TITLES[name]}]({pictures[name]})"

    base = study.comparison("base")
    parts = [
        "# The thesis's simulation again",
        head,
        "## CPU, Gini, overcommitment, network (the thesis's figures 5-4 to 5-8)",
        *map(picture, ("policies", "cpu", "gini", "bytes-moved")),
        _policy_table(base, COLUMNS),
        _claims(judge(base), base),
        _to_first(base),
        "## Machines",
        picture("machines"),
        _swept_claims(study, "machines", MACHINES_CLAIM, "fine beats coarse"),
        "## Allocation ratio",
        picture("ratio"),
        _swept_claims(study, "ratio", RATIO_CLAIM, "coarse beats fine"),
        "### Why coarse may beat fine",
        _open_question(study),
        "## Beyond: priced",
        picture("frontier"),
        _beyond(base),
        "## Cell size",
        picture("cell-size"),
        _best(study, "cell size", str),
        "## Balance period",
        picture("period"),
        _best(study, "period", lambda steps: f"{steps * study.base.step_s / 60:g} min"),
        "## A network of finite bandwidth",
        _links(study),
        "## Machines as the trace has them",
        _policy_table(study.comparison("own capacities"), COLUMNS),
    ]
    return "\n\n".join(parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = "|---|" + "---:|" * (len(heads) - 1)
    lines = (f"| {' | '.join(cells)} |" for cells in (heads, *rows))
    first, *rest = lines
    return "\n".join((first, rule, *rest))


def _policy_table(found: Comparison[Outcome], columns: Mapping[str, tuple[str, float, int]]) -> str:
    return _table(
        ("policy", *(head for head, _, _ in columns.values())),
        (
            (
                str(policy),
                *(
                    estimate_text(found.mean(policy, metric), scale, digits)
                    for metric, (_, scale, digits) in columns.items()
                ),
            )
            for policy in found.runs
        ),
    )


def _claims(judged: Sequence[Judged], found: Comparison[Outcome]) -> str:
    heads = ("the thesis says", "difference here", "verdict", "which comes of")
    return _table(
        heads,
        (
            (
                f"{COLUMNS[one.claim.metric][0]}: {one.claim.less} < {one.claim.more}",
                _signed(one.difference, one.claim.metric),
                str(one.verdict),
                _comes_of(one.claim, found),
            )
            for one in judged
        ),
    )


def _signed(found: Estimate, metric: str) -> str:
    _, scale, digits = COLUMNS[metric]
    return estimate_text(found, scale, digits + 1 if digits else 0, sign="+")


def _comes_of(claim: Claim, found: Comparison[Outcome]) -> str:
    """A difference in what it is made of, `more` against `less`."""
    if claim.metric == "cpu":
        waits = found.difference(claim.more, claim.less, "wait_s")
        ended = found.difference(claim.more, claim.less, "finished")
        return f"wait {_signed(waits, 'wait_s')} s, finished {_signed(ended, 'finished')}"
    moves, size = _ratio(found, claim, "moves"), _ratio(found, claim, "bytes_moved")
    if moves is None or size is None:
        return "one of them moves nothing"
    return f"{moves:.2f} times the moves, each {size / moves:.2f} times the bytes"


def _ratio(found: Comparison[Outcome], claim: Claim, metric: str) -> float | None:
    less = found.mean(claim.less, metric).mean
    more = found.mean(claim.more, metric).mean
    return more / less if less and more else None


def _to_first(found: Comparison[Outcome]) -> str:
    rows = []
    for policy in found.runs:
        moves, first = found.values(policy, "moves"), found.values(policy, "moved_first")
        if policy.kind is not Kind.SORTED or not all(moves):
            continue
        share = difference([one / all_ for one, all_ in zip(first, moves, strict=True)],
                           [_MOST_TO_FIRST] * len(moves))  # fmt: skip
        verdict = Verdict.OPEN
        if share.sure:
            verdict = Verdict.AGREES if share.mean > 0 else Verdict.DIFFERS
        shown = Estimate(share.mean + _MOST_TO_FIRST, share.half_width)
        rows.append((str(policy), estimate_text(shown, 100, 1), str(verdict)))
    return "The thesis: nearly all goes to the least loaded node (here: more than 90 %).\n\n" + (
        _table(("policy", "moves to the least loaded, %", "verdict"), rows)
    )


def _swept_claims(study: Study, name: str, claim: Claim, text: str) -> str:
    rows = []
    for value in study.values(name):
        found = study.comparison(name, value)
        [one] = judge(found, [claim])
        rows.append(
            (
                f"{value:,}",
                _signed(one.difference, claim.metric),
                str(one.verdict),
                _comes_of(claim, found),
                estimate_text(found.mean(NONE, "wait_s"), 1, 0),
            )
        )
    heads = (
        name,
        f"CPU %, {claim.more} less {claim.less}",
        "verdict",
        "which comes of",
        "wait of no_migration, s",
    )
    return f"The thesis: {text}, here in mean CPU.\n\n" + _table(heads, rows)


def _open_question(study: Study) -> str:
    rows = []
    for value in study.values("ratio"):
        found = study.comparison("ratio", value)
        alone = study.comparison("one target", value)
        free = study.comparison("cell queue", value)
        cpu = [one.values(policy, "cpu") for one, policy in ((found, COARSE), (alone, FINE))]
        rows.append(
            (
                f"{value:,}",
                _signed(found.difference(COARSE, FINE, "cpu"), "cpu"),
                _signed(difference(cpu[0], cpu[1]), "cpu"),
                _signed(free.difference(COARSE, FINE, "cpu"), "cpu"),
                estimate_text(found.mean(NONE, "wait_s"), 1, 0),
                estimate_text(free.mean(NONE, "wait_s"), 1, 0),
            )
        )
    heads = (
        "ratio",
        "coarse less fine",
        "… if fine has one target, so one source more",
        "… if a task may start anywhere in its cell",
        "wait, s",
        "wait, start anywhere, s",
    )
    text = (
        "Mean CPU in points. Coarse has one target and takes from all other nodes of a cell; fine "
        "has two targets and two sources. If that is why, the third column loses the difference. "
        "If it is that tasks wait for one machine while another of the cell has room, the fourth "
        "does."
    )
    return text + "\n\n" + _table(heads, rows)


def _beyond(found: Comparison[Outcome]) -> str:
    rows = []
    for policy in found.runs:
        if policy in {NONE, PRICED}:
            continue
        differences = {metric: found.difference(PRICED, policy, metric) for metric in _BETTER}
        rows.append(
            (
                str(policy),
                *(_signed(one, metric) for metric, one in differences.items()),
                _beats(differences),
            )
        )
    text = (
        "Priced less each other policy. It beats one if it surely moves fewer bytes, is surely "
        "better in CPU or Gini, and is surely worse in none of the five."
    )
    heads = ("policy", *(COLUMNS[metric][0] for metric in _BETTER), "priced")
    return text + "\n\n" + _table(heads, rows)


def _beats(differences: Mapping[str, Estimate]) -> str:
    better = {
        name for name, one in differences.items() if one.sure and one.mean * _BETTER[name] > 0
    }
    worse = {name for name, one in differences.items() if one.sure and one.mean * _BETTER[name] < 0}
    if not worse and "bytes_moved" in better and better & {"cpu", "gini"}:
        return "beats it"
    return f"worse in {', '.join(COLUMNS[name][0] for name in sorted(worse))}" if worse else "open"


def _best(study: Study, name: str, shown: Any) -> str:
    """Each policy's best values: those that are not surely worse than the best mean."""
    values = study.values(name)
    found = [study.comparison(name, value) for value in values]
    rows = []
    for policy in found[0].runs:
        cells = []
        for metric, sign in (("gini", -1), ("delay_s", -1), ("bytes_moved", -1)):
            columns = [one.values(policy, metric) for one in found]
            best = max(columns, key=lambda column: sign * sum(column))
            same = [
                shown(value)
                for value, column in zip(values, columns, strict=True)
                if column is best or not difference(column, best).sure
            ]
            cells.append(", ".join(same))
        rows.append((str(policy), *cells))
    heads = ("policy", "least Gini", "least delay", "fewest bytes")
    return "Best, with all that are not surely worse:\n\n" + _table(heads, rows)


def _links(study: Study) -> str:
    rows = []
    for value in study.values("link"):
        found = study.comparison("link", value)
        for policy in found.runs:
            rows.append(
                (
                    "no limit" if value is None else f"{value / _GIB:g}",
                    str(policy),
                    *(
                        estimate_text(found.mean(policy, metric), scale, digits)
                        for metric, scale, digits in (
                            ("following_s", 1, 2),
                            ("delay_s", 1, 1),
                            ("gini", 1, 4),
                            ("bytes_moved", 1 / _GIB, 0),
                        )
                    ),
                )
            )
    heads = ("link, GiB/s", "policy", "pages follow, s", "delay, s", "Gini", "GiB moved")
    return _table(heads, rows)
