"""One transaction as a store: services that are given it do all their work in it.

Always true: statements of a `Bound` run one after another on its connection; whatever leaves the block with an exception leaves
nothing behind.
Called by: engine.acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from trunkline.store.pool import Store
from trunkline.store.sqlstate import translated


class Bound(Store):
    """A store whose statements are all part of one open transaction. `conn` is that transaction's connection."""

    def __init__(self, store: Store, conn: asyncpg.Connection) -> None:
        self.pool, self.schema, self.settings, self.sql = store.pool, store.schema, store.settings, store.sql
        self.conn, self.counts = conn, store.counts
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection of the transaction."""
        async with self._turn:
            with translated():
                yield self.conn

    async def fetch(self, text: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """All rows of one statement of the transaction."""
        async with self.connection() as conn:
            return await conn.fetch(self.sql(text), *args, timeout=timeout)  # type: ignore[no-any-return]

    async def fetch_held(self, text: str, *args: Any) -> list[asyncpg.Record]:
        """As `fetch`."""
        return await self.fetch(text, *args)

    async def close(self) -> None:
        """Nothing: the transaction belongs to whoever opened it."""


@asynccontextmanager
async def transaction(store: Store) -> AsyncIterator[Bound]:
    """A transaction that commits when the block ends, and is rolled back when it raises.

    Half of the pool may be held so: what such a block asks besides (a policy, a template) finds a connection among the others.
    """
    async with store.acts, store.connection() as conn, conn.transaction():
        yield Bound(store, conn)
