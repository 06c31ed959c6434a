"""Permits for the requests that a job sends to a provider: the rate of its limit key, shared with every process.

Always true: a request goes out only when the key's limiter gave a permit for it (sql/functions/43_permits.sql), so all jobs of all
processes together keep to the rate; a wait that is worth a worker's slot is waited here, a longer one ends the attempt without
counting it (`RetryAfter`); what a provider says ("stop until ...") shuts the key for everybody.
Called by: jobtypes. Calls: store.limits.
"""

from __future__ import annotations

import asyncio
import math

from trunkline.model import RetryAfter
from trunkline.store import Store, limits

PATIENCE_S = 5.0  # past this the job gives its slot back
LEAST_S, PAUSED_S = 0.01, 60.0


class Permits:
    """The permits of one limit key in one tenant."""

    def __init__(self, store: Store, tenant_id: int, key: str, *, rate: float, burst: int) -> None:
        """`rate` permits a second and `burst` more at once: the provider's, where `app.limits.set(key=...)` said nothing else."""
        self.key = key
        self._store, self._tenant_id, self._rate, self._burst = store, tenant_id, rate, burst

    async def take(self) -> None:
        """Return when one request may be sent.

        Raises:
            RetryAfter: not within PATIENCE_S: the key is blocked or paused, or too many others send.
        """
        while wait_s := await limits.take_permit(self._store, self._tenant_id, self.key, rate=self._rate, burst=self._burst):
            if wait_s > PATIENCE_S:
                paused = not math.isfinite(wait_s)
                raise RetryAfter(
                    PAUSED_S if paused else wait_s, f"the limit key {self.key!r} {'is paused' if paused else 'has no room now'}"
                )
            await asyncio.sleep(max(wait_s, LEAST_S))

    async def shut(self, seconds: float) -> None:
        """Nobody sends, and no job of this limit key starts, for so long. Of several waits the latest counts."""
        await limits.shut_key(self._store, self._tenant_id, self.key, seconds)
