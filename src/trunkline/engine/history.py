"""Lets history go when its time is over: whole slices by detaching their tables, single jobs by deleting them in pieces.

Every worker offers to do it once a minute; one does.
Always true: a piece is one short transaction; a round ends after `SWEEP_S`, and the next one goes on where it stopped.
Called by: engine.worker. Calls: store.history.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from trunkline.errors import TrunklineError
from trunkline.store import Store, history, requests

EVERY_S = 60.0
SWEEP_S = 2.0  # of each minute; some hundred thousand jobs (docs/decisions/0010)
PIECE = 2000  # ended jobs looked at in one transaction
log = structlog.get_logger("trunkline.history")


class History:
    """One per worker. `session_id` answers the session of the moment."""

    def __init__(self, store: Store, session_id: Callable[[], int]) -> None:
        self._store, self._session_id = store, session_id

    async def run(self) -> None:
        """A round each minute until cancelled."""
        while True:
            try:
                await self.round()
            except TrunklineError as error:
                log.warning("history.not_kept", error=str(error))
            await asyncio.sleep(EVERY_S)

    async def round(self) -> None:
        """What is due, unless somebody else does it."""
        settings = self._store.settings
        answers, acts = await requests.sweep(self._store, self._session_id(), settings.audit_retention_s)
        if answers or acts:
            log.info("requests.swept", answers=answers, audit_rows=acts)
        begun = await history.begin(self._store, self._session_id(), settings.retention_s, settings.partition_days)
        if begun is None:
            return
        dropped = [suffix for suffix in begun.leaving if await self._let_go(suffix)]
        deleted = await self._sweep()
        if begun.made or begun.keys or dropped or deleted:
            log.info("history.kept", made=begun.made, dropped=dropped, jobs_deleted=deleted, keys_freed=begun.keys)

    async def _let_go(self, suffix: str) -> bool:
        """One slice; one that cannot go now must not keep the others."""
        try:
            return await history.let_go(self._store, suffix, self._store.settings.retention_s)
        except TrunklineError as error:
            log.warning("history.slice_stays", slice=suffix, error=str(error))
            return False

    async def _sweep(self) -> int:
        deleted, until = 0, time.monotonic() + SWEEP_S
        while time.monotonic() < until:
            piece = await history.sweep(self._store, self._store.settings.retention_s, PIECE)
            deleted += piece.deleted
            if not piece.looked:
                break
        return deleted
