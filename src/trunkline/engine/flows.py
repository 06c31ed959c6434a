"""Jobs that follow each other, put in together: `app.flows`.

Always true: all of a flow is there, or nothing of it. Any graph can be sent: `new_job` gives ids up front, and `depends_on` takes them.
Called by: app. Calls: store.batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from trunkline.engine.producer import Enqueued
from trunkline.engine.reach import Reach
from trunkline.engine.together import Statement, put_in
from trunkline.errors import InvalidInput
from trunkline.model import NewJob
from trunkline.model.family import after
from trunkline.store import batches as store_batches

MOST = 10_000


class Flows:
    """Chains, fans and other graphs of jobs."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def chain(self, *steps: NewJob | Sequence[NewJob], tenant: str | None = None, connection: Any = None) -> list[list[UUID]]:
        """Put in steps that follow each other: each job waits for every job of the step before.

        A step is a job, or a list of jobs that run beside each other: `chain(fetch, [a, b, c], merge)` fans out and in again.
        Returns:
            The ids of each step; where a key was held, the holder's.
        """
        flat: list[NewJob] = []
        sizes: list[int] = []
        before: list[UUID] = []
        for step in steps:
            jobs = [step] if isinstance(step, NewJob) else list(step)
            if not jobs:
                raise InvalidInput(f"step {len(sizes)} of the chain is empty: leave it out.")
            _are_jobs(jobs)
            flat += [after(job, before) for job in jobs]
            sizes.append(len(jobs))
            before = [job.id for job in jobs]
        answers = iter(await self.send(flat, tenant=tenant, connection=connection))
        return [[next(answers).id for _ in range(size)] for size in sizes]

    async def send(self, jobs: Sequence[NewJob], *, tenant: str | None = None, connection: Any = None) -> list[Enqueued]:
        """Put in up to 10,000 jobs that may wait for each other, in any order, all or none.

        Raises:
            InvalidInput: some wait for each other in a circle; names their ids.
            NotFound: a parent is neither among them nor in the database.
        """
        if len(jobs) > MOST:
            raise InvalidInput(f"{len(jobs):,} jobs in one flow: {MOST:,} is the most.")
        if not jobs:
            return []
        _are_jobs(jobs)
        _, sent = await put_in(
            self._reach,
            jobs,
            tenant,
            connection,
            Statement(store_batches.TOGETHER, store_batches.TOGETHER_TYPES, _nothing),
            lambda store, tenant_id, _, ordered: store_batches.enqueue_together(store, tenant_id, ordered),
        )
        return sent


async def _nothing(_: int) -> tuple[()]:
    return ()


def _are_jobs(given: Sequence[NewJob]) -> None:
    for job in given:
        if not isinstance(job, NewJob):
            raise InvalidInput(f"{str(job)[:80]!r} is no job: flows take those that new_job(kind, payload) makes, which have ids already.")
