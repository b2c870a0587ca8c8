"""`scx_vsched probe`: drive the probers on this machine and show what they find."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from scx_vsched.errors import UserError
from scx_vsched.runtime.display import output_console
from scx_vsched.runtime.probe_report import explanation
from scx_vsched.topology.assembly import measured_graph
from scx_vsched.topology.chosen import ChosenVCpus
from scx_vsched.topology.document import document_text
from scx_vsched.topology.native import NativeMachine
from scx_vsched.topology.prober import Prober
from scx_vsched.topology.sysfs import parse_cpu_list, read_claims
from scx_vsched.topology.table import graph_table, headline, remarks
from scx_vsched.topology.upkeep import TopologyProbe
from scx_vsched.topology.verify import Verifier
from scx_vsched.topology.vtop import probe_topology

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import RenderableType

    from scx_vsched.topology.domains import Domains
    from scx_vsched.topology.records import Machine
    from scx_vsched.topology.snapshot import ProbeSnapshot

__all__ = ["ProbeOptions", "run_probe"]

_SECOND_NS = 1_000_000_000
_ONCE_S = 2.0


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What the command line asks for; None where it leaves the choice."""

    watch_s: float | None = None
    duration_s: float | None = None
    vcpus: str | None = None
    as_json: bool = False
    output: Path | None = None
    explain: bool = False


def run_probe(options: ProbeOptions) -> None:
    """Measure once, or until interrupted. Raises UserError for what cannot be done."""
    native = NativeMachine()
    limits = list(native.limits())
    if problem := native.clock_problem():
        limits.append(f"Times are doubtful: {problem}.")
    machine: Machine = native if options.vcpus is None else _chosen(native, options.vcpus)
    if not machine.vcpus():
        reasons = ", ".join(f"vCPU {v} {why}" for v, why in machine.unavailable().items())
        raise UserError("there is no vCPU to probe", reasons)
    claims = read_claims().domains
    topology = TopologyProbe(partial(probe_topology, claims=claims), Verifier)
    prober = Prober(machine, topology, limits=limits)
    show = _Show(options, prober, claims)
    with _progress() as progress:
        once_s = _ONCE_S
        if options.watch_s is None and options.duration_s is not None:
            once_s = options.duration_s
        prober.first(round(once_s * _SECOND_NS), progress)
    if options.watch_s is None:
        show.once(prober.snapshot())
        return
    every_ns = round(options.watch_s * _SECOND_NS)
    lasts_ns = None if options.duration_s is None else round(options.duration_s * _SECOND_NS)
    with show.live() as live:
        live(prober.snapshot())
        for snapshot in prober.run(every_ns, lasts_ns):
            live(snapshot)


def _chosen(machine: Machine, listed: str) -> Machine:
    try:
        chosen = parse_cpu_list(listed)
    except ValueError:
        chosen = []
    if not chosen:
        raise UserError(f"--vcpus {listed}: not a list of vCPUs", "for example: --vcpus 0-3,8")
    return ChosenVCpus(machine, chosen)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error, where somebody sees it, and gone at the end."""
    if not sys.stderr.isatty():
        yield lambda _what, _part: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only for a terminal
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks = {}

        def advance(what: str, part: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"measuring {what}", total=1.0)
            bar.update(tasks[what], completed=part)

        yield advance


class _Show:
    """Puts snapshots where the options want them."""

    def __init__(self, options: ProbeOptions, prober: Prober, claims: dict[int, Domains]) -> None:
        self._options = options
        self._prober = prober
        self._claims = claims
        self._shown_ns = 0

    def once(self, snapshot: ProbeSnapshot) -> None:
        """The one result."""
        self._keep(snapshot)
        if self._options.as_json:
            print(self._document(snapshot), end="")
        else:
            self._print(snapshot)
        if self._options.explain and self._options.as_json:
            # Standard output holds the document and nothing else.
            print("\n".join(explanation(snapshot)), file=sys.stderr)

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[ProbeSnapshot], None]]:
        """For one snapshot after another: a picture that changes in place, or more and more."""
        if self._options.as_json or not sys.stdout.isatty():
            yield self._append
            return
        from rich.live import Live  # noqa: PLC0415 - slow to import, and only for a terminal

        with Live(auto_refresh=False) as live:

            def replace(snapshot: ProbeSnapshot) -> None:
                self._keep(snapshot)
                live.update(self._picture(snapshot), refresh=True)

            yield replace

    def _append(self, snapshot: ProbeSnapshot) -> None:
        self._keep(snapshot)
        if self._options.as_json:
            # Each line has the watches since the line before.
            text = self._document(snapshot, since_ns=self._shown_ns, one_line=True)
            self._shown_ns = snapshot.at_ns
            print(text, end="", flush=True)
        else:
            self._print(snapshot)

    def _keep(self, snapshot: ProbeSnapshot) -> None:
        if path := self._options.output:
            try:
                path.write_text(self._document(snapshot), encoding="utf-8")
            except OSError as error:
                raise UserError(f"{path}: {error.strerror}") from None

    def _document(
        self, snapshot: ProbeSnapshot, *, since_ns: int = 0, one_line: bool = False
    ) -> str:
        graph = measured_graph(snapshot, self._claims)
        return document_text(graph, self._prober.watches(since_ns), one_line=one_line)

    def _print(self, snapshot: ProbeSnapshot) -> None:
        output_console().print(self._picture(snapshot))
        sys.stdout.flush()

    def _picture(self, snapshot: ProbeSnapshot) -> RenderableType:
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        graph = measured_graph(snapshot, self._claims)
        lines = remarks(graph)
        if self._options.explain:
            lines += explanation(snapshot)
        return Group(Text(headline(graph)), graph_table(graph, snapshot.at_ns), *map(Text, lines))
