"""The database connection of one process: a pool, our SQL in the right schema, our exceptions.

Always true: a statement runs to its end or raises one of ours, within twice the command timeout at most; a connection goes
back to the pool clean without an extra round trip (we never leave session state behind, so asyncpg's reset query is switched
off); behind a transaction pooler no named statement is used; the heartbeat has a connection of its own, so that it never
waits for what this process else does.
Called by: every module of store, and app for its life cycle.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

import asyncpg

from trunkline import sql
from trunkline.errors import Unavailable
from trunkline.observe.counts import ProcessCounts
from trunkline.settings import Settings, mask_url
from trunkline.store.held import Held
from trunkline.store.reaching import advice
from trunkline.store.sqlstate import translate, translated
from trunkline.store.turns import Turns

# A peer that went away without a word (a dead machine, a cut cable) is noticed within about 30 s idle and 60 s amid an answer.
# By default that takes two hours, and fifteen minutes. Set after connecting: PgBouncer refuses what it does not know in a startup packet.
KEEPALIVE = """select set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '60000', false)"""
# A connection whose statement was given up is worth this wait for the server's "cancelled"; past it, it is closed. Without a
# bound a frozen network would keep it, and whoever gave up, for another command timeout.
GIVE_BACK_S = 1.0
KEPT_TIMEOUT_S = 10.0  # of the heartbeat's own connection: then it is closed and a new one is made


def _in_one_line(record: logging.LogRecord) -> bool:
    """The driver's attempts to keep its least connections, without their tracebacks: while the database is away there is one after another."""
    if record.exc_info and record.exc_info[1] is not None and str(record.msg).startswith("Failed to restore the pool"):
        error = record.exc_info[1]
        record.msg, record.args, record.exc_info = "%s: %s: %s", (record.msg, type(error).__name__, error), None
    return True


logging.getLogger("asyncpg.pool").addFilter(_in_one_line)


class Store:
    """The way to the database. Make one with `Store.connect`; `close` it."""

    def __init__(self, pool: asyncpg.Pool, kept: asyncpg.Pool, schema: str, settings: Settings) -> None:
        self.pool = pool
        self._kept = kept
        self.schema = schema
        self.settings = settings
        self.counts = ProcessCounts()
        self._held = Held(lambda: self._take(pool), lambda conn: _give_back(pool, conn))
        self.acts = Turns(max(settings.pool_max // 2, 1), within_s=settings.command_timeout_s)
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
            pool = await _pool(settings, 1, settings.pool_max, settings.command_timeout_s)
            kept = await _pool(settings, 0, 1, min(settings.command_timeout_s, KEPT_TIMEOUT_S))  # connects at the first heartbeat
        except Exception as error:
            ours = translate(error)
            if ours is None and not isinstance(error, asyncpg.PostgresError):
                raise
            said = f"cannot connect to {mask_url(settings.database_url)}: {error or type(error).__name__}".removesuffix(".")
            raise Unavailable(". ".join(filter(None, (said, advice(error))))) from error
        return cls(pool, kept, settings.schema_name, settings)

    async def close(self) -> None:
        """Close every connection; those in use get 5 s."""
        await self._held.close()
        await asyncio.gather(_close(self.pool), _close(self._kept))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for several statements; exceptions become ours."""
        with translated():
            conn = await self._take(self.pool)
            try:
                yield conn
            finally:
                await _give_back(self.pool, conn)

    async def fetch(self, text: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """All rows of one statement, spelled for the schema `trunkline`."""
        with translated():
            conn = await self._take(self.pool)
            try:
                return await conn.fetch(self.sql(text), *args, timeout=timeout)  # type: ignore[no-any-return]
            finally:
                await _give_back(self.pool, conn)

    async def fetch_held(self, text: str, *args: Any) -> list[asyncpg.Record]:
        """As `fetch`, on the connection in hand when it is free: for one small statement after another."""
        if not self._held.is_free:
            return await self.fetch(text, *args)
        with translated():
            return await self._held.fetch(self.sql(text), *args)

    async def fetch_kept(self, text: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of one statement on the connection kept for the heartbeat."""
        with translated():
            conn = await self._take(self._kept)
            try:
                return await conn.fetch(self.sql(text), *args)  # type: ignore[no-any-return]
            finally:
                await _give_back(self._kept, conn)

    async def fetch_apart(self, text: str, *args: Any, within_s: float) -> list[asyncpg.Record]:
        """All rows of one statement on a connection made for it alone: when the others do not answer."""
        with translated():
            async with asyncio.timeout(within_s):
                conn = await asyncpg.connect(
                    self.settings.database_url, statement_cache_size=0, server_settings={"application_name": "trunkline"}
                )
                try:
                    return await conn.fetch(self.sql(text), *args)  # type: ignore[no-any-return]
                finally:
                    conn.terminate()

    async def _take(self, pool: asyncpg.Pool) -> asyncpg.Connection:
        async with asyncio.timeout(self.settings.command_timeout_s):
            return await pool.acquire()

    async def fetchrow(self, text: str, *args: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        rows = await self.fetch(text, *args)
        return rows[0] if rows else None

    async def fetchval(self, text: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        rows = await self.fetch(text, *args)
        return rows[0][0] if rows else None


async def _pool(settings: Settings, least: int, most: int, command_timeout_s: float) -> asyncpg.Pool:
    return await asyncpg.create_pool(
        settings.database_url,
        min_size=least,
        max_size=most,
        command_timeout=command_timeout_s,
        timeout=min(command_timeout_s, 10.0),
        statement_cache_size=0 if settings.is_pooled else 200,
        reset=_nothing,
        init=None if settings.is_pooled else keep_alive,  # behind a transaction pooler the server connection is not ours to tune
        server_settings={"application_name": "trunkline"},
    )


async def keep_alive(conn: asyncpg.Connection) -> None:
    """Let the server notice when this process is gone."""
    await conn.execute(KEEPALIVE)


async def _close(pool: asyncpg.Pool) -> None:
    try:
        async with asyncio.timeout(5):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _give_back(pool: asyncpg.Pool, conn: asyncpg.Connection) -> None:
    with suppress(TimeoutError):  # it was closed instead; the statement's own exception says what happened
        await pool.release(conn, timeout=GIVE_BACK_S)


async def _nothing(_: asyncpg.Connection) -> None:
    """Instead of RESET ALL at each release: one round trip saved per statement."""
