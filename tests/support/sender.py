"""`Sender`: puts jobs in and journals each step, as a careful client would: ids are chosen before sending, and a call that
raised `Unavailable` is repeated with the same id until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from tests.support.journal import Journal
from trunkline import Trunkline, new_job
from trunkline.errors import NotFound, Unavailable, WaitTimeout
from trunkline.model import NewJob

PAUSE_S = 0.1  # between repeats of an unanswered call


class Sender:
    """One application's way in, with a journal."""

    def __init__(self, app: Trunkline, journal: Journal) -> None:
        self.app, self.journal = app, journal

    async def send(self, kind: str, payload: Any = None, **options: Any) -> UUID:
        """Enqueue one job through the shared flush; the id that stands for it."""
        job = new_job(kind, payload)
        self.journal.note("sent", job.id)
        while True:
            try:
                done = await self.app.enqueue_checked(kind, payload, id=job.id, **options)
                break
            except Unavailable:
                self.journal.note("unanswered", job.id)
                await asyncio.sleep(PAUSE_S)
        self.journal.note("accepted", done.id, created=done.created)
        return done.id

    async def send_each(self, kind: str, count: int, payload: Any = None, *, at_once: int = 50, **options: Any) -> list[UUID]:
        """`count` single sends, `at_once` of them under way together; the ids as they were answered."""
        ids: list[UUID] = []
        left = iter(range(count))

        async def one_after_another() -> None:
            for _ in left:
                ids.append(await self.send(kind, payload, **options))

        await asyncio.gather(*(one_after_another() for _ in range(at_once)))
        return ids

    async def send_many(self, jobs: Sequence[NewJob]) -> list[UUID]:
        """One call with a list; their ids in order."""
        for job in jobs:
            self.journal.note("sent", job.id)
        while True:
            try:
                done = await self.app.enqueue_many(jobs)
                break
            except Unavailable:
                for job in jobs:
                    self.journal.note("unanswered", job.id)
                await asyncio.sleep(PAUSE_S)
        for one in done:
            self.journal.note("accepted", one.id, created=one.created)
        return [one.id for one in done]

    async def see(self, job_id: UUID, timeout_s: float = 60.0) -> str:
        """Wait for the ending as a client that asks again when the database was away; its state."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    job = await self.app.wait_ended(job_id, timeout_s)
                    break
                except Unavailable:
                    await asyncio.sleep(PAUSE_S)
                except (WaitTimeout, NotFound) as error:
                    raise AssertionError(f"waiting for {job_id}: {error}") from error
        self.journal.note("seen", job_id, state=job.state)
        return job.state
