"""Counts what ended by queue and writes it down every few seconds, so that rates can be known without reading history.

Always true: nothing is written while nothing ends; jobs that end cost no statement of their own; counts that could not be written are
written with the next ones; a process that is killed takes those of a few seconds with it.
Called by: engine.worker, engine.remote. Calls: store.alerts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from trunkline.engine.context import Job
from trunkline.errors import TrunklineError
from trunkline.store import Store, alerts
from trunkline.store.alerts import Tally

EVERY_S = 5.0
FAILED = frozenset(("failed", "fatal", "timed_out", "lost"))  # endings of attempts that the policy counts
log = structlog.get_logger("trunkline.tallies")


class Tallies:
    """Of one worker or gateway. `run` is a loop to be kept going."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[tuple[int, str], list[float]] = {}  # by (tenant, queue): completed, failed, retried, busy seconds

    def completed(self, jobs: Sequence[Job]) -> None:
        """Jobs of one tenant have completed."""
        if not jobs:
            return
        queues = {job.queue for job in jobs}
        for queue in queues:
            of = jobs if len(queues) == 1 else [job for job in jobs if job.queue == queue]
            row = self._of(jobs[0].tenant_id, queue)
            row[0] += len(of)
            row[3] += sum([job.took_s for job in of])

    def ended(self, job: Job, what: str) -> None:
        """A report was answered: completed, lost, or what settle made of it."""
        if what == "completed":
            self.completed([job])
        elif what == "failed":
            self._of(job.tenant_id, job.queue)[1] += 1
        elif what in ("deferred", "ready") and job.ending in FAILED:
            self._of(job.tenant_id, job.queue)[2] += 1

    def _of(self, tenant_id: int, queue: str) -> list[float]:
        return self._pending.setdefault((tenant_id, queue), [0, 0, 0, 0.0])

    async def run(self) -> None:
        """Write what there is, until cancelled."""
        while True:
            await asyncio.sleep(min(EVERY_S, self._store.settings.alert_interval_s))
            await self.flush()

    async def flush(self) -> None:
        """Write it now."""
        if not self._pending:
            return
        taken, self._pending = self._pending, {}
        rows = [Tally(*key, int(done), int(failed), int(retried), busy) for key, (done, failed, retried, busy) in taken.items()]
        try:
            await alerts.note(self._store, rows)
        except TrunklineError as error:
            log.warning("tallies.not_written", error=str(error))
            for key, counts in taken.items():
                row = self._of(*key)
                row[:] = [a + b for a, b in zip(row, counts, strict=True)]
