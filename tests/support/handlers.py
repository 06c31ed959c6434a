"""Handlers that write the journal, and the hook that journals how reports were answered.

Every payload is an object; a handler takes what it knows and ignores the rest:
  noop                    starts and ends
  slow {seconds}          sleeps in between
  gated {gate}            ends when the file `gate` exists; reports progress first when `progress` is given
  flaky {fails}           raises on its first `fails` counted failures
  effect                  journals a side effect between start and end
  thread {seconds}        sleeps in a thread, deaf to cancellation
  blocking {seconds}      its first attempt holds up the whole event loop
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.journal import Journal
from trunkline import Trunkline
from trunkline.engine import Worker
from trunkline.engine.context import Job

GATE_LOOK_S = 0.02


def declare(app: Trunkline, journal: Journal, **policy: Any) -> None:
    """Give `app` every handler above; `policy` goes to each declaration."""
    policy = {"retry_delay": 0.05, "retry_backoff": False, "retry_limit": 20, "timeout": 120, **policy}

    def started(job: Job) -> None:
        journal.note("started", job.id, job.attempt)

    def done(job: Job, ending: str = "completed") -> dict[str, int]:
        journal.note("done", job.id, job.attempt, ending=ending, kind=job.kind)
        return {"attempt": job.attempt}

    @app.job("noop", **policy)
    async def noop(job: Job, payload: Any) -> Any:
        started(job)
        return done(job)

    @app.job("slow", **policy)
    async def slow(job: Job, payload: Any) -> Any:
        started(job)
        await asyncio.sleep(payload["seconds"])
        return done(job)

    @app.job("gated", **policy)
    async def gated(job: Job, payload: Any) -> Any:
        if payload.get("progress"):
            await job.progress(10)
        started(job)
        while not Path(payload["gate"]).exists():
            await asyncio.sleep(GATE_LOOK_S)
        if payload.get("progress"):
            await job.progress(90)
        return done(job)

    @app.job("flaky", **policy)
    async def flaky(job: Job, payload: Any) -> Any:
        started(job)
        if job.failures < payload["fails"]:
            done(job, "failed")
            raise RuntimeError("not yet")
        return done(job)

    @app.job("effect", **policy)
    async def effect(job: Job, payload: Any) -> Any:
        started(job)
        await asyncio.sleep(0)
        journal.note("effect", job.id, job.attempt)
        return done(job)

    @app.job("blocking", **policy)
    async def blocking(job: Job, payload: Any) -> Any:
        started(job)
        if job.attempt == 1:
            time.sleep(payload["seconds"])
        return done(job)

    @app.job("thread", **policy)
    def thread(job: Job, payload: Any) -> Any:
        started(job)
        time.sleep(payload["seconds"])
        return done(job)


def declare_secret(app: Trunkline, journal: Journal) -> None:
    """`secret {card, gate?}`: an encrypted kind that keeps its payload in a checkpoint, fails once, and answers the payload."""

    @app.job("secret", encrypt=True, retry_delay=0.05, retry_backoff=False, retry_limit=20, timeout=120)
    async def secret(job: Job, payload: Any) -> Any:
        journal.note("started", job.id, job.attempt)
        kept = await job.last_checkpoint()
        await job.checkpoint(payload)
        while "gate" in payload and not Path(payload["gate"]).exists():
            await asyncio.sleep(GATE_LOOK_S)
        if kept is None:
            journal.note("done", job.id, job.attempt, ending="failed", kind=job.kind)
            raise RuntimeError("the first attempt fails")
        journal.note("done", job.id, job.attempt, ending="completed", kind=job.kind)
        return {"kept": kept}


@contextmanager
def noting_acks(journal: Journal) -> Iterator[None]:
    """While this lasts, each answered report of any worker of this process is journalled."""
    done, completed = Worker._done, Worker._completed

    def noted(self: Worker, job: Job, what: str, settled: Any) -> None:
        journal.note("acked", job.id, job.attempt, what=what)
        done(self, job, what, settled)

    def noted_together(self: Worker, jobs: list[Job]) -> None:
        for job in jobs:
            journal.note("acked", job.id, job.attempt, what="completed")
        completed(self, jobs)

    Worker._done, Worker._completed = noted, noted_together  # type: ignore[method-assign]
    try:
        yield
    finally:
        Worker._done, Worker._completed = done, completed  # type: ignore[method-assign]
