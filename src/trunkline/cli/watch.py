"""Follows one job until it has ended and shows how far it is: a bar on a terminal, lines without one, JSON lines for machines.

Always true: each state the follower saw is told once, in order; a database that is away for a while costs updates, not the
follower.
Called by: jobs (watch), enqueue (--wait), demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trunkline.cli import show
from trunkline.errors import Unavailable

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.model import JobView

LOOK_EVERY_S = 0.1
Tell = Callable[["JobView"], None]


async def follow(app: Trunkline, job_id: UUID, tell: Tell, *, tenant: str | None = None, timeout_s: float | None = None) -> JobView:
    """`tell` the job whenever it changed, until it has ended; the job.

    Raises:
        WaitTimeout: it had not ended within `timeout_s`.
        NotFound: this tenant has no such job.
    """
    seen: JobView | None = None
    ended = asyncio.ensure_future(app.wait_ended(job_id, timeout_s, tenant=tenant))
    try:
        while not ended.done():
            with contextlib.suppress(Unavailable):  # the waiter goes on asking
                now = await app.get(job_id, tenant=tenant)
                if now != seen and not now.is_terminal:
                    tell(now)
                    seen = now
            await asyncio.wait({ended}, timeout=LOOK_EVERY_S)
        job = await ended
        tell(job)
        return job
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


@contextlib.contextmanager
def teller(*, as_json: bool = False, stderr: bool = False) -> Iterator[Tell]:
    """The right way to tell, for as long as the block runs."""
    place = show.console(stderr=stderr)
    if as_json:
        yield lambda job: show.emit_line(progress_event(job))
    elif place.is_terminal:
        with _bar(stderr=stderr) as tell:
            yield tell
    else:
        yield _Lines(stderr=stderr).tell


def progress_event(job: JobView) -> dict[str, Any]:
    """A job's state as a line for machines."""
    return {
        "event": "progress" if not job.is_terminal else "ended",
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "progress": job.progress,
        **({"runAt": job.run_at} if job.run_at else {}),
        **({"result": job.result} if job.state == "completed" else {}),
        **({"error": job.error} if job.error is not None else {}),
    }


def percentage(job: JobView) -> float:
    """How far it is, 0..100."""
    if job.state == "completed":
        return 100.0
    percent = job.progress.get("percentage", 0) if isinstance(job.progress, dict) else 0
    return float(percent) if isinstance(percent, (int, float)) else 0.0


def ending(job: JobView) -> str:
    """How a job ended that did not complete, in a sentence with the whole reason."""
    reason = job.error.get("message") if isinstance(job.error, dict) else None
    attempts = f" after {show.count(job.attempt, 'attempt')}" if job.state == "failed" else ""
    return f"Job {job.id} {'was cancelled' if job.state == 'cancelled' else job.state}{attempts}" + (f": {reason}" if reason else ".")


def situation(job: JobView) -> str:
    """What it is doing, in a few words."""
    message = job.progress.get("message") if isinstance(job.progress, dict) else None
    reason = job.error.get("message") if isinstance(job.error, dict) else None
    match job.state:
        case "active":
            return show.short(message or "running", 80) + (f" (attempt {job.attempt})" if job.attempt > 1 else "")
        case "retrying" | "scheduled":
            return f"{job.state}, runs {show.ago(job.run_at)}"
        case "no_handler":
            return f"no worker has a handler for it, offered again {show.ago(job.run_at)}"
        case "waiting":
            return "waiting for other jobs to end"
        case "limited":
            return "limited" + (
                f", starts {show.ago(job.run_at)}" if job.run_at else ", by a limit, a pause or its order: jobs show says which"
            )
        case "completed":
            return "completed"
        case _:
            return job.state + (f": {show.short(reason, 160)}" if reason else "")


class _Lines:
    """A line for each change that a person would call one."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr
        self._last = ""

    def tell(self, job: JobView) -> None:
        line = f"{percentage(job):3.0f} %  {situation(job)}"
        if line != self._last:
            show.say(f"{time.strftime('%H:%M:%S')}  {line}", stderr=self._stderr)
            self._last = line


@contextlib.contextmanager
def _bar(*, stderr: bool) -> Iterator[Tell]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.fields[kind]}", style="bold", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f} %", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    with Progress(*columns, console=show.console(stderr=stderr), expand=True) as progress:
        task = progress.add_task("looking for it", total=100, kind="job")

        def tell(job: JobView) -> None:
            what = job.state if job.is_terminal else situation(job)  # the reason of a failure follows, in full
            progress.update(task, completed=percentage(job), description=what, kind=show.short(job.kind, 30))
            if job.is_terminal:
                progress.stop_task(task)

        yield tell
