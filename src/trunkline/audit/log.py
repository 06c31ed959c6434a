"""`Audit`: adds rows within the transaction of an act, and lists them.

Called by: rest, gateway, cli. Calls: store.audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from trunkline.audit.actor import Actor
from trunkline.errors import InvalidInput
from trunkline.store import Store, audit
from trunkline.store.reader import Reader

MOST = 100  # rows of one page


@dataclass(frozen=True, slots=True)
class Noted:
    """One act. `detail` is JSON text, or None."""

    id: UUID
    at: datetime
    actor_kind: str
    actor: str
    act: str
    subject: str
    via: str
    address: str | None
    detail: str | None


class Audit:
    """The log of one installation."""

    def __init__(self, store: Store) -> None:
        self._reader = Reader(store)

    @staticmethod
    async def note(store: Store, tenant_id: int, actor: Actor, act: str, subject: str, detail: dict[str, Any] | None = None) -> None:
        """Add a row.

        Args:
            store: the transaction of the act (engine.Act.store), so that both or neither are.
            act: thing.verb, such as job.cancelled; `subject`: what it was done to, such as job:ID.
            detail: small and without secrets.
        """
        text = None if detail is None else msgspec.json.encode(detail).decode()
        await audit.note(store, tenant_id, actor.kind, actor.id, act, subject, actor.via, actor.address, text)

    async def list(
        self,
        tenant_id: int,
        *,
        actor: str | None = None,
        act: str | None = None,
        subject: str | None = None,
        after: UUID | None = None,
        limit: int = 20,
    ) -> tuple[list[Noted], UUID | None]:
        """Acts behind `after`, newest first, and where to go on (None: at the end).

        Raises:
            InvalidInput: limit is not 1 to 100.
        """
        if not 1 <= limit <= MOST:
            raise InvalidInput(f"limit is {limit}: need 1 to {MOST}.")
        rows, further = await audit.page(self._reader, tenant_id, actor=actor, act=act, subject=subject, after=after, limit=limit)
        return [Noted(*row) for row in rows], further
