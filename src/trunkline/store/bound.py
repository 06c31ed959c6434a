"""One transaction as a store: services that are given it do all their work in it.

Always true: statements of a `Bound` run one after another on its connection; whatever leaves the block with an exception leaves
nothing behind, and comes out as it is; a block that ends although a statement in it failed, which PostgreSQL answers by keeping nothing,
raises what that statement raised.
Called by: engine.acts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from trunkline.errors import TimedOut, Unavailable
from trunkline.store.pool import Store
from trunkline.store.sqlstate import translated

UNKNOWN = (
    "the connection was lost while this was committed: it is kept whole or not at all, and nobody here knows which. "
    "Look before it is done again; a request with an Idempotency-Key may simply be sent again."
)


class Bound(Store):
    """A store whose statements are all part of one open transaction. `conn` is that transaction's connection, to be had by `connection`.

    `lost` is what the first statement raised that ended the transaction.
    """

    def __init__(self, store: Store, conn: asyncpg.Connection) -> None:
        self.pool, self.schema, self.settings, self.sql = store.pool, store.schema, store.settings, store.sql
        self.conn, self.counts = conn, store.counts
        self.lost: Exception | None = None
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """The connection of the transaction, for as long as nobody else has it."""
        async with self._turn:
            try:
                with translated():
                    yield self.conn
            except BaseException as error:
                self.lost = self.lost or _loss(error)
                raise

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
async def transaction(store: Store, tenant_id: int | None = None) -> AsyncIterator[Bound]:
    """A transaction that commits when the block ends, and is rolled back when it raises.

    Half of the pool may be held so: what such a block asks besides (a policy, a template) finds a connection among the others.

    Args:
        tenant_id: whose it is, where there are many; None: of nobody in particular.
    Raises:
        TimedOut: too many others were held for too long.
        Unavailable: the answer to the COMMIT was lost, so it is kept whole or not at all.
    """
    own: BaseException | None = None
    is_ending = False
    bound: Bound | None = None
    try:
        async with store.acts.turn(tenant_id), store.connection() as conn, conn.transaction():
            bound = Bound(store, conn)
            try:
                yield bound
            except BaseException as error:  # noqa: BLE001 - raised again below, where nobody takes it for the driver's
                own = error
            if own is not None or bound.lost is not None:
                raise _Undone
            is_ending = True
    except _Undone:
        pass
    except (Unavailable, TimedOut) as error:
        if is_ending:
            raise Unavailable(UNKNOWN) from error
        if own is None:
            raise
    except Exception:
        if own is None:
            raise
    if own is not None:
        raise own
    if bound is not None and bound.lost is not None:
        raise bound.lost


class _Undone(Exception):
    """Roll back."""


def _loss(error: BaseException) -> Exception | None:
    """What to say of a transaction in which this was raised; None: it stands, as the server has not heard of it."""
    if not isinstance(error, Exception):  # given up while it ran, or just before: nobody can tell
        return TimedOut("a statement of this transaction was given up while it ran, so nothing of it was kept. Try again.")
    driver = error if isinstance(error, asyncpg.PostgresError) else error.__cause__
    is_heard = (
        driver.severity is not None if isinstance(driver, asyncpg.PostgresError) else isinstance(driver, (asyncpg.InterfaceError, OSError))
    )
    return error if is_heard else None
