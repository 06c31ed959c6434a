"""`Audit`: lists who did what. Rows are written by the acts themselves (engine.acts), in their transactions.

Called by: rest, cli. Calls: store.audit.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from trunkline.errors import InvalidInput
from trunkline.store import Store, audit
from trunkline.store.audit import Asked, Noted
from trunkline.store.reader import Reader

MOST = 100  # rows of one page
INSTALLATION = 0  # whose log has what belongs to no tenant: migrations, rotated keys; no token and no user is of this tenant


class Audit:
    """The log of one installation."""

    def __init__(self, store: Store) -> None:
        self._reader = Reader(store)

    async def list(
        self,
        tenant_id: int,
        *,
        actor: str | None = None,
        act: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: UUID | None = None,
        limit: int = 20,
    ) -> tuple[list[Noted], UUID | None]:
        """Acts behind `after`, newest first, and where to go on (None: at the end).

        Args:
            since, until: acts from this time on / before this time, to the millisecond.
        Raises:
            InvalidInput: limit is not 1 to 100, or a time has no zone.
        """
        if not 1 <= limit <= MOST:
            raise InvalidInput(f"limit is {limit}: need 1 to {MOST}.")
        for name, moment in (("since", since), ("until", until)):
            if moment is not None and (moment.tzinfo is None or not 1970 < moment.year < 9000):
                raise InvalidInput(
                    f"{name} is {moment.isoformat()}: need a time from 1971 to 8999 with a time zone, such as 2027-01-31T09:00:00Z."
                )
        return await audit.page(self._reader, tenant_id, Asked(actor, act, subject, since, until), after=after, limit=limit)
