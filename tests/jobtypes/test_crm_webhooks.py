"""Webhooks as connections: tested, guarded, and shown nowhere."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler

import psycopg
import pytest

from tests.jobtypes.portal import CODE, Portal, refusal
from tests.jobtypes.support import FIRST_KEY
from trunkline import Trunkline
from trunkline.connections import Connection, bitrix24
from trunkline.connections.registry import checked_url
from trunkline.errors import ConnectionFailed, ConnectionUnusable, HostRefused, InvalidInput, InvalidSetting, JobFailed, MustEncrypt
from trunkline.settings import Settings


async def test_an_answer_that_never_ends_ends(portal: Portal) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b" " * 65536)

    over = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        over.wait(30)

    connection = Connection("crm", "bitrix24", portal.url, name="crm", address="127.0.0.1")
    portal.answer_next(endless, silent)
    async with bitrix24.Portal(connection, answer_s=5, most_bytes=1_000_000) as session:
        with pytest.raises(bitrix24.TooLarge):
            await session.call("scope")
    async with bitrix24.Portal(connection, answer_s=0.2) as session:
        with pytest.raises(ConnectionFailed, match="did not answer within"):
            await session.call("scope")
    over.set()


async def test_a_webhook_is_registered_as_a_database_is_and_shown_nowhere(crm: Trunkline, portal: Portal, trunkline_url: str) -> None:
    made = await crm.connections.create(f"{portal.url}crm.item.list.json", name="crm", user_id="u1")
    opened = await crm.connections.opened(await crm.tenant_id(None), made.id)
    await crm.start_worker()
    export = await crm.enqueue("data-export", {"connectionId": "crm", "sql": "select 1"})
    with pytest.raises(JobFailed, match="is a CRM and no database"):
        await crm.wait(export, timeout=30)
    with pytest.raises(InvalidInput, match="is a CRM"):
        await crm.connections.rebuild("crm")

    with psycopg.connect(trunkline_url) as conn:
        tables = conn.execute("select relname from pg_class where relnamespace = 'trunkline'::regnamespace and relkind = 'r'").fetchall()
        stored = "".join(str(row) for (name,) in tables for row in conn.execute(f"select t::text from trunkline.{name} as t"))
    assert ("bitrix24", f"http://127.0.0.1:{portal.port}/rest/1/***/", "Bitrix24") == (made.dialect, made.url, made.server)
    assert portal.url == opened.url
    assert CODE not in f"{stored} {made} {opened} {opened!r}"


async def test_a_webhook_that_cannot_be_used_is_not_registered(crm: Trunkline, portal: Portal, trunkline_url: str) -> None:
    portal.scopes = ["user"]
    with pytest.raises(ConnectionUnusable, match="may not read the CRM"):
        await crm.connections.create(portal.url, name="crm")
    with pytest.raises(ConnectionUnusable, match="INVALID_CREDENTIALS"):
        await crm.connections.create(portal.url.replace(CODE, "other"), name="crm")
    portal.answer_next(refusal(503, "QUERY_LIMIT_EXCEEDED"))
    with pytest.raises(ConnectionFailed, match="asks to wait"):
        await crm.connections.create(portal.url, name="crm")
    guarded = Settings.load({}, database_url=trunkline_url, encryption_keys=FIRST_KEY)
    async with Trunkline(settings=guarded) as other:
        for url in (portal.url, "https://169.254.169.254/rest/1/code/", "https://[::1]/rest/1/code/", "https://10.0.0.7/rest/1/code/"):
            with pytest.raises(HostRefused, match="leads to an address"):
                await other.connections.create(url, name="crm")
    plain = Settings.load({}, database_url=trunkline_url, encryption_keys=FIRST_KEY, connection_hosts="10.0.0.0/8")
    async with Trunkline(settings=plain) as other:
        with pytest.raises(HostRefused, match="Write https"):
            await other.connections.create("http://10.0.0.7/rest/1/code/", name="crm")
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as other:
        with pytest.raises(MustEncrypt):
            await other.connections.create(portal.url, name="crm")

    assert [] == await crm.connections.list()


@pytest.mark.parametrize(
    "url",
    [
        "https://x.bitrix24.com/",
        "https://x/rest/one/code/",
        "https://x/rest/1/",
        "https://u:p@x/rest/1/code/",
        "https://x/rest/1/code/?a=b",
    ],
)
def test_an_address_that_is_no_webhook_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidSetting, match="no webhook") as caught:
        checked_url("the URL", url)

    assert "code" not in str(caught.value).partition("Write")[0]
