"""What each vCPU of a shaped VM really got, as text and as data for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scx_vsched.vm.lab.accounting import Truth
    from scx_vsched.vm.lab.profile import VcpuShape
    from scx_vsched.vm.lab.session import PhaseTruth

__all__ = ["as_data", "as_lines"]

_MS = 1_000_000


def _asked(shape: VcpuShape) -> str:
    what = "all"
    if shape.quota_us is not None:
        what = f"{shape.quota_us / 1000:g}/{shape.period_us / 1000:g} ms by {shape.by}"
    where = f" on {','.join(str(cpu) for cpu in shape.cpus)}"
    return what + where + (f" ({shape.stack})" if shape.stack else "")


def as_lines(found: PhaseTruth) -> list[str]:
    """A table for people, one part for each stage of the profile that was reached."""
    lines = [line for line in (found.plan.note,) if line]
    lines.append(
        f"{'vCPU':>4}  {'asked':<32} {'share':>6} {'got':>6} {'away, mean':>11} {'p95':>8} "
        f"{'longest':>8} {'times':>6} {'slept':>7}"
    )
    for number, truths in found.stages:
        stage = found.plan.stages[number]
        if len(found.plan.stages) > 1:
            done = found.changed[number - 1][1] if number else 0.0
            lines.append(f"from {done:.3f} s on ({stage.at_s:g} s asked):")
        lines += [_line(truth, stage.shapes[truth.vcpu]) for truth in truths]
    if found.inexact:
        lines.append(f"single absences are not known: {found.inexact}")
    lines.append(f"load of the host: {found.load:.2f}")
    return lines


def _line(truth: Truth, shape: VcpuShape) -> str:
    single = f"{'-':>8} {'-':>8} {'-':>6}"
    if truth.exact:
        p95, longest = (truth.percentile_away_ns(part) / _MS for part in (0.95, 1.0))
        single = f"{p95:>5.1f} ms {longest:>5.1f} ms {len(truth.away):>6}"
    return (
        f"{truth.vcpu:>4}  {_asked(shape):<32} {shape.share:>6.3f} {truth.share:>6.3f} "
        f"{truth.mean_away_ns / _MS:>8.2f} ms {single} {truth.asleep_ns / truth.wall_ns:>7.1%}"
    )


def as_data(found: PhaseTruth) -> dict[str, Any]:
    """The same for programs; times in nanoseconds."""
    plan = found.plan
    return {
        "profile": plan.profile.name,
        "factor": plan.factor,
        "note": plan.note,
        "inexact": found.inexact,
        "load": found.load,
        "stages": [
            {
                "asked_at_s": plan.stages[number].at_s,
                "at_s": found.changed[number - 1][1] if number else 0.0,
                "vcpus": [_data(t, plan.stages[number].shapes[t.vcpu]) for t in truths],
            }
            for number, truths in found.stages
        ],
    }


def _data(truth: Truth, shape: VcpuShape) -> dict[str, Any]:
    return {
        "vcpu": truth.vcpu,
        "asked": asdict(shape),
        "share": truth.share,
        "wall_ns": truth.wall_ns,
        "run_ns": truth.run_ns,
        "away_ns": truth.away_ns,
        "asleep_ns": truth.asleep_ns,
        "exact": truth.exact,
        "mean_away_ns": truth.mean_away_ns,
        "p95_away_ns": truth.percentile_away_ns(0.95),
        "max_away_ns": truth.percentile_away_ns(1.0),
        "aways": len(truth.away),
        "throttled": truth.throttled,
    }
