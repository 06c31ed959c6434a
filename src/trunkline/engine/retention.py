"""How long ended jobs are kept, queue by queue: `app.retention`.

A queue without a retention of its own keeps them for TRUNKLINE_RETENTION. What is kept longer stays whole: the job, its outcome,
attempts, log and checkpoint, and its idempotency key.
Called by: app (as an attribute), cli.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from trunkline.engine.reach import Reach
from trunkline.errors import InvalidInput
from trunkline.model import checked_name
from trunkline.store import history
from trunkline.store.history import Kept

LEAST_S, MOST_S = 60, 3650 * 86400


class Unchanged:
    """The type of `UNCHANGED`: a state that `set` leaves as it is."""


UNCHANGED: Final = Unchanged()
Time = float | timedelta | None | Unchanged


class Retention:
    """What each queue keeps, and for how long."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def set(
        self,
        queue: str,
        *,
        completed: Time = UNCHANGED,
        failed: Time = UNCHANGED,
        cancelled: Time = UNCHANGED,
        tenant: str | None = None,
    ) -> dict[str, int | None]:
        """Keep a queue's ended jobs for so long, by how they ended; seconds or a timedelta, 60 s to ten years.

        Args:
            completed, failed, cancelled: None: as long as the installation; left out: as it was.
        Returns:
            Seconds by state as they count from now on, for jobs that have ended already, too.
        """
        named = {"completed": completed, "failed": failed, "cancelled": cancelled}
        keep_s = {state: _seconds(state, time) for state, time in named.items() if not isinstance(time, Unchanged)}
        tenant_id = await self._reach.tenant_id(tenant)
        kept = await history.set_retention(await self._reach.open(), tenant_id, checked_name("queue", queue), keep_s)
        await self._reach.noted(tenant_id, "retention.set", f"queue:{queue}", **keep_s)
        return kept

    async def list(self, *, tenant: str | None = None) -> list[Kept]:
        """The tenant's queues with a retention of their own."""
        return await history.retention(await self._reach.open(), await self._reach.known_tenant_id(tenant))


def _seconds(state: str, time: float | timedelta | None) -> int | None:
    if time is None:
        return None
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not LEAST_S <= seconds <= MOST_S:
        raise InvalidInput(
            f"{state} is {time!r}: need {LEAST_S} to {MOST_S} seconds, or None for as long as the installation keeps history."
        )
    return round(seconds)
