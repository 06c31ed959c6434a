"""Whose turn it is to hold a connection for a whole transaction (store.bound).

Always true: half of the pool may be held so, because a holder may need a second connection meanwhile; one tenant may have all of
these turns but one, so that its flood keeps no other waiting behind it; whoever has no turn within `within_s` is told so, also one that
waits for itself.
Called by: pool, bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from trunkline.errors import TimedOut


class Turns:
    """`most` turns at once; those who wait get theirs in the order in which they came."""

    def __init__(self, most: int, *, within_s: float) -> None:
        self._most, self._within_s = most, within_s
        self._all = asyncio.Semaphore(most)
        self._of_tenant: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()  # while somebody has or awaits one

    @asynccontextmanager
    async def turn(self, tenant_id: int | None) -> AsyncIterator[None]:
        """Have a turn within this block. `tenant_id` None: of no tenant, so of all turns.

        Raises:
            TimedOut: there was none in time.
        """
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._within_s):
                    if tenant_id is not None:
                        of_tenant = self._of_tenant.setdefault(tenant_id, asyncio.Semaphore(max(self._most - 1, 1)))
                        await held.enter_async_context(of_tenant)
                    await held.enter_async_context(self._all)
            except TimeoutError:
                raise TimedOut(
                    f"all {self._most} transactions that this process may have open for people were in use for {self._within_s:g} s. "
                    "Try again; TRUNKLINE_POOL_MAX is twice their number. One that is opened inside another waits for itself."
                ) from None
            yield
