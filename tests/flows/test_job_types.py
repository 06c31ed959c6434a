"""Every ready job type, the whole way: put in over HTTP by a user, run by a worker, followed in a room, its result and files fetched.

One database, gateway and worker for all. A new type is a line in CASES.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg
import httpx
import jwt
import pytest
import pytest_asyncio
import socketio

from tests.jobtypes.portal import TABLE, Portal
from tests.jobtypes.provider import Provider, chunks
from tests.support.until import until
from trunkline import Trunkline
from trunkline.jobtypes import BUILT_IN, declare
from trunkline.settings import Settings
from trunkline.store.admin import create_database, drop_database

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET, KEY = "s" * 40, "A" * 43 + "="
SHOP = """
create table lead (id int primary key, name text not null, email text unique, phone text);
insert into lead values (1, 'Ann', 'ann@shop.example', null), (2, 'Bob', null, '+4930123456');"""
GOODS = "id,name,email\n10,Cyd,cyd@shop.example\neleven,Dan,\n12,Eve,\n"
LEADS = "id,name,email\n20,Fay,FAY@shop.example\n21,Gus,ann@shop.example\n"


class Case(NamedTuple):
    """What is asked for, what the result says among other things, and what the files begin with (by `which`)."""

    payload: Callable[[Shop], dict[str, Any]]
    result: dict[str, Any]
    files: Mapping[str, bytes] = MappingProxyType({})


class Shop(NamedTuple):
    """What payloads are made of: a registered database, and files that were brought."""

    connection: str
    portal: str
    goods: str
    leads: str


CASES = {
    "schema-rebuild": Case(lambda shop: {"connectionId": shop.connection}, {"changed": True, "totalTables": 2}),
    "data-export": Case(
        lambda shop: {"connectionId": shop.connection, "sql": "select id, name from lead where id < 3 order by id"},
        {"rows": 2, "columns": ["id", "name"]},
        {"file": b"id,name\r\n1,Ann\r\n2,Bob\r\n"},
    ),
    "bulk-import": Case(
        lambda shop: {"connectionId": shop.connection, "table": "lead", "file": shop.goods},
        {"rows": 3, "imported": 2, "rejected": 1},
        {"rejects": b"line,"},
    ),
    "lead-import": Case(
        lambda shop: {"connectionId": shop.connection, "table": "lead", "file": shop.leads},
        {"rows": 2, "imported": 1, "skipped": 1},
    ),
    "backup-connection": Case(lambda shop: {"connectionId": shop.connection, "tool": "own"}, {"tool": "own"}, {"file": b"--"}),
    "analytics-report": Case(lambda shop: {"days": 2}, {}, {"file": b"<!doctype html>", "csv": b"tenant,day,kind,"}),
    "crm-sync": Case(
        lambda shop: {"connectionId": shop.portal, "targetId": shop.connection, "entity": "deal", "table": "deal"},
        {"seen": 3, "written": 3},
    ),
    "ai-generation": Case(
        lambda shop: {"text": "Say hello."}, {"text": "Hello you", "usage": {"promptTokens": 7, "completionTokens": 3, "totalTokens": 10}}
    ),
}


def bearer(name: str, **claims: Any) -> dict[str, str]:
    """The header of a user of the default tenant."""
    return {"Authorization": f"Bearer {signed(name, **claims)}"}


def signed(name: str, **claims: Any) -> str:
    return jwt.encode({"sub": name, "exp": int(time.time()) + 600, **claims}, SECRET, algorithm="HS256")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """Who generates text."""
    with Provider(lambda body: (200, {}, chunks("Hello ", "you"))) as provider:
        yield provider


@pytest.fixture(scope="module")
def portal() -> Iterator[Portal]:
    """A CRM with three deals."""
    with Portal() as portal:
        for n in range(1, 4):
            portal.put(n, second=n)
        yield portal


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def urls(trunkline_server_url: str, trunkline_template: str) -> AsyncIterator[tuple[str, str]]:
    """A migrated database, and a shop's on the same server."""
    name, shop = (f"trunkline_test_{uuid4().hex[:16]}" for _ in range(2))
    made = await create_database(trunkline_server_url, name, template=trunkline_template)
    other = await create_database(trunkline_server_url, shop)
    conn = await asyncpg.connect(other)
    await conn.execute(SHOP + TABLE)
    await conn.close()
    yield made, other
    for each in (name, shop):
        await drop_database(trunkline_server_url, each)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def base(urls: tuple[str, str], provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """An application that serves and works."""
    socket = parse_qs(urlsplit(urls[1]).query).get("host", ["127.0.0.1"])[0]
    ai = {"ai_base_url": provider.url, "ai_api_key": "k", "ai_model": "m"}
    settings = Settings.load(
        {},
        database_url=urls[0],
        shutdown_timeout_s=2,
        jwt_secret=SECRET,
        jwt_default_tenant="default",
        encryption_keys=KEY,
        connection_hosts=f"{socket},127.0.0.1",
        files_dir=str(tmp_path_factory.mktemp("files")),
        **ai,
    )
    async with Trunkline(settings=settings) as app:
        declare(app)
        server = await app.start_gateway(port=0, mode="development", api=True)
        await app.start_worker(concurrency=8)
        yield f"http://127.0.0.1:{server.port}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(base: str) -> AsyncIterator[httpx.AsyncClient]:
    """A user's client."""
    async with httpx.AsyncClient(base_url=base, timeout=30, headers=bearer("ann")) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(client: httpx.AsyncClient, urls: tuple[str, str], portal: Portal) -> Shop:
    """A database and a CRM that an administrator registered, and a user's files."""
    boss = bearer("boss", scope="admin")
    wanted = {"shop": urls[1], "crm": portal.url}
    made = [await client.post("/api/connections", json={"name": name, "url": url}, headers=boss) for name, url in wanted.items()]
    assert [201, 201] == [one.status_code for one in made], [one.text for one in made]
    files = [await client.post("/api/files", content=text, headers={"Content-Type": "text/csv"}) for text in (GOODS, LEADS)]
    assert [201, 201] == [one.status_code for one in files], files[0].text
    return Shop(*(one.json()["id"] for one in made), *(one.json()["file"] for one in files))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def heard(base: str) -> AsyncIterator[list[tuple[str, dict[str, Any]]]]:
    """What the user's room hears."""
    told: list[tuple[str, dict[str, Any]]] = []
    io = socketio.AsyncClient(reconnection=False)
    io.on("*", lambda event, data=None: told.append((event, data)), namespace="/jobs")
    await io.connect(base, namespaces=["/jobs"], auth={"token": signed("ann")}, transports=["websocket"])
    assert (await io.call("subscribe:jobs", {"userId": "ann"}, namespace="/jobs", timeout=30))["success"]
    yield told
    await io.shutdown()


@pytest.mark.parametrize("kind", CASES)
async def test_a_job_type_the_whole_way(kind, client, shop, heard):
    """Queued, started, progress, completed, in this order; then the result, and the files that it names."""
    case = CASES[kind]
    made = await client.post("/api/jobs", json={"type": kind, "payload": case.payload(shop)})
    assert 201 == made.status_code, made.text
    place = f"/api/jobs/{made.json()['id']}"
    job = (await client.get(f"{place}/wait", params={"timeout": 30})).json()

    assert ("completed", kind) == (job["status"], job["type"]), job
    assert case.result.items() <= job["result"].items(), job["result"]

    def of_the_job() -> list[tuple[str, dict[str, Any]]]:
        return [(event, data) for event, data in heard if data.get("jobId") == made.json()["id"]]

    await until(lambda: any(event == "job:completed" for event, _ in of_the_job()), "the room hears of the end")
    said = of_the_job()
    words = [data["status"] for _, data in said]
    assert ["queued", "started"] == words[:2] and "completed" == words[-1] and {"in_progress"} == set(words[2:-1]), said
    assert job["result"] == said[-1][1]["result"]
    history = (await client.get(f"{place}/history")).json()["data"]
    assert {"queued", "started", "completed"} <= {one["status"] for one in history}
    for which, begins in case.files.items():
        file = await client.get(f"{place}/file", params={"which": which})
        assert 200 == file.status_code and file.content.startswith(begins), (file.status_code, file.content[:200])
        assert file.headers["content-disposition"].startswith("attachment") and "nosniff" == file.headers["x-content-type-options"]


async def test_no_job_type_is_forgotten():
    """Each has its line above."""
    kinds = {register.__module__.rpartition(".")[2].replace("_", "-") for register in BUILT_IN}

    assert set(CASES) == kinds


async def test_an_administrator_s_rebuild_is_read_by_the_api(client, shop):
    """By the connection's own route, forced; and what was read."""
    boss = bearer("boss", scope="admin")
    queued = await client.post(f"/api/connections/{shop.connection}/rebuild", json={"force": True}, headers=boss)
    job = (await client.get(f"/api/jobs/{queued.json()['jobId']}/wait", headers=boss)).json()
    read = (await client.get(f"/api/connections/{shop.connection}/schema", headers=boss)).json()

    assert (202, "completed") == (queued.status_code, job["status"]) and job["result"]["fingerprint"] == read["fingerprint"]
    assert "lead" in json.dumps(read["schema"])
