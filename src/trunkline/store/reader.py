"""Reads for people of one tenant, behind a second wall: the role that row-level security holds, for one tenant, in one transaction.

Always true: a statement that forgets its tenant sees the tenant of the call and no other, where the database role of this process
may take the role trunkline_app (`has_wall`); plans walk indexes, whatever the statistics say.
Called by: engine.records, audit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import structlog

from trunkline.store.bound import Bound
from trunkline.store.pool import Store

READ_S = 10  # a read that takes longer is given up
# One round trip. The planner settings keep the joins of a page nested loops (docs/decisions/0002), planned once for a connection: planning
# a page over all partitions takes longer than reading it.
BEGIN = """begin read only; set local statement_timeout = '{seconds}s'; set local trunkline.tenant_id = {tenant_id};
set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off;
set local enable_sort = off; set local enable_bitmapscan = off; set local jit = off; set local plan_cache_mode = force_generic_plan; {wall}"""
WALL = "set local role trunkline_app"
log = structlog.get_logger("trunkline.store")


class Reader:
    """One per store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._has_wall: bool | None = None

    async def has_wall(self) -> bool:
        """Whether this process may take the reading role; asked once."""
        if self._has_wall is None:
            async with self._store.connection() as conn:
                try:
                    async with conn.transaction():
                        await conn.execute(self._store.sql(WALL))
                except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError, asyncpg.UndefinedObjectError) as error:
                    log.warning("reader.no_second_wall", error=str(error), grant=self._store.sql("grant trunkline_app to ..."))
                    self._has_wall = False
                else:
                    self._has_wall = True
        return self._has_wall

    async def ping(self) -> None:
        """Return when the database has answered."""
        await self._store.fetchval("select 1")

    async def fetch(self, tenant_id: int, text: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of one statement that reads, as this tenant sees them."""
        return (await self.fetch_all(tenant_id, (text, args)))[0]

    async def fetch_all(self, tenant_id: int, *statements: tuple[str, tuple[Any, ...]]) -> list[list[asyncpg.Record]]:
        """The rows of several statements, one after another in one transaction."""
        async with self.within(tenant_id) as bound:
            return [await bound.fetch(text, *args) for text, args in statements]

    @asynccontextmanager
    async def within(self, tenant_id: int) -> AsyncIterator[Bound]:
        """A transaction that reads as this tenant, for services that read."""
        wall = self._store.sql(WALL) if await self.has_wall() else ""
        begin = BEGIN.format(seconds=READ_S, tenant_id=int(tenant_id), wall=wall)  # its names are the same in every schema
        async with self._store.connection() as conn:
            await conn.execute(begin)
            try:
                yield Bound(self._store, conn)
            finally:
                await conn.execute("rollback")
