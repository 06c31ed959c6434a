"""The API on a real port, asked by a real HTTP client; users are JWTs, machines are tokens."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
import pytest_asyncio

from tests.support.gateways import soon_counted
from trunkline import Job, Trunkline
from trunkline.auth import Tokens
from trunkline.jobtypes.files import results
from trunkline.rest.pace import Pace
from trunkline.settings import Settings
from trunkline.store.admin import create_database, drop_database

SECRET = "s" * 40
KEY = "A" * 43 + "="


def signed(sub: str = "user-1", *, tenant: str | None, key: Any = SECRET, algorithm: str = "HS256", **more: Any) -> str:
    """A user's JWT; `scope="admin"` makes an administrator."""
    claims = {"sub": sub, "exp": int(time.time()) + 600, "tenant": tenant, **more}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm=algorithm)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def api_url(trunkline_server_url: str, trunkline_template: str) -> AsyncIterator[str]:
    """One migrated database for the whole folder: tests keep apart by their tenants."""
    name = f"trunkline_test_{uuid4().hex[:16]}"
    yield await create_database(trunkline_server_url, name, template=trunkline_template)
    await drop_database(trunkline_server_url, name)


@pytest.fixture(scope="package")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose files may be registered as databases."""
    return tmp_path_factory.mktemp("databases")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def app(api_url: str, databases: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trunkline]:
    """An application that knows users, with two handlers: one answers its payload, one fails as it is told."""
    given = {"shutdown_timeout_s": 2, "jwt_secret": SECRET, "env": "development", "api_rate": 1000, "encryption_keys": KEY}
    given |= {"files_dir": str(tmp_path_factory.mktemp("files")), "import_max_bytes": 100_000}
    settings = Settings.load({}, database_url=api_url, connection_hosts=str(databases), **given)
    async with Trunkline(settings=settings) as app:

        @app.job("echo", retry_limit=0, tenants="all")
        async def echo(**payload: Any) -> dict[str, Any]:
            return payload

        @app.job("fall", retry_limit=0, tenants="all")
        async def fall(how: str = "no") -> None:
            raise ValueError(how)

        @app.job("keep", retry_limit=0, tenants="all")
        async def keep(job: Job, name: str = "", text: str = "") -> dict[str, Any]:
            """A file as the job types make them; `name` is what the result says, else its own."""
            own = f"{job.id}-1.csv"
            (results(app.settings, job.tenant_id) / own).write_text(text, "utf-8")
            return {"file": name or own, "sha256": hashlib.sha256(text.encode()).hexdigest()}

        yield app


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def base(app: Trunkline) -> str:
    """Where the API is: a real server on a free port."""
    with soon_counted():
        server = await app.start_gateway(port=0, mode="development", api=True)
    app.api._strangers = Pace(1000.0, 1000.0)  # all tests are one address, and many of them come without a credential
    return f"http://127.0.0.1:{server.port}"


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def clients(base: str) -> AsyncIterator[httpx.AsyncClient]:
    """The connections that all clients share."""
    async with httpx.AsyncClient(base_url=base, timeout=30, limits=httpx.Limits(max_connections=100)) as client:
        yield client


class Client:
    """A client with a credential, or without."""

    def __init__(self, client: httpx.AsyncClient, credential: str | None, tenant: str) -> None:
        self._client, self.tenant = client, tenant
        self._headers = {} if credential is None else {"Authorization": f"Bearer {credential}"}

    async def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request."""
        return await self._client.request(method, path, headers={**self._headers, **(headers or {})}, **more)

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """GET."""
        return await self.request("GET", path, **more)

    async def post(self, path: str, **more: Any) -> httpx.Response:
        """POST."""
        return await self.request("POST", path, **more)

    async def patch(self, path: str, **more: Any) -> httpx.Response:
        """PATCH."""
        return await self.request("PATCH", path, **more)

    async def delete(self, path: str, **more: Any) -> httpx.Response:
        """DELETE."""
        return await self.request("DELETE", path, **more)

    async def made(self, **body: Any) -> str:
        """The id of a job that goes in."""
        answer = await self.post("/api/jobs", json={"type": "echo", **body})
        assert 201 == answer.status_code, answer.text
        return str(answer.json()["id"])


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
def ask(clients: httpx.AsyncClient, tenant: str) -> Callable[..., Client]:
    """A client with a credential."""
    return lambda credential=None: Client(clients, credential, tenant)


@pytest.fixture
def user(ask, tenant: str) -> Client:
    """User user-1 of the tenant."""
    return ask(signed("user-1", tenant=tenant))


@pytest.fixture
def other(ask, tenant: str) -> Client:
    """Another user of the same tenant."""
    return ask(signed("user-2", tenant=tenant))


@pytest.fixture
def stranger(ask) -> Client:
    """An administrator of another tenant."""
    return ask(signed("user-1", tenant=f"x-{uuid4().hex[:12]}", scope="admin"))


@pytest.fixture
def admin(ask, tenant: str) -> Client:
    """An administrator of the tenant."""
    return ask(signed("boss", tenant=tenant, scope="admin"))


@pytest.fixture
def machine(app: Trunkline, ask, tenant: str) -> Callable[..., Awaitable[Client]]:
    """A client with a token of these scopes."""

    async def make(*scopes: str) -> Client:
        _, plain = await Tokens(app.store).create(await app.tenant_id(tenant), scopes=scopes or ("send", "work", "watch"))
        return ask(plain)

    return make


@pytest_asyncio.fixture(loop_scope="package")
async def working(app: Trunkline) -> AsyncIterator[None]:
    """A worker, for the time of the test."""
    await app.start_worker(concurrency=20)
    yield
    await app.stop_worker()


@pytest_asyncio.fixture(loop_scope="package")
async def things(user, admin, databases, tenant) -> dict[str, str]:
    """One of everything that has a name or an id, by the first part of its path."""
    token = (await admin.post("/api/tokens", json={"description": "of acme"})).json()["id"]
    await admin.post("/api/schedules", json={"name": "nightly", "type": "echo", "cron": "0 3 * * *"})
    await admin.post("/api/templates", json={"name": "thumb", "type": "echo", "payload": {"mine": 1}})
    sqlite3.connect(file := databases / f"{tenant}.db").close()
    connection = (await admin.post("/api/connections", json={"name": "shop", "url": f"sqlite:///{file}"})).json()["id"]
    others = {"connections": connection, "tokens": token, "schedules": "nightly", "templates": "thumb", "queues": "echo"}
    return {"jobs": await user.made(payload={"mine": 1}), **others}
