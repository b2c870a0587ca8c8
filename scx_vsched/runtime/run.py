"""`scx_vsched run`: build or take an object, attach it, watch over it, give the kernel back."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from scx_vsched.bpf.domains import Domains
from scx_vsched.bpf.elf import read_object
from scx_vsched.bpf.loader import AttachError, LoadError, check_tunables, read_meta
from scx_vsched.errors import UserError
from scx_vsched.runtime.company import balancing, keeper
from scx_vsched.runtime.display import JsonLines, LiveTable, TextLines, notice
from scx_vsched.runtime.feeding import Feeding
from scx_vsched.runtime.prerequisites import check_machine
from scx_vsched.runtime.reading import Reading, RestartBudget
from scx_vsched.runtime.session import document_topology, fed
from scx_vsched.runtime.signals import stop_on_signals
from scx_vsched.runtime.socket import SOCKET_PATH, StatsServer, describe_stats
from scx_vsched.runtime.tuning import tune_commands
from scx_vsched.runtime.watching import DECISIONS, watch_commands

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from scx_vsched.bpf.build import Backend
    from scx_vsched.bpf.exit_info import ExitInfo
    from scx_vsched.bpf.feed import Feed
    from scx_vsched.bpf.loader import Attached, SchedulerObject
    from scx_vsched.numa.settings import Settings as NumaSettings
    from scx_vsched.runtime.display import Display
    from scx_vsched.topology import Topology

__all__ = ["DEFAULT_POLICY", "ENDED_BY_KERNEL", "NODES_POLICY", "RunOptions", "run"]

DEFAULT_POLICY = "core"
NODES_POLICY = "numa"  # what a balancer of nodes stands on
ENDED_BY_KERNEL = 3  # exit status when the kernel, not the user, ended the scheduler

_LIVE_S = 1.0  # between updates of the live table, unless --stats says otherwise
_WATCH_S = 0.25  # between looks at whether the kernel has ended the scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says; `stats_s` is the interval of statistics, None for the default.

    The topology is at first as `topology_path` (a document of `scx_vsched probe`) or else the
    machine says; with `probe` it follows what is measured meanwhile. `domains_path` is a file of
    domains, for a scheduler of a host, which needs no topology. With `explain` the last decision
    about each task is noted. With `numa` the balancer of nodes works beside the scheduler.
    """

    policy: str = DEFAULT_POLICY
    object_path: Path | None = None
    without: tuple[str, ...] = ()
    backend: Backend = "clang"
    tunables: Mapping[str, int] = field(default_factory=dict)
    probe: bool = True
    topology_path: Path | None = None
    domains_path: Path | None = None
    explain: bool = False
    numa: NumaSettings | None = None
    stats_s: float | None = None
    stats_json: bool = False
    verbose: bool = False
    exit_dump_len: int | None = None
    timeout_ms: int | None = None
    duration_s: float | None = None
    socket_path: Path = SOCKET_PATH


def run(options: RunOptions) -> int:
    """Run a scheduler until a signal, the end of `duration_s` or the kernel ends it.

    Returns the exit status; raises UserError where it cannot be started.
    """
    given = options.topology_path
    topology = document_topology(given) if given else None
    with _object_file(options) as path, stop_on_signals() as stop:
        try:
            return _Run(path, options, topology, stop).run()
        except LoadError as error:
            if options.verbose:
                notice("\n".join(error.log))
            raise


@contextlib.contextmanager
def _object_file(options: RunOptions) -> Iterator[Path]:
    """The object to load: the one given, or one built from the policy.

    A mistake in the arguments is told before what the machine lacks: it is quicker to mend.
    """
    if options.object_path:
        meta = read_meta(read_object(options.object_path), options.object_path)
        check_tunables(meta, options.tunables)
        check_machine()
        yield options.object_path
        return
    # Where an object is given, neither the compiler nor the templates are wanted (or there).
    from scx_vsched.bpf.build import build  # noqa: PLC0415
    from scx_vsched.policies import resolve_policy  # noqa: PLC0415

    policy = resolve_policy(options.policy)
    check_machine()
    with tempfile.TemporaryDirectory(prefix="scx_vsched-") as directory:
        out = Path(directory) / f"{policy.stem}.bpf.o"
        build(policy, out, without=options.without, backend=options.backend)
        yield out


class _Run:
    """A scheduler from its first attach to its end, across restarts that the kernel asks for."""

    def __init__(
        self, path: Path, options: RunOptions, topology: Topology | None, stop: threading.Event
    ) -> None:
        self._path = path
        self._options = options
        self._topology = topology
        self._feeding = Feeding()
        self._stop = stop
        self._meta = read_meta(read_object(path), path)
        self._balancing = balancing(self._meta, options, lambda: self._feeding.topology or topology)
        self._keeper = keeper(self._meta, options)
        self._reading = Reading(self._meta.policy)
        self._deadline: float | None = None

    @property
    def _is_host(self) -> bool:
        return self._meta.mechanism == "host"

    def run(self) -> int:
        """Run it; the exit status."""
        with _display(self._options, self._meta.policy) as display:
            info = self._lives(display)
        reading, policy = self._reading, self._meta.policy
        ours = info is None or info.is_ours
        display.summary(
            reading.meter.sample(reading.counters()),
            {
                "policy": policy,
                "restarts": reading.restarts,
                "exit": None if ours or not info else info.summary(),
            },
        )
        if ours or not info:
            return 0
        notice(f"the kernel ended {policy}: {info.summary()}")
        if info.dump:
            notice(info.dump)
        return ENDED_BY_KERNEL

    def _lives(self, display: Display) -> ExitInfo | None:
        """Run the scheduler, anew whenever the kernel asks for it; how it ended at last."""
        budget = RestartBudget()
        with contextlib.ExitStack() as company:
            while True:
                started = time.monotonic()
                info = self._life(display, company)
                if info is None or not info.wants_restart or self._stop.is_set():
                    return info
                if not budget.take(time.monotonic() - started):
                    notice(f"no restart after {self._reading.restarts} in a row")
                    return info
                notice(f"the kernel asks for a restart: {info.summary()}")
                self._reading.restarted()

    def _life(self, display: Display, company: contextlib.ExitStack) -> ExitInfo | None:
        """Load it, attach it, watch it; why it ended, None where the kernel does not say.

        What lasts from its first life to the end of its last is entered into `company`.
        """
        try:
            with self._attached() as (running, following):
                with self._reading.following(running):
                    if not self._reading.meter.running:
                        self._begin(company)
                    with following:
                        info = self._watch(running, display)
                    running.detach()
                return info or running.exit_info()
        except AttachError as error:
            if error.info is None:
                raise
            return error.info  # it ended before it was at work

    @contextlib.contextmanager
    def _attached(self) -> Iterator[tuple[Attached, contextlib.AbstractContextManager[None]]]:
        options = self._options
        with fed(
            self._path,
            topology=self._feeding.topology or self._topology,
            tunables={**options.tunables, **self._reading.tuned},
            timeout_ms=options.timeout_ms,
            exit_dump_len=options.exit_dump_len,
            decisions=DECISIONS if options.explain else 0,
            verifier_stats=options.verbose,
            debug=options.verbose,
        ) as (obj, feed):
            if options.verbose:
                notice("\n".join(obj.log))
                for program in obj.programs:
                    notice(
                        f"{program.name}: {program.insns} instructions and {program.states} "
                        f"states verified in {program.time_us} us"
                    )
            if isinstance(feed, Domains):
                # before it is at work, so that nothing runs by the defaults
                with self._keeper.following(feed), obj.attach() as running:
                    yield running, contextlib.nullcontext()
                return
            with obj.attach() as running:
                yield running, self._following(obj, feed)

    @contextlib.contextmanager
    def _following(self, obj: SchedulerObject, feed: Feed) -> Iterator[None]:
        """Keep the scheduler fed, and the tasks balanced, for the length of the block."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._feeding.following(feed))
            if self._balancing:
                stack.enter_context(self._balancing.following(obj))
            yield

    def _begin(self, company: contextlib.ExitStack) -> None:
        """Start the clock, the statistics socket and the prober."""
        self._reading.meter.start()
        if self._options.duration_s:
            self._deadline = time.monotonic() + self._options.duration_s
        notice(f"{self._meta.policy} is at work; Ctrl-C ends it")
        meta = describe_stats(self._meta.stats, self._meta.histograms)
        commands = tune_commands(self._meta, self._reading)
        if self._is_host:
            commands |= self._keeper.commands()
        else:
            commands |= watch_commands(self._reading)
        if self._balancing:
            commands |= self._balancing.commands()
            company.enter_context(self._balancing)
        try:
            server = StatsServer(self._reading.answer, meta, self._options.socket_path, commands)
            company.enter_context(server)
        except UserError as error:  # a scheduler without the socket is still a scheduler
            notice(f"warning: {error.message}")
        if self._options.probe and not self._is_host:
            company.enter_context(self._feeding)

    def _watch(self, running: Attached, display: Display) -> ExitInfo | None:
        """Show statistics until the kernel ends the scheduler (why) or it is time to (None)."""
        interval = self._options.stats_s or (_LIVE_S if isinstance(display, LiveTable) else None)
        due = time.monotonic() + interval if interval else None
        while not self._stop.is_set():
            if info := running.exit_info():
                return info
            self._keeper.sync()
            now = time.monotonic()
            if self._deadline and now >= self._deadline:
                return None
            if due and interval and now >= due:
                display.show(self._reading.meter.sample(self._reading.counters()))
                due = max(due + interval, now)
            moments = [moment - now for moment in (self._deadline, due) if moment]
            self._stop.wait(max(0.0, min([_WATCH_S, *moments])))
        return None


def _display(options: RunOptions, policy: str) -> Display:
    if options.stats_json:
        return JsonLines()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return LiveTable(policy)
    return TextLines()
