"""`app.connections`, from registering a database to what changed in it."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import psycopg
import pytest

from tests.jobtypes.support import FIRST_KEY, PASSWORD, SECOND_KEY, Database, MySQL
from tests.support.forward import forwarded
from trunkline import Trunkline
from trunkline.connections.service import Connections
from trunkline.errors import ConnectionUnusable, HostRefused, InvalidInput, MustEncrypt, NotFound
from trunkline.settings import Settings


def socket_of(database: Database) -> Path:
    """The socket that a URL with a folder means."""
    asked = parse_qs(urlsplit(database.url).query)
    return Path(asked["host"][0]) / f".s.PGSQL.{asked.get('port', ['5432'])[0]}"


@pytest.fixture
def names_lead_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name that the event loop is asked for is this host; the system's own resolver knows none of them."""

    async def getaddrinfo(self: object, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


async def test_a_registered_database_is_tested_and_never_shows_its_password(
    registrar: Trunkline, database: Database, trunkline_url: str
) -> None:
    made = await registrar.connections.create(database.url, name="shop", user_id="u1")

    listed = await registrar.connections.list()
    stored = dump(trunkline_url)
    opened = await registrar.connections.opened(await registrar.tenant_id(None), made.id)
    assert [made] == listed
    assert ("shop", "postgresql", "u1") == (made.name, made.dialect, made.created_by)
    assert made.server.startswith("PostgreSQL 1")
    assert "***" in made.url
    assert PASSWORD not in f"{listed} {stored} {opened} {opened!r}"
    assert database.url == opened.url


def dump(url: str) -> str:
    """The row as it is stored."""
    with psycopg.connect(url) as conn:
        return str(conn.execute("select c::text from trunkline.connection as c").fetchall())


async def test_without_a_key_nothing_is_registered(app: Trunkline) -> None:
    with pytest.raises(MustEncrypt, match="TRUNKLINE_ENCRYPTION_KEYS is not set"):
        await app.connections.create("postgresql://u:p@db.example.com/shop", name="shop")


UNACCEPTABLE: list[tuple[str, type[Exception]]] = [
    ("postgresql://u:Qx9-wrong@127.0.0.1/shop", HostRefused),
    ("postgresql://u:Qx9-wrong@localhost/shop", HostRefused),
    ("redis://u:Qx9-wrong@127.0.0.1/shop", InvalidInput),
    ("postgresql://u:Qx9-wrong@ho@st/shop", InvalidInput),
    ("postgresql://u:Qx9-wrong@host/\nshop", InvalidInput),
    ("Qx9-wrong", InvalidInput),
]


async def test_what_cannot_be_registered_is_refused_without_its_password(registrar: Trunkline) -> None:
    for url, error in UNACCEPTABLE:
        with pytest.raises(error) as refused:
            await registrar.connections.create(url, name="shop")

        assert "Qx9-wrong" not in str(refused.value)
    assert [] == await registrar.connections.list()


async def test_wrong_credentials_and_a_taken_name_are_refused(registrar: Trunkline, database: Database) -> None:
    with pytest.raises(ConnectionUnusable, match="the user or the password is wrong"):
        await registrar.connections.create(database.url.replace(PASSWORD, "Qx9-wrong"), name="shop")
    await registrar.connections.create(database.url, name="shop")
    with pytest.raises(InvalidInput, match="already"):
        await registrar.connections.create(database.url, name="shop")


async def test_another_tenant_sees_nothing_of_it(registrar: Trunkline, database: Database) -> None:
    made = await registrar.connections.create(database.url, name="shop")
    other = await registrar.tenant_id("other")

    assert [] == await registrar.connections.list(tenant="other")
    for call in (registrar.connections.get, registrar.connections.delete, registrar.connections.rebuild, registrar.connections.schema):
        with pytest.raises(NotFound):
            await call(made.id, tenant="other")
    for identity in (made.id, "shop"):
        with pytest.raises(NotFound):
            await registrar.connections.opened(other, identity)


async def test_what_the_environment_names_serves_the_default_tenant_only(
    registrar: Trunkline, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_CONNECTION_OFFICE", database.url)

    assert database.url == (await registrar.connections.opened(await registrar.tenant_id(None), "office")).url
    with pytest.raises(NotFound):
        await registrar.connections.opened(await registrar.tenant_id("other"), "office")


async def test_postgresql_is_reached_at_the_checked_address_though_nobody_else_knows_the_name(
    registrar: Trunkline, database: Database, names_lead_here: None
) -> None:
    app = Connections(registrar, registrar.privacy.vault, lambda: True)
    with forwarded(socket_of(database)) as port:
        made = await app.create(f"postgresql://{database.role}:{PASSWORD}@db.invalid:{port}/{database.role}", name="shop")

    assert made.server.startswith("PostgreSQL")


async def test_mysql_is_reached_at_the_checked_address_though_nobody_else_knows_the_name(
    registrar: Trunkline, mysql: MySQL, names_lead_here: None
) -> None:
    app = Connections(registrar, registrar.privacy.vault, lambda: True)
    with forwarded(mysql.socket) as port:
        made = await app.create(f"mysql://root@db.invalid:{port}/mysql", name="my")

    assert made.server.startswith(("MariaDB", "MySQL"))


async def test_no_password_of_this_process_is_offered_to_a_registered_server(
    registrar: Trunkline, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    with pytest.raises(ConnectionUnusable):
        await registrar.connections.create(database.url.replace(f":{PASSWORD}", ""), name="shop")


async def test_one_rebuild_at_a_time_and_what_changed_afterwards(registrar: Trunkline, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as db:
        db.execute("create table customer (id integer primary key, name text)")
        db.execute("create table gone (id integer)")
    db.close()
    made = await registrar.connections.create(f"sqlite:///{file}", name="shop")

    first, second = await registrar.connections.rebuild(made.id, user_id="u1"), await registrar.connections.rebuild("shop", force=True)
    await registrar.start_worker()
    await registrar.wait(first.job_id, timeout=30)
    fresh = await registrar.connections.diff(made.id)
    with sqlite3.connect(file) as db:
        db.execute("alter table customer add column email text")
        db.execute("drop table gone")
        db.execute("create table note (id integer)")
    db.close()
    third = await registrar.connections.rebuild("shop")
    await registrar.wait(third.job_id, timeout=30)
    diff = await registrar.connections.diff("shop")
    schema = await registrar.connections.schema("shop")
    await registrar.connections.delete("shop")

    assert (first.job_id, True, False) == (second.job_id, first.created, second.created)
    assert third.created
    assert "u1" == (await registrar.get(first.job_id)).user_id
    assert (None, ["main.customer", "main.gone"]) == (fresh["before"], fresh["tables"]["added"])
    assert {"added": ["main.note"], "removed": ["main.gone"]} == {key: diff["tables"][key] for key in ("added", "removed")}
    assert [("main.customer", ["email"])] == [(table["name"], table["columns"]["added"]) for table in diff["tables"]["changed"]]
    assert {"customer", "note"} == {table["name"] for table in msgspec.json.decode(schema.schema)["tables"]}
    with pytest.raises(NotFound):
        await registrar.connections.schema(made.id)


async def test_a_rotated_key_still_opens_the_connection(registrar: Trunkline, database: Database, trunkline_url: str) -> None:
    """Whoever takes the old key away after `keys rotate` must not lose every database."""
    made = await registrar.connections.create(database.url, name="shop")
    settings = registrar.settings.model_copy(
        update={"encryption_keys": Settings(encryption_keys=f"{SECOND_KEY},{FIRST_KEY}").encryption_keys}
    )
    async with Trunkline(settings=settings) as rotating:
        await rotating.privacy.rotate()

    only_new = registrar.settings.model_copy(update={"encryption_keys": Settings(encryption_keys=SECOND_KEY).encryption_keys})
    async with Trunkline(settings=only_new) as app:
        assert database.url == (await app.connections.opened(await app.tenant_id(None), made.id)).url
