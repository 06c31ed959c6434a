"""`Batch`: jobs that were sent together."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from trunkline.client.backoff import Backoff
from trunkline.client.link import Link
from trunkline.errors import RateLimited, Unavailable, WaitTimeout
from trunkline.wire.answers import BatchEnded
from trunkline.wire.calls import WaitForBatch

ASK_S = 60.0  # one call waits so long; then the next one does
ANSWER_WITHIN_S = 30.0  # ... and its answer may take so much longer


@dataclass(frozen=True, slots=True)
class Batch:
    """Attributes:
    id: for `client.batch_of`, also in another program.
    job_ids: in the order given; of a job whose key was held the holder's.
    """

    id: UUID
    job_ids: tuple[UUID, ...]
    _link: Link

    async def counts(self) -> BatchEnded:
        """How far it is: total, completed, failed, cancelled, done."""
        found: BatchEnded = await self._link.ask(WaitForBatch(self.id, 0), ANSWER_WITHIN_S)
        return found

    async def wait(self, timeout: float | None = None) -> BatchEnded:
        """The counts, as soon as every job has ended, however it did.

        Raises:
            WaitTimeout: they had not within `timeout` seconds; says how far it is.
            NotFound: this tenant has no such batch.
        """
        loop, backoff = asyncio.get_running_loop(), Backoff()
        ends_at = float("inf") if timeout is None else loop.time() + timeout
        while True:
            wait_s = max(min(ASK_S, ends_at - loop.time()), 0.0)
            try:
                found: BatchEnded = await self._link.ask(WaitForBatch(self.id, int(wait_s * 1000)), wait_s + ANSWER_WITHIN_S, is_long=True)
            except (RateLimited, Unavailable):
                if self._link.over.done() or loop.time() >= ends_at:
                    raise
                await asyncio.sleep(backoff.next_s())
                continue
            if found.done:
                return found
            if loop.time() >= ends_at:
                ended = found.completed + found.failed + found.cancelled
                raise WaitTimeout(f"batch {self.id}: {ended} of {found.total} jobs have ended after {timeout:g} s. Wait again.")
