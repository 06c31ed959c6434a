"""What an operator changes from the command line, in one transaction with the row that says who did.

Called by: commands that change something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trunkline.app import Trunkline
    from trunkline.engine import Act
    from trunkline.store import Store


@dataclass(frozen=True, slots=True)
class Audited:
    """An act under way. `do` has the application's verbs; `store` is its transaction."""

    do: Act
    tenant_id: int

    @property
    def store(self) -> Store:
        """The transaction."""
        return self.do.store

    async def note(self, what: str, subject: str, **detail: Any) -> None:
        """The row: who runs this command did `what` to `subject`."""
        from trunkline.audit import Actor, Audit

        await Audit.note(self.store, self.tenant_id, Actor.operator(), what, subject, detail or None)


@asynccontextmanager
async def audited(app: Trunkline, tenant_id: int) -> AsyncIterator[Audited]:
    """One transaction: everything in the block, or nothing of it."""
    from trunkline.engine import acting

    async with acting(app) as act:
        yield Audited(act, tenant_id)
