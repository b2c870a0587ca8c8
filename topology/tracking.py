"""One vCPU's share over time: smooth while it is steady, at once when it has changed.

An exponential mean alone, with a half-life of two samples (vSched §1), takes seven samples to
follow a step to 90 %. So a sample far outside the noise starts a candidate: the vCPU is looked at
again at once, and when that confirms it, the mean starts anew there. One odd sample is dropped.
What is published moves only when it would matter, and so a steady vCPU causes no new placement.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from statistics import fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_vsched.topology.evidence import ShareSample

__all__ = ["PUBLISH_STEP", "ShareTracker", "Verdict"]

_ALPHA = 1 - 0.5 ** (1 / 2)
# A sample this far from the mean is no noise, whatever the errors claim.
_LEAST_JUMP = 0.04
_JUMP_ERRORS = 4.0
_EXPECTED_ERRORS = 1.0  # of a sample that something else has announced
_AGREE_ERRORS = 2.5
_MOVES = 9
_MOVE_FACTOR = 3.0
_CALM_FACTOR = 1.5
# So many samples in a row that agree are a change; more where errors alone would not tell, and of
# looks that saw too few cycles for an error: noise that comes twice would pass for a change.
_CONFIRMED, _CONFIRMED_SMALL = 2, 3
_FEW_CYCLES = 2
# After so many looks that agree with nothing the newest counts: the share itself is unsteady.
_MAX_LOOKS = 4
# What is published stays while the mean is nearer than this (share), or than its noise explains.
PUBLISH_STEP = 0.03
_PUBLISH_ERRORS = 5.0
# The first samples after a change were few: so many more may correct what was published, finely.
_SETTLES = 4
_SETTLED = 0.01


class Verdict(Enum):
    """What a sample meant."""

    STEADY = "steady"
    SUSPECT = "suspect"  # look again at once
    CHANGED = "changed"


class ShareTracker:
    """The share of one vCPU: `mean` follows the samples, `published` is for the scheduler."""

    def __init__(self) -> None:
        self.mean = 1.0
        self.published = 1.0
        self.samples = 0  # since the last change
        self.changes = 0  # of what is published, the first value apart
        self.steady = 0  # samples in a row without suspicion
        self._error = 0.0  # typical error of a sample
        self._candidates: list[ShareSample] = []
        self._looks = 0
        self._last = 1.0
        self._moves: deque[float] = deque(maxlen=_MOVES)

    @property
    def error(self) -> float:
        """The standard error of `mean`."""
        weight = _ALPHA / (2 - _ALPHA)
        return self._error * math.sqrt(max(weight, 1 / max(self.samples, 1)))

    @property
    def suspect(self) -> bool:
        """Whether the last sample awaits confirmation."""
        return bool(self._candidates)

    def add(self, sample: ShareSample, *, expected: bool = False) -> Verdict:
        """Take in a sample; where a change is `expected`, fewer show it."""
        if not self.samples:
            self._restart(sample.share, sample.error)
            self.published = self._last = sample.share
            return Verdict.CHANGED
        self._moves.append(abs(sample.share - self._last))
        self._last = sample.share
        off = abs(sample.share - self.mean)
        certain = sample.cycles > _FEW_CYCLES
        if expected and off > _tolerance(_EXPECTED_ERRORS, sample.error, self.error):
            return self._doubt(sample, 1 if certain else _CONFIRMED)
        tolerance = _tolerance(_JUMP_ERRORS, sample.error, self.error)
        if off > max(tolerance, self._restless()):
            return self._doubt(sample, _CONFIRMED if certain else _CONFIRMED_SMALL)
        if off > self._calm():
            return self._doubt(sample, _CONFIRMED_SMALL)
        self._candidates = []
        self._follow(sample)
        return Verdict.STEADY

    def accept(self, share: float, error: float) -> None:
        """A change that another source has confirmed."""
        self._change(share, error)

    def _restless(self) -> float:
        """By how much samples may differ on a vCPU whose share never rests.

        The median of the last moves from sample to sample: a single step does not raise it.
        """
        return _MOVE_FACTOR * median(self._moves) if len(self._moves) > _MOVES // 2 else 0.0

    def _calm(self) -> float:
        """By how much samples differ on a vCPU that is so steady that less than errors tell.

        A short look at a quota cannot know how exact it is. One move among the last is left out, as
        the step may be; chance would have moved the samples there and back.
        """
        if len(self._moves) <= _MOVES // 2:
            return math.inf
        return max(_LEAST_JUMP, _CALM_FACTOR * sorted(self._moves)[-2])

    def _doubt(self, sample: ShareSample, needed: int) -> Verdict:
        """Takes in a sample far off; `needed` of those that agree are a change."""
        self.steady = 0
        before = self._candidates
        self._looks = self._looks + 1 if before else 1
        if before and not _agree(sample, before[0]):
            before.clear()
        before.append(sample)
        if len(before) >= needed:
            weights = [one.error**-2 for one in before]
            share = fmean([one.share for one in before], weights)
            return self._change(share, 1 / math.sqrt(fmean(weights)))
        if self._looks >= _MAX_LOOKS:
            return self._change(sample.share, sample.error)
        return Verdict.SUSPECT

    def _change(self, share: float, error: float) -> Verdict:
        self._restart(share, error)
        self._publish(share)
        return Verdict.CHANGED

    def _restart(self, share: float, error: float) -> None:
        self.mean, self._error = share, error
        self.samples, self.steady = 1, 0
        self._candidates, self._looks = [], 0

    def _follow(self, sample: ShareSample) -> None:
        self.samples += 1
        self.steady += 1
        # The first samples after a change weigh by their errors; an exponential mean would trust
        # the first one.
        own, new = self.error**2, sample.error**2
        alpha = max(_ALPHA, own / (own + new)) if self.samples <= _SETTLES else _ALPHA
        surprise = abs(sample.share - self.mean)
        self.mean += alpha * (sample.share - self.mean)
        # What a sample says of its own error is a guess; how far samples stray is seen.
        self._error += _ALPHA * (max(surprise, sample.error / 2) - self._error)
        moved = abs(self.mean - self.published)
        if self.samples <= _SETTLES:
            step = _SETTLED
        else:
            step = max(PUBLISH_STEP, _PUBLISH_ERRORS * self.error)
        if moved > step:
            self._publish(self.mean)

    def _publish(self, share: float) -> None:
        self.published = share
        self.changes += 1


def _agree(one: ShareSample, other: ShareSample) -> bool:
    return abs(one.share - other.share) <= _tolerance(_AGREE_ERRORS, one.error, other.error)


def _tolerance(errors: float, one: float, other: float) -> float:
    return max(_LEAST_JUMP, errors * math.hypot(one, other))
