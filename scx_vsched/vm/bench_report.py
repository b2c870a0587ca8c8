"""The outcome of `vm bench` as text: one Markdown page that also reads well on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scx_vsched.vm.bench import LIMIT

if TYPE_CHECKING:
    from scx_vsched.vm.bench import BenchReport, Throughput
    from scx_vsched.vm.intervals import Ratio

__all__ = ["as_markdown", "rate"]


def as_markdown(reports: list[BenchReport]) -> str:
    """The page docs/benchmarks.md, a section for each report."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `scx_vsched vm bench -k oldest,newest --markdown docs/benchmarks.md`. Ratios",
        "are ours over the kernel's default scheduler, alternated within one boot; in brackets the",
        "95 % interval of the paired rounds. The twin is the default scheduler over itself in the",
        "same rounds: no difference smaller than its interval means anything.",
    ]
    for report in reports:
        lines += ["", f"## {report.policy} on {report.where}", "", _topology(report), ""]
        lines += [
            "| workload | default: median (range) | ours: median (range) | ratio | twin | rounds "
            "| verdict |",
            "|---|---:|---:|---:|---:|---:|---|",
            *(_throughput(each) for each in report.throughput),
            "",
            f"Time in BPF under hackbench: {report.bpf_share:.2%} of the vCPUs' time, "
            f"{report.counting_share:.2%} of which is the kernel's counting (as much as of an "
            "empty program).",
            "",
            "| operation | calls/s | ns/call | share |",
            "|---|---:|---:|---:|",
        ]
        lines += [
            f"| {each.name} | {each.calls_per_s:,.0f} | {each.ns_per_call:,.0f} "
            f"| {each.share:.2%} |"
            for each in report.operations
        ]
    return "\n".join(lines) + "\n"


def _topology(report: BenchReport) -> str:
    if report.probe:
        return "The vCPUs were measured beside the scheduler, which is part of its cost."
    return "The scheduler took the vCPUs as the VM claims them; nothing was measured."


def _throughput(each: Throughput) -> str:
    return (
        f"| {each.name} ({each.unit}) | {_range(each.default)} | {_range(each.ours)} "
        f"| {each.ratio} | {each.twin} | {each.ratio.rounds} | {_verdict(each.ratio)} |"
    )


def _range(values: tuple[float, float, float]) -> str:
    median, low, high = (rate(value) for value in values)
    return f"{median} ({low} … {high})"


def rate(value: float) -> str:
    """A rate with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _verdict(value: Ratio) -> str:
    share = f"{1 - LIMIT:.0%}"
    if value.low >= LIMIT:
        return f"not {share} worse"
    return f"more than {share} worse" if value.high < LIMIT else "not decided"
