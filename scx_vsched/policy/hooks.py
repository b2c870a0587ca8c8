"""The hooks of the mechanisms as editors see them. DO NOT EDIT.

Written by `python -m scx_vsched.policy.stubs` from scx_vsched/policy/mechanism.py. At run time a
policy has the hooks that its file was compiled to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scx_vsched.policy.types import u32, u64
    from scx_vsched.policy.views import Sched, Task, VCpu

__all__ = ["Hooks"]


class Hooks:
    """What a policy may define."""

    def slice_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """How long `task` may run before others get their turn."""
        raise NotImplementedError

    def charge_ns(self, task: Task, vcpu: VCpu) -> u64:
        """Virtual time that `task` pays for the `task.ran_ns` it has just run on `vcpu`."""
        raise NotImplementedError

    def wakeup_vtime(self, task: Task, sched: Sched) -> u64:
        """Virtual time with which `task` joins the queue after it slept."""
        raise NotImplementedError

    def queue_key(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """Place of `task` in its queue: the smallest key runs first (compared modulo 2**64)."""
        raise NotImplementedError

    def cache_first(self, key: u64, cache_key: u64, vcpu: VCpu) -> bool:
        """Whether the first task of the cache's queue, with `cache_key`, runs on `vcpu`
        before the one with `key`, which runs there or is the first of its own queue.
        """
        raise NotImplementedError

    def max_wait_ms(self, task: Task) -> u32:
        """How long `task` may wait in a queue before it runs next whatever its key, give or
        take half a second; half the watchdog's time at most.
        """
        raise NotImplementedError

    def preempts(self, task: Task, running: Task, vcpu: VCpu) -> bool:
        """Whether `task`, which has just woken, takes `vcpu` from `running` at once."""
        raise NotImplementedError

    def idle_scope(self, task: Task, vcpu: VCpu) -> u32:
        """How far from `vcpu` an idle vCPU is searched for `task` when it wakes: 0 this one
        only, 1 its last-level cache, 2 its NUMA node, 3 everywhere.
        """
        raise NotImplementedError

    def is_strong(self, vcpu: VCpu, sched: Sched) -> bool:
        """Whether `vcpu` is a first choice among the idle vCPUs in scope; the others are
        taken when no strong one is idle. Asked when the topology or a capacity changes,
        not when tasks wake.
        """
        raise NotImplementedError

    def follows_waker(self, task: Task, waker: VCpu, vcpu: VCpu, sync: bool) -> bool:
        """Whether `task`, woken by a task on `waker`, is placed near `waker` instead of near
        `vcpu`, where it last ran. Asked before an idle vCPU is searched when the waker is
        about to sleep (`sync`), else only when there is none.
        """
        raise NotImplementedError

    def stays(self, task: Task, vcpu: VCpu) -> bool:
        """Whether `task` waits for `vcpu` alone, where it last ran, rather than for any vCPU
        of the cache; vCPUs with nothing to do may still steal it.
        """
        raise NotImplementedError

    def passes(self, task: Task, vcpu: VCpu) -> bool:
        """Whether `task`, which has just woken and finds no idle vCPU, goes past the queue
        of `vcpu`, to run after those that were taken from it. It costs less than
        queueing, but what went past can be neither stolen nor overtaken.
        """
        raise NotImplementedError

    def batch(self, vcpu: VCpu) -> u32:
        """How many waiting tasks `vcpu` takes from its queue at once, 1 to 8. More cost less
        each, but what is taken can be neither stolen nor overtaken.
        """
        raise NotImplementedError

    def steals(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """Whether `vcpu`, which has nothing to do, takes a task that waits for `victim` or
        its cache; `distance` is 1 in the same cache, 2 on the same NUMA node, 3 across
        nodes.
        """
        raise NotImplementedError

    def balances(self, vcpu: VCpu, victim: VCpu, distance: u32) -> bool:
        """Whether `vcpu`, busy itself, takes a task that waits for `victim` (`distance` 1,
        same cache) or in the queue of its cache (2 on the same NUMA node, 3 across
        nodes). Asked every quarter of a second at most, where tasks wait.
        """
        raise NotImplementedError

    def is_latency_sensitive(self, task: Task) -> bool:
        """Whether the waking `task` is placed by `wait_ns` rather than on the nearest idle
        vCPU.
        """
        raise NotImplementedError

    def wait_ns(self, task: Task, vcpu: VCpu, near: VCpu, sched: Sched) -> u64:
        """How long `task`, waking, would wait in the mean if it were put on `vcpu`, which is
        idle or runs only SCHED_IDLE work; the least wins, 2**63 and more is refused.
        `near` is where the search begins.
        """
        raise NotImplementedError

    def hedges(self, task: Task, vcpu: VCpu) -> bool:
        """Whether `task` waits in the queue of the cache of `vcpu`, the best for it and
        idle, and a second one is woken, too: whichever is there first takes it.
        """
        raise NotImplementedError

    def harvest_in_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """In how long `task`, which runs on `vcpu`, should look for another vCPU: at once
        below 50 us, 0 is never. Asked when it starts, goes on, and when that time is
        over.
        """
        raise NotImplementedError

    def harvest_worth(self, task: Task, vcpu: VCpu, target: VCpu, sched: Sched) -> u64:
        """How good `target`, which is idle or runs only SCHED_IDLE work, would be for
        `task`, which leaves `vcpu`: the most wins, 0 is refused.
        """
        raise NotImplementedError

    def is_harmful(self, vcpu: VCpu, sched: Sched) -> bool:
        """Whether `vcpu` is hidden from ordinary tasks; `vcpu.is_hidden` says whether it is.
        When all would be, none is. Asked when the topology or a capacity changes.
        """
        raise NotImplementedError

    def uses_hidden(self, task: Task, vcpu: VCpu, sched: Sched) -> bool:
        """Whether `task` may be put on hidden vCPUs; who may run on no other always is."""
        raise NotImplementedError

    def crosses(self, task: Task, vcpu: VCpu, target: VCpu, distance: u32, sched: Sched) -> bool:
        """Whether `task`, for which no vCPU of its home node is idle, leaves the node of
        `vcpu` for that of `target` although its memory stays; `distance` between them is
        10 times that within a node.
        """
        raise NotImplementedError

    def returns(self, task: Task, vcpu: VCpu, home: VCpu, distance: u32, sched: Sched) -> bool:
        """Whether `task`, which visits the node of `vcpu`, goes back to that of `home`,
        where a vCPU is idle. Asked when its slice is over; when it wakes it goes home
        anyway.
        """
        raise NotImplementedError

    def is_critical(self, task: Task) -> bool:
        """Whether the latency of `task` counts: vCPUs may be kept for it and its like at
        home.
        """
        raise NotImplementedError

    def keeps_ns(self, task: Task, vcpu: VCpu, sched: Sched) -> u64:
        """For how long from now on `vcpu`, on which the critical `task` starts at home or as
        it must, is kept for critical tasks of its node; 0 not. One vCPU of a node never
        is.
        """
        raise NotImplementedError

    def on_start(self, task: Task, vcpu: VCpu, sched: Sched) -> None:
        """`task` starts to run on `vcpu`, or goes on with a new slice."""
        raise NotImplementedError

    def on_stop(self, task: Task, vcpu: VCpu, sched: Sched, runnable: bool) -> None:
        """`task` stops running on `vcpu`, having been charged; it goes on waiting if
        `runnable`, else it sleeps.
        """
        raise NotImplementedError

    def on_tick(self, task: Task, vcpu: VCpu, sched: Sched) -> bool:
        """The kernel's tick (every 1 to 10 ms) finds `task` running on `vcpu`; returns
        whether its slice ends now.
        """
        raise NotImplementedError

    def on_timer(self, sched: Sched) -> u64:
        """A timer of the policy's own has run out, the first time when the scheduler starts;
        returns the time until the next, at least 100 us, in ns; 0 ends it.
        """
        raise NotImplementedError

    def rank(self, task: Task, sched: Sched) -> u64:
        """Place of `task` among those that wait: the smallest runs first (compared modulo
        2**64), equal ones in the order in which they came. Asked when it is queued, and
        of who runs when its time is over.
        """
        raise NotImplementedError

    def run_ns(self, task: Task, sched: Sched) -> u64:
        """How long `task`, which starts or goes on, may run before others get their turn."""
        raise NotImplementedError

    def burn(self, task: Task, sched: Sched) -> None:
        """`task` has run for `task.ran_ns` since it was last charged. Told at every tick,
        and when it stops.
        """
        raise NotImplementedError

    def on_wake(self, task: Task, sched: Sched) -> None:
        """`task` becomes runnable; `task.is_waking` unless it has changed its domain, say."""
        raise NotImplementedError

    def on_sleep(self, task: Task, sched: Sched) -> None:
        """`task` is no longer runnable, or leaves its domain; each follows an `on_wake`."""
        raise NotImplementedError

    def on_run(self, task: Task, sched: Sched) -> None:
        """`task` starts to run, or goes on, before `run_ns` is asked."""
        raise NotImplementedError

    def held_ns(self, task: Task, sched: Sched) -> u64:
        """For how long `task` is held back although it is runnable; 0 it may run. It is
        asked again when that time is over, when it runs at every tick, and when the user
        changes a domain. Up to 50 us count as none when it is let go.
        """
        raise NotImplementedError

    def tickles(self, task: Task, running: Task, previous: bool, sched: Sched) -> u64:
        """How much it is worth that `task`, which has woken or was let go and finds no idle
        CPU, takes the CPU from `running`; 0 nothing, the most wins. `previous`: `task`
        last ran there. `running.ran_ns` is the time since its state was noted, at most a
        tick.
        """
        raise NotImplementedError

    def expires(self, task: Task, sched: Sched) -> bool:
        """The kernel's tick (every 1 to 10 ms) finds `task` running; returns whether its
        time ends now.
        """
        raise NotImplementedError

    def on_account(self, domain: u32, sched: Sched) -> None:
        """Told of each domain, by its number, right after `on_timer`."""
        raise NotImplementedError

    def reorders(self, sched: Sched) -> bool:
        """Asked after these: whether all that wait are asked for their rank anew."""
        raise NotImplementedError

    def admits(self, domain: u32, sched: Sched) -> bool:
        """Whether the domain of this number is accepted as the user has set it; if not, the
        user is told and everything stays as it was.
        """
        raise NotImplementedError
