"""Gateways on real ports, for as long as a block runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from trunkline import Trunkline
from trunkline.gateway.server import Server
from trunkline.realtime import Presence
from trunkline.settings import Settings


@asynccontextmanager
async def gateway_of(app: Trunkline) -> AsyncIterator[Server]:
    """In development mode on a free port; it waits for a second instead of five for a client to come back."""
    made = await app.start_gateway(port=0, mode="development")
    made.gateway.dispatcher._grace_s = 1.0
    yield made
    await app.stop_gateway(1.0)


@asynccontextmanager
async def another_gateway(url: str) -> AsyncIterator[Server]:
    """One of another application on the same database."""
    async with Trunkline(settings=Settings.load({}, database_url=url)) as app:
        yield await app.start_gateway(port=0, mode="development")
        await app.stop_gateway(1.0)


@contextmanager
def soon_counted() -> Iterator[None]:
    """Gateways that are started in the block tell at once who is connected, also in their first round: tests need not wait for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Presence.__init__.__kwdefaults__, "every_s", 0.05)
        yield
