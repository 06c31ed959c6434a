"""`Sessions`: further connections to a test's database, and a wait until the server says that one of them is really blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import asyncpg

from tests.support.until import until
from trunkline.store import Store


class Sessions:
    """Opens connections beside the store's pool; `close` ends them all."""

    def __init__(self, url: str, store: Store) -> None:
        self._url, self._store = url, store
        self._open: list[asyncpg.Connection] = []
        self._running: list[asyncio.Task[Any]] = []

    async def connect(self, **how: Any) -> asyncpg.Connection:
        """One more connection."""
        conn = await asyncpg.connect(self._url, **how)
        self._open.append(conn)
        return conn

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Let `work` go on beside the test."""
        task = asyncio.create_task(work)
        self._running.append(task)
        return task

    async def blocked(self, conn: asyncpg.Connection) -> None:
        """Return when the backend of `conn` waits for a lock that another transaction holds."""
        pid = conn.get_server_pid()

        async def is_blocked() -> bool:
            return bool(await self._store.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid))

        await until(is_blocked, f"backend {pid} waits for a lock")

    async def close(self) -> None:
        """Cancel what still runs and close every connection."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for conn in self._open:
            conn.terminate()
