"""A connection kept in hand between statements.

For a caller that sends one small statement after another: taking a connection from the pool and giving it back costs 50 us of
the client's CPU, more than the statement itself (docs/performance.md). It goes back to the pool when nothing was sent
for a while, and at once after any error.
Always true: one statement at a time runs on it; a caller who finds it in use takes one from the pool as everybody does.
Called by: store.pool, for store.enqueue and store.work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

IDLE_S = 0.25  # then others may have it: long against the pause between two calls of a busy sender

Take = Callable[[], Awaitable[asyncpg.Connection]]
GiveBack = Callable[[asyncpg.Connection], Awaitable[None]]


class Held:
    """At most one connection of a pool, kept by whoever used it last."""

    def __init__(self, take: Take, give_back: GiveBack) -> None:
        self._take, self._give_back = take, give_back
        self._conn: asyncpg.Connection | None = None
        self._is_used = False
        self._used_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._returning: set[asyncio.Task[None]] = set()

    @property
    def is_free(self) -> bool:
        """Whether nobody sends on it now."""
        return not self._is_used

    async def fetch(self, text: str, *args: Any) -> list[asyncpg.Record]:
        """All rows of one statement; only while `is_free`."""
        self._is_used = True
        try:
            if self._conn is None or self._conn.is_closed():
                await self._let_go()
                self._conn = await self._take()
            rows: list[asyncpg.Record] = await self._conn.fetch(text, *args)
        except BaseException:
            await self._let_go()
            raise
        finally:
            self._is_used = False
        loop = asyncio.get_running_loop()
        self._used_at = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(IDLE_S, self._look)
        return rows

    async def close(self) -> None:
        """Give the connection back now."""
        await self._let_go()
        if self._returning:
            await asyncio.wait(self._returning)

    def _look(self) -> None:
        """One timer for many statements: it looks when the last one was."""
        loop = asyncio.get_running_loop()
        due_in_s = self._used_at + IDLE_S - loop.time()
        if self._is_used or due_in_s > 0:
            self._timer = loop.call_later(max(due_in_s, 0.01), self._look)
            return
        self._timer = None
        conn, self._conn = self._conn, None  # now, not in the task: a statement may begin before that runs
        if conn is not None:
            task = asyncio.ensure_future(self._give_back(conn))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _let_go(self) -> None:
        conn, self._conn = self._conn, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if conn is not None:
            await self._give_back(conn)
