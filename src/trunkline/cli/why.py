"""Why a job is not running, in sentences, each with what to do.

Called by: job_page, watch.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from trunkline.cli import show

if TYPE_CHECKING:
    from trunkline.model import JobView
    from trunkline.store import Store
    from trunkline.store.inspect import Standing
    from trunkline.store.limits import HeldBy

JUST_CAME_S = 3.0  # a signal wakes a free worker at once, the poll within a second
MORE = "More workers, or a higher TRUNKLINE_CONCURRENCY, would start it sooner."


async def reasons(store: Store, job: JobView) -> list[str]:
    """Read what surrounds the job, and say why it stands where it stands; empty for one that has ended."""
    return [] if job.is_terminal else (await _read(store, job))[1]


async def not_running(store: Store, job: JobView) -> list[str]:
    """The same, without what is said of a job that runs on a worker that is alive."""
    if job.is_terminal:
        return []
    around, found = await _read(store, job)
    return [] if job.state == "active" and (around is None or around.worker_is_alive is not False) else found


async def _read(store: Store, job: JobView) -> tuple[Standing | None, list[str]]:
    from trunkline.store import batches, inspect, limits

    around = await inspect.standing(store, job.tenant_id, job.id)
    if around is None:  # its retention is over
        return None, []
    parents = await batches.open_parents(store, job.tenant_id, job.id) if job.state == "waiting" else []
    held = await limits.held_by(store, job.tenant_id, job.id) if job.state == "limited" else None
    return around, sentences(job, around, parents, held)


def sentences(job: JobView, around: Standing, parents: Sequence[tuple[UUID, str, str]] = (), held: HeldBy | None = None) -> list[str]:
    """The reasons, the decisive one first; empty for a job that has ended.

    Args:
        parents: (id, kind, state) of what a waiting job waits for.
        held: what a limited job waits for.
    """
    if job.is_terminal:
        return []
    if job.state == "active":
        return _active(job, around)
    if job.state == "waiting":
        return _waiting(parents)
    found = _limited(job, held) if job.state == "limited" else _deferred(job) if job.state != "queued" else []
    if around.is_tenant_paused:
        found.append("Its tenant is paused. Go on with: trunkline limits resume --everything")
    if around.paused_at is not None:
        found.append(f"Its queue is paused since {show.moment(around.paused_at)}. Go on with: trunkline queues resume {job.queue}")
    if not around.is_declared:
        found.append(f"No worker has ever declared the kind {job.kind!r}. Start one that has a handler for it.")
    elif around.processes == 0:
        found.append("No worker is connected. Start one: trunkline worker module:app, or trunkline up")
    if job.state == "queued" and not found:
        found += _in_line(job, around)
    return found


def _active(job: JobView, around: Standing) -> list[str]:
    if around.worker is None:
        return ["It has just moved on: look again."]
    if not around.worker_is_alive:
        return [f"Its worker {around.worker} went away. It is offered again within 10 s, if any process is connected."]
    found = [f"It runs on {around.worker}, attempt {job.attempt}, until {show.moment(job.deadline)} at most."]
    if around.cancel_requested_at is not None:
        found.append(f"Its end was asked for {show.ago(around.cancel_requested_at)}; after 10 s it counts as cancelled.")
    return found


def _waiting(parents: Sequence[tuple[UUID, str, str]]) -> list[str]:
    if not parents:
        return ["What it waited for has just ended: look again."]
    which, they = ("this job has", "it has") if len(parents) == 1 else (f"these {len(parents)} jobs have", "they have")
    many = f"It waits until {which} ended; jobs show says why {they} not:"
    return [many, *(f"  {parent} {show.short(kind, 60)} is {state}" for parent, kind, state in parents)]


def _deferred(job: JobView) -> list[str]:
    is_due = job.run_at is not None and show.ago(job.run_at).endswith("ago")
    when = f"{show.moment(job.run_at)}" + ("; it is due, and goes in line as soon as a process is connected" if is_due else "")
    match job.state:
        case "retrying":
            return [f"It failed {show.count(job.failures, 'time')} and is tried again {when}."]
        case "no_handler":
            return [f"A worker took it and had no handler for the kind {job.kind!r}; it is offered again {when}."]
        case _:
            return [f"It is to run {when}."]


def _limited(job: JobView, held: HeldBy | None) -> list[str]:
    from trunkline.cli.limits import subject

    if held is None:
        return ["It has just moved on: look again."]
    limit, behind = held.limit, f"{show.count(held.ahead, 'job')} {'waits' if held.ahead == 1 else 'wait'} before it"
    if limit.scope == "ordering":
        first = f"job {held.first_id}, which is {held.first_state}" if held.first_id else "the one before it"
        others = f" ({held.ahead} jobs of the key are before it)" if held.ahead > 1 else ""
        skip = f" Retry it, or go on without it: trunkline limits skip {held.first_id}" if held.first_state == "failed" else ""
        return [f"Jobs with its ordering key run one after the other: it waits for {first}{others}.{skip}"]
    if limit.paused_at is not None:
        return [
            f"The {limit.scope} {limit.kind or limit.key!r} is paused since {show.moment(limit.paused_at)}. Go on with: "
            f"trunkline limits resume --{limit.scope} {shlex.quote(limit.kind or limit.key or '')}"
        ]
    if job.run_at is not None:
        return [f"The limit of {subject(limit)} lets it start {show.moment(job.run_at)}."]
    if limit.blocked_until is not None and not show.ago(limit.blocked_until).endswith("ago"):
        return [f"The key {limit.key!r} is blocked until {show.moment(limit.blocked_until)}; {behind}."]
    full = f" {limit.running} of at most {limit.concurrency} run now." if limit.concurrency is not None else ""
    return [f"It waits for the limit of {subject(limit)}; {behind}.{full}"]


def _in_line(job: JobView, around: Standing) -> list[str]:
    ahead = f"{show.count(around.ahead, 'job')} of its queue {'is' if around.ahead == 1 else 'are'} ahead of it"
    if around.running:
        return [f"It waits for a free worker: {ahead}, {around.running} {'runs' if around.running == 1 else 'run'} now. {MORE}"]
    if around.has_sleeper:
        # A worker whose slots are all taken sleeps, too: it would take this job if it could.
        if not around.ahead and datetime.now(UTC) - job.created_at < timedelta(seconds=JUST_CAME_S):
            return ["It is next in line, and a worker is being woken."]
        return [f"It waits for a free worker: {ahead}, and whoever serves its queue is busy with jobs of other queues. {MORE}"]
    return [
        f"{ahead[0].upper()}{ahead[1:]} and none runs: no connected worker seems to serve the queue {job.queue!r}. "
        "Start one whose handler has this queue."
    ]
