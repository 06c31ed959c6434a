"""Why a job is not running, as codes for programs and sentences for people.

Called by: engine.records. (cli.why says the same to operators, with the commands that help.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trunkline.store.inspect import Standing
from trunkline.store.limits import HeldBy
from trunkline.store.pages import JobRow

Code = Literal[
    "running",
    "worker_lost",
    "waiting_for_jobs",
    "ordering",
    "paused",
    "blocked",
    "limit",
    "not_due",
    "retrying",
    "no_handler",
    "no_worker",
    "in_line",
    "moving",
]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: `code` is stable, `message` a sentence."""

    code: Code
    message: str


def reasons(row: JobRow, around: Standing, *, held: HeldBy | None = None, parents: int = 0) -> list[Reason]:
    """The reasons, the decisive one first; empty for a job that has ended."""
    if row.state in ("completed", "failed", "cancelled"):
        return []
    if row.state == "active":
        return [_active(row, around)]
    if row.state == "waiting":
        if not parents:
            return [Reason("moving", "What it waited for has just ended: look again.")]
        return [Reason("waiting_for_jobs", f"It waits until {parents} other job{'' if parents == 1 else 's'} ended.")]
    found = [_limited(row, held)] if row.state == "limited" else _deferred(row)
    if around.is_tenant_paused:
        found.append(Reason("paused", "Every queue of its tenant is paused."))
    if around.paused_at is not None:
        found.append(Reason("paused", f"Its queue {row.queue!r} is paused since {_moment(around.paused_at)}."))
    if not around.is_declared:
        found.append(Reason("no_handler", f"No worker has ever declared a handler for jobs of type {row.kind!r}."))
    elif around.processes == 0:
        found.append(Reason("no_worker", "No worker is connected."))
    if row.state == "queued" and not found:
        found.append(_in_line(row, around))
    return found


def _active(row: JobRow, around: Standing) -> Reason:
    if around.worker is None:
        return Reason("moving", "It has just moved on: look again.")
    if not around.worker_is_alive:
        return Reason("worker_lost", "Its worker went away. It is offered again within 10 s, if any worker is connected.")
    if around.cancel_requested_at is not None:
        return Reason("running", f"It runs, and its end was asked for at {_moment(around.cancel_requested_at)}.")
    return Reason("running", f"It runs: attempt {row.attempt}, until {_moment(row.deadline)} at most.")


def _deferred(row: JobRow) -> list[Reason]:
    if row.state == "retrying":
        return [
            Reason("retrying", f"It failed {row.failures} time{'' if row.failures == 1 else 's'} and is tried again {_moment(row.run_at)}.")
        ]
    if row.state == "no_handler":
        return [Reason("no_handler", f"A worker took it and had no handler for it; it is offered again {_moment(row.run_at)}.")]
    if row.state == "scheduled":
        return [Reason("not_due", f"It is to run {_moment(row.run_at)}.")]
    return []


def _limited(row: JobRow, held: HeldBy | None) -> Reason:
    if held is None:
        return Reason("moving", "It has just moved on: look again.")
    limit, behind = held.limit, f"{held.ahead} job{'' if held.ahead == 1 else 's'} before it"
    if limit.scope == "ordering":
        return Reason("ordering", f"Jobs with its ordering key run one after the other; {behind}.")
    if limit.paused_at is not None:
        return Reason("paused", f"The {limit.scope} {limit.kind or limit.key!r} is paused since {_moment(limit.paused_at)}.")
    if limit.blocked_until is not None and row.run_at is None:
        return Reason("blocked", f"Its limit key is blocked until {_moment(limit.blocked_until)}; {behind}.")
    full = f" {limit.running} of at most {limit.concurrency} run now." if limit.concurrency is not None else ""
    return Reason("limit", f"It waits for a limit of its {limit.scope}; {behind}.{full}")


def _in_line(row: JobRow, around: Standing) -> Reason:
    if around.running or around.has_sleeper:
        return Reason("in_line", f"It waits for a free worker: {around.ahead} ahead of it in {row.queue!r}, {around.running} running.")
    return Reason(
        "no_worker", f"{around.ahead} are ahead of it in {row.queue!r} and none runs: no connected worker seems to serve this queue."
    )


def _moment(at: object) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if hasattr(at, "isoformat") else "at once"
