"""Calls that wait for batches: any number of them, one watch for each batch.

A watch reads its batch once, is told of its end by the engine's waiter, which reads for all of them at once, and reads it once
more. So many who wait cost what one costs.
Always true: a wait ends at its time, with its connection, or with its batch, whichever comes first; it holds no turn of its
tenant meanwhile; a watch lives as long as anybody waits for it.
Called by: commands.batches, gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from uuid import UUID

from trunkline.auth import Principal
from trunkline.errors import RateLimited, Unavailable
from trunkline.gateway.connection import Connection
from trunkline.gateway.services import Services
from trunkline.model import BatchView

MOST_OF_CONNECTION = 200  # of the 1,000 calls that a socket may have under way
Turn = Callable[[Principal], AbstractAsyncContextManager[object]]


@dataclass(slots=True, eq=False)
class _Watch:
    task: asyncio.Task[BatchView]
    waiting: set[asyncio.Future[None]] = field(default_factory=set)


class BatchWaits:
    """Everybody of this process who waits for a batch. `turn`: one of the few reads that a tenant may have at once."""

    def __init__(self, services: Services, turn: Turn) -> None:
        self._services, self._turn = services, turn
        self._watches: dict[tuple[int, UUID], _Watch] = {}
        self._reads: dict[tuple[int, UUID], asyncio.Task[BatchView]] = {}  # that wait for their turns

    async def wait(self, connection: Connection, batch_id: UUID, timeout_s: float) -> BatchView:
        """The batch once it is done, or as it stands when the time is over or the connection is.

        Raises:
            NotFound: this tenant has no such batch.
            RateLimited: the connection waits for too many.
        """
        if len(connection.waits) >= MOST_OF_CONNECTION:
            raise RateLimited(f"this connection waits for {MOST_OF_CONNECTION} batches already. Wait for them first, or open another one.")
        principal = connection.principal
        key = (principal.tenant_id, batch_id)
        if (watch := self._watches.get(key)) is None:
            watch = self._watches[key] = _Watch(asyncio.create_task(self._ended(principal, batch_id)))
            watch.task.add_done_callback(lambda _: self._over(key, watch))
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watch.waiting.add(mine)
        connection.waits.add(mine)
        try:
            await asyncio.wait((mine,), timeout=timeout_s)
        finally:
            connection.waits.discard(mine)
            watch.waiting.discard(mine)
            if not watch.waiting:
                self._forget(key, watch)
                watch.task.cancel()
        if watch.task.done() and not watch.task.cancelled():
            return watch.task.result()
        if not connection.is_open:
            raise Unavailable("the connection is over. Ask again on another one.")
        return await self._counted(principal, batch_id)

    def leave(self, connection: Connection) -> None:
        """Its socket is gone: nobody hears its answers."""
        for wait in tuple(connection.waits):
            _tell(wait)

    async def _ended(self, principal: Principal, batch_id: UUID) -> BatchView:
        batch = await self._counted(principal, batch_id)
        if not batch.is_done:
            await self._services.ended(batch.tenant_id, batch.id, None)
            batch = await self._counted(principal, batch_id)
        return batch

    async def _counted(self, principal: Principal, batch_id: UUID) -> BatchView:
        """Where it stands now. Who asks while such a read waits for its turn shares it; never one that has begun."""
        key = (principal.tenant_id, batch_id)
        if (read := self._reads.get(key)) is None:
            read = self._reads[key] = asyncio.create_task(self._read(key, principal, batch_id))
            read.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # whoever asked may have gone
        return await asyncio.shield(read)

    async def _read(self, key: tuple[int, UUID], principal: Principal, batch_id: UUID) -> BatchView:
        async with self._turn(principal):
            del self._reads[key]
            return await self._services.batches.get(batch_id, tenant=principal.tenant)

    def _forget(self, key: tuple[int, UUID], watch: _Watch) -> None:
        if self._watches.get(key) is watch:
            del self._watches[key]

    def _over(self, key: tuple[int, UUID], watch: _Watch) -> None:
        self._forget(key, watch)
        if not watch.task.cancelled():
            watch.task.exception()  # those who wait raise it
        for wait in watch.waiting:
            _tell(wait)


def _tell(wait: asyncio.Future[None]) -> None:
    if not wait.done():
        wait.set_result(None)
