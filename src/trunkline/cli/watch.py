"""Follows one job until it has ended and shows how far it is, and why it does not run: a bar on a terminal, lines without one, JSON
lines for machines.

Always true: each state the follower saw is told once, in order, and each reason why it waits once, as long as it holds; a database
that is away for a while costs updates, not the follower.
Called by: jobs (watch), enqueue (--wait), demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trunkline.cli import show
from trunkline.errors import Unavailable

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.model import JobView
    from trunkline.store import Store

LOOK_EVERY_S = 0.1
WHY_COLUMN = len("00:00:00  100 %  ")
DOUBT_EVERY_S = 1.0  # a job in line that starts sooner is not asked why it waits
Tell = Callable[["JobView", Sequence[str]], None]
# What changes in a reason while it stays the same reason: how long ago, in how long, how many.
_PASSING = re.compile(r" \((?:now|in [^)]*|[^)]* ago)\)|\d+")


async def follow(app: Trunkline, job_id: UUID, tell: Tell, *, tenant: str | None = None, timeout_s: float | None = None) -> JobView:
    """`tell` the job, and why it does not run, whenever one of them changed, until it has ended; the job.

    Raises:
        WaitTimeout: it had not ended within `timeout_s`.
        NotFound: this tenant has no such job.
    """
    seen: tuple[JobView, list[str]] | None = None
    doubt = _Doubt(app.store)
    ended = asyncio.ensure_future(app.wait_ended(job_id, timeout_s, tenant=tenant))
    try:
        while not ended.done():
            with contextlib.suppress(Unavailable):  # the waiter goes on asking
                now = await app.get(job_id, tenant=tenant)
                why = await doubt.about(now)
                if (now, _lasting(why)) != seen and not now.is_terminal:
                    tell(now, why)
                    seen = (now, _lasting(why))
            await asyncio.wait({ended}, timeout=LOOK_EVERY_S)
        job = await ended
        tell(job, ())
        return job
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)


class _Doubt:
    """Why one job does not run: asked when it was held back or put off, of one in line after a while, and then now and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._of: tuple[str, int] | None = None
        self._ask_at = 0.0
        self._found: list[str] = []

    async def about(self, job: JobView) -> list[str]:
        """The reasons, as they were at most DOUBT_EVERY_S ago; none for a job that runs."""
        from trunkline.cli import why

        now = time.monotonic()
        if self._of != (job.state, job.attempt):
            self._of, self._found = (job.state, job.attempt), []
            self._ask_at = now + (DOUBT_EVERY_S if job.state in ("queued", "active") else 0)
        if now >= self._ask_at:
            self._found = await why.not_running(self._store, job)
            self._ask_at = time.monotonic() + DOUBT_EVERY_S
        return self._found


def _lasting(why: Sequence[str]) -> list[str]:
    return [_PASSING.sub("", reason) for reason in why]


@contextlib.contextmanager
def teller(*, as_json: bool = False, stderr: bool = False) -> Iterator[Tell]:
    """The right way to tell, for as long as the block runs."""
    place = show.console(stderr=stderr)
    if as_json:
        yield lambda job, why: show.emit_line(progress_event(job, why))
    elif place.is_terminal:
        with _bar(stderr=stderr) as tell:
            yield tell
    else:
        yield _Lines(stderr=stderr).tell


def progress_event(job: JobView, why: Sequence[str] = ()) -> dict[str, Any]:
    """A job's state as a line for machines, with why it does not run."""
    return {
        "event": "progress" if not job.is_terminal else "ended",
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "attempt": job.attempt,
        "progress": job.progress,
        **({"runAt": job.run_at} if job.run_at else {}),
        **({"why": list(why)} if why else {}),
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
    """A line for each change that a person would call one, and below it the reasons why the job does not run."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr
        self._last = ""
        self._why: list[str] = []

    def tell(self, job: JobView, why: Sequence[str]) -> None:
        line = f"{percentage(job):3.0f} %  {job.state if why else situation(job)}"
        if line != self._last:
            show.say(f"{time.strftime('%H:%M:%S')}  {line}", stderr=self._stderr)
            self._last = line
        for reason in _news(why, self._why):
            show.say(f"{'':{WHY_COLUMN}}{reason}", style="yellow", stderr=self._stderr)
        self._why = _lasting(why)


def _news(why: Sequence[str], told: Sequence[str]) -> list[str]:
    return [reason for reason, lasting in zip(why, _lasting(why), strict=True) if lasting not in told]


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
    told: list[str] = []
    with Progress(*columns, console=show.console(stderr=stderr), expand=True) as progress:
        task = progress.add_task("looking for it", total=100, kind="job")

        def tell(job: JobView, why: Sequence[str]) -> None:
            # The reasons stand above the bar, and that of a failure follows, in full.
            what = job.state if why or job.is_terminal else situation(job)
            progress.update(task, completed=percentage(job), description=what, kind=show.short(job.kind, 30))
            for reason in _news(why, told):
                progress.console.print(show.visible(reason), style="yellow", soft_wrap=True)
            told[:] = _lasting(why)
            if job.is_terminal:
                progress.stop_task(task)

        yield tell
