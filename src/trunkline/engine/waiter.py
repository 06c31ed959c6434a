"""Waits for jobs to end, for any number of callers, with one read for all of them.

A process that waits says so in its session ("watches this tenant"), so endings are signalled only where somebody listens;
a poll once a second finds what a lost signal missed.
Called by: app.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from uuid import UUID

import structlog

from trunkline.engine.heart import Heart
from trunkline.errors import TrunklineError
from trunkline.store import Store, read, sessions

POLL_S = 1.0
log = structlog.get_logger("trunkline.waiter")


class Waiter:
    """Futures by job; `run` resolves them."""

    def __init__(self, store: Store, heart: Heart) -> None:
        self._store = store
        self._heart = heart
        self._waiting: dict[tuple[int, UUID], set[asyncio.Future[None]]] = defaultdict(set)
        self._look = asyncio.Event()
        self._watched: tuple[int, set[int]] = (0, set())

    async def wait_ended(self, tenant_id: int, job_id: UUID, timeout_s: float | None) -> None:
        """Return when the job has ended.

        Raises:
            TimeoutError: it had not within `timeout_s`.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[tenant_id, job_id]
        waiting.add(future)
        self._look.set()
        try:
            async with asyncio.timeout(timeout_s):
                await future
        finally:
            waiting.discard(future)
            if not waiting:
                self._waiting.pop((tenant_id, job_id), None)

    def heard(self, word: str, arguments: list[str]) -> None:
        """A signal: ended or resync."""
        if word == "resync" or (word == "ended" and any((int(arguments[0]), UUID(job_id)) in self._waiting for job_id in arguments[1:])):
            self._look.set()

    async def run(self) -> None:
        """Look whenever told to, and once a second while anybody waits, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if self._waiting else None):
                    await self._look.wait()
            self._look.clear()
            try:
                await self._watch()
                await self._resolve()
            except TrunklineError as error:
                log.warning("waiter.waiting", error=str(error))
                await self._look_again()
            except Exception:
                log.exception("waiter.failed")  # whatever it was, those who wait must not wait for ever
                await self._look_again()

    async def _look_again(self) -> None:
        await asyncio.sleep(POLL_S)
        self._look.set()

    async def _watch(self) -> None:
        tenants = {tenant_id for tenant_id, _ in self._waiting}
        session_id, watched = self._watched
        if session_id == self._heart.session_id and tenants <= watched:
            return  # a tenant stays watched until the session ends: cheaper than a write per wait
        await sessions.watch(self._store, self._heart.session_id, sorted(tenants | watched))
        self._watched = (self._heart.session_id, tenants | watched)

    async def _resolve(self) -> None:
        by_tenant: dict[int, list[UUID]] = defaultdict(list)
        for tenant_id, job_id in self._waiting:
            by_tenant[tenant_id].append(job_id)
        for tenant_id, job_ids in by_tenant.items():
            for job_id in await read.ended(self._store, tenant_id, job_ids):
                for future in self._waiting.get((tenant_id, job_id), ()):
                    if not future.done():
                        future.set_result(None)
