"""The API on a real port, asked by a real HTTP client; users are JWTs, machines are tokens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import jwt
import pytest

from trunkline import Trunkline
from trunkline.auth import Tokens
from trunkline.settings import Settings

SECRET = "s" * 40
Ask = Callable[..., httpx.AsyncClient]


def signed(sub: str = "user-1", *, tenant: str | None = "acme", key: Any = SECRET, algorithm: str = "HS256", **more: Any) -> str:
    """A user's JWT; `scope="admin"` makes an administrator."""
    claims = {"sub": sub, "exp": int(time.time()) + 600, "tenant": tenant, **more}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


@pytest.fixture
async def app(trunkline_url: str) -> AsyncIterator[Trunkline]:
    """An application that knows users, with a handler that answers its payload."""
    settings = Settings.load({}, database_url=trunkline_url, shutdown_timeout_s=2, jwt_secret=SECRET, env="development", api_rate=1000)
    async with Trunkline(settings=settings) as app:

        @app.job("echo", retry_limit=0, tenants="all")
        async def echo(**payload: Any) -> dict[str, Any]:
            return payload

        yield app


@pytest.fixture
async def base(app: Trunkline) -> str:
    """Where the API is: a real server on a free port."""
    server = await app.start_gateway(port=0, mode="development", api=True)
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
async def ask(base: str) -> AsyncIterator[Ask]:
    """A client with a credential, or without."""
    made: list[httpx.AsyncClient] = []

    def client(credential: str | None = None, **headers: str) -> httpx.AsyncClient:
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        made.append(httpx.AsyncClient(base_url=base, headers=headers, timeout=30))
        return made[-1]

    yield client
    for one in made:
        await one.aclose()


@pytest.fixture
async def token(app: Trunkline) -> Callable[..., Awaitable[str]]:
    """Make a machine's token."""

    async def make(*scopes: str, tenant: str = "acme") -> str:
        _, plain = await Tokens(app.store).create(await app.tenant_id(tenant), scopes=scopes or ("send", "work", "watch"))
        return plain

    return make


@pytest.fixture
def user(ask: Ask) -> httpx.AsyncClient:
    """User user-1 of tenant acme."""
    return ask(signed())


@pytest.fixture
def admin(ask: Ask) -> httpx.AsyncClient:
    """An administrator of tenant acme."""
    return ask(signed("boss", scope="admin"))
