"""The live view of a scheduler at work: its vCPUs, what the techniques do, the last decisions."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

from scx_vsched.errors import UserError
from scx_vsched.runtime.display import output_console
from scx_vsched.runtime.socket import StatsClient
from scx_vsched.runtime.stats import Meter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Group, RenderableType
    from rich.table import Table

    from scx_vsched.runtime.stats import Sample

__all__ = ["Look", "looks", "rendered", "watch"]

_FULL = 1024
_GROUPS = (
    ("placed by BVS", ("biased_idle", "biased_busy", "biased_none", "hedged")),
    (
        "harvested by IVH",
        ("harvests", "harvest_calls", "harvest_none", "harvest_lost", "harvest_late",
         "harvest_needed", "harvest_void", "returns"),
    ),
    ("hidden by RWC", ("hidden", "shown", "diverted", "hidden_used")),
)  # fmt: skip


class Look:
    """What was seen at once: counters, vCPUs, decisions."""

    def __init__(
        self,
        policy: str,
        sample: Sample,
        vcpus: Sequence[Mapping[str, Any]],
        decisions: Mapping[str, Any],
    ) -> None:
        self.policy, self.sample = policy, sample
        self.vcpus, self.decisions = vcpus, decisions

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "policy": self.policy,
            "elapsed_s": round(self.sample.elapsed_s, 3),
            "rates": {
                name: round(delta / self.sample.interval_s, 3) if self.sample.interval_s else 0.0
                for name, delta in self.sample.deltas.items()
            },
            "totals": dict(self.sample.totals),
            "vcpus": list(self.vcpus),
            **self.decisions,
        }


def looks(path: Path, interval_s: float) -> Iterator[Look]:
    """One look every `interval_s`, the first after that time; ends with the scheduler.

    Raises UserError where none answers, or one of another project.
    """
    with StatsClient(path) as client:
        meter = Meter()
        meter.start()
        with contextlib.suppress(EOFError):
            meter.sample(_counters(client.request("stats")))
            while True:
                time.sleep(interval_s)
                stats = client.request("stats")
                yield Look(
                    str(stats.get("policy", "")),
                    meter.sample(_counters(stats)),
                    client.request("vcpus"),
                    client.request("decisions"),
                )


def _counters(stats: Mapping[str, Any]) -> dict[str, int]:
    return {name: value for name, value in stats.items() if isinstance(value, int)}


def rendered(look: Look) -> Group:
    """The view as rich draws it."""
    from rich.console import Group  # noqa: PLC0415 - slow to import

    parts: list[RenderableType] = [_vcpu_table(look)]
    for title, names in _GROUPS:
        shown = [name for name in names if name in look.sample.totals]
        if shown:
            parts.append(_counter_line(look.sample, title, shown))
    parts.append(_decision_table(look))
    return Group(*parts)


def _vcpu_table(look: Look) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, title=f"{look.policy}, {look.sample.elapsed_s:.0f} s")
    for name in ("vCPU", "capacity", "away", "gone"):
        table.add_column(name, justify="right")
    for name in ("state", "task", "hidden"):
        table.add_column(name)
    table.add_column("waiting", justify="right")
    for vcpu in look.vcpus:
        task = f"{vcpu['task']} ({vcpu['pid']})" if vcpu["pid"] else ""
        table.add_row(
            str(vcpu["vcpu"]),
            f"{vcpu['capacity'] / _FULL:.0%}",
            f"{vcpu['latency_us'] / 1000:.1f} ms",
            f"{vcpu['gaps']:,} times",
            vcpu["state"],
            task,
            vcpu["why"],
            str(vcpu["queued"]),
            style="yellow" if vcpu["hidden"] else None,
        )
    return table


def _counter_line(sample: Sample, title: str, names: Sequence[str]) -> str:
    seconds = sample.interval_s or 1.0
    parts = [
        f"{name} {sample.deltas[name] / seconds:,.0f}/s ({sample.totals[name]:,})"
        for name in names
        if sample.totals[name]
    ]
    return f"\n{title}: {', '.join(parts) or 'nothing yet'}"


def _decision_table(look: Look) -> RenderableType:
    from rich.table import Table  # noqa: PLC0415

    if not look.decisions["noted"]:
        return "\ndecisions are not noted; start the scheduler with: scx_vsched run --explain"
    table = Table(box=None, title="last decisions")
    table.add_column("ago", justify="right")
    for name in ("task", "from", "to", "why"):
        table.add_column(name)
    for each in look.decisions["decisions"]:
        ago = max(0, look.decisions["now_ns"] - each["at_ns"]) / 1e6
        table.add_row(
            f"{ago:,.1f} ms",
            f"{each['task']} ({each['pid']})",
            str(each["source"]),
            str(each["vcpu"]),
            f"{each['counter']}: {each['why']}",
        )
    return table


def watch(path: Path, interval_s: float, *, once: bool = False) -> None:
    """Show the view until the scheduler ends; one after the other where no terminal is."""
    console = output_console()
    shown = False
    if once or not sys.stdout.isatty():
        for look in looks(path, interval_s):
            console.print(rendered(look))
            shown = True
            if once:
                return
    else:
        from rich.live import Live  # noqa: PLC0415

        with Live(auto_refresh=False, console=console) as live:
            for look in looks(path, interval_s):
                live.update(rendered(look), refresh=True)
                shown = True
    if not shown:
        raise UserError("the scheduler ended at once")
