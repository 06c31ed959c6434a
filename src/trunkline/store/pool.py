"""The database connection of one process: a pool, our SQL in the right schema, our exceptions.

Always true: a statement runs to its end or raises one of ours; a connection goes back to the pool clean without an extra
round trip (we never leave session state behind, so asyncpg's reset query is switched off); behind a transaction pooler no
named statement is used.
Called by: every module of store, and app for its life cycle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import asyncpg

from trunkline import sql
from trunkline.errors import Unavailable
from trunkline.settings import Settings, mask_url
from trunkline.store.sqlstate import translate, translated


class Store:
    """The way to the database. Make one with `Store.connect`; `close` it."""

    def __init__(self, pool: asyncpg.Pool, schema: str, settings: Settings) -> None:
        self.pool = pool
        self.schema = schema
        self.settings = settings
        self.sql = cache(lambda text: sql.render(text, schema))  # texts are constants of our modules: bounded

    @classmethod
    async def connect(cls, settings: Settings) -> Store:
        """Open the pool.

        Raises:
            Unavailable: the database cannot be reached; names its URL without the password.
        """
        if settings.database_url is None:
            raise Unavailable("no database: set TRUNKLINE_DATABASE_URL, or install trunkline[embedded].")
        try:
            pool = await asyncpg.create_pool(
                settings.database_url,
                min_size=0 if settings.pool_max < 2 else 1,
                max_size=settings.pool_max,
                command_timeout=settings.command_timeout_s,
                timeout=min(settings.command_timeout_s, 10.0),
                statement_cache_size=0 if settings.is_pooled else 200,
                reset=_nothing,
                server_settings={"application_name": "trunkline"},
            )
        except Exception as error:
            ours = translate(error)
            if ours is None and not isinstance(error, asyncpg.PostgresError):
                raise
            raise Unavailable(f"cannot connect to {mask_url(settings.database_url)}: {error}") from error
        return cls(pool, settings.schema_name, settings)

    async def close(self) -> None:
        """Close every connection; those in use get 5 s."""
        try:
            await asyncpg_close(self.pool)
        except TimeoutError:
            self.pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for several statements; exceptions become ours."""
        with translated():
            async with self.pool.acquire(timeout=self.settings.command_timeout_s) as conn:
                yield conn

    async def fetch(self, text: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """All rows of one statement, spelled for the schema `trunkline`."""
        with translated():
            async with self.pool.acquire(timeout=self.settings.command_timeout_s) as conn:
                return await conn.fetch(self.sql(text), *args, timeout=timeout)  # type: ignore[no-any-return]

    async def fetchrow(self, text: str, *args: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        rows = await self.fetch(text, *args)
        return rows[0] if rows else None

    async def fetchval(self, text: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        rows = await self.fetch(text, *args)
        return rows[0][0] if rows else None


async def asyncpg_close(pool: asyncpg.Pool) -> None:
    """Close a pool, waiting at most 5 s for connections in use."""
    import asyncio

    async with asyncio.timeout(5):
        await pool.close()


async def _nothing(_: asyncpg.Connection) -> None:
    """Instead of RESET ALL at each release: one round trip saved per statement."""
