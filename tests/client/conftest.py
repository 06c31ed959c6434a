"""A gateway on a real port and clients made with the SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.support.gateways import another_gateway, gateway_of
from tests.support.switch import Switch
from tests.support.tokens import token_maker
from trunkline import Trunkline
from trunkline.client import Client, connect
from trunkline.gateway.server import Server


@pytest.fixture
async def server(app: Trunkline) -> AsyncIterator[Server]:
    """A gateway; it waits a second instead of five for a client to come back."""
    async with gateway_of(app) as made:
        yield made


@pytest.fixture
async def elsewhere(trunkline_url: str) -> AsyncIterator[Server]:
    """Another gateway on the same database."""
    async with another_gateway(trunkline_url) as made:
        yield made


@pytest.fixture
async def switch(server: Server) -> AsyncIterator[Switch]:
    """A port in front of the gateway."""
    async with Switch(server.port) as switch:
        yield switch


@pytest.fixture
async def token(app: Trunkline) -> Callable[..., Awaitable[str]]:
    """Make a token of a tenant."""
    return token_maker(app)


@pytest.fixture
async def join(server: Server, token: Callable[..., Awaitable[str]]) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """An open client."""
    async with AsyncExitStack() as stack:

        async def come(*scopes: str, tenant: str = "customer-001", port: int | None = None, **how: Any) -> Client:
            plain = how.pop("plain", None) or await token(tenant, *scopes)
            return await stack.enter_async_context(connect(f"ws://127.0.0.1:{port or server.port}", plain, **how))

        yield come


@asynccontextmanager
async def working(client: Client) -> AsyncIterator[asyncio.Task[None]]:
    """`client.work()` beside the block; it is stopped at its end."""
    task = asyncio.create_task(client.work(signals=False))
    try:
        yield task
    finally:
        client.stop()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 30)
