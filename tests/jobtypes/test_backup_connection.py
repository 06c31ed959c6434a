"""`backup-connection`: the schema that is written makes the same schema again."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.jobtypes.support import PASSWORD, Database, MySQL, RecordingJob, reading
from trunkline.connections import Connection
from trunkline.embedded import EmbeddedServer
from trunkline.errors import ConnectionFailed
from trunkline.jobtypes import dumping
from trunkline.jobtypes.backup_connection import BackupConnection, backup
from trunkline.jobtypes.dumping import pg_dumps, server_major
from trunkline.jobtypes.files import results
from trunkline.jobtypes.schema.fingerprint import fingerprint
from trunkline.model import Fail
from trunkline.settings import Settings

SCHEMA = (
    "create type mood as enum ('fine', 'it''s bad')",
    "create table a (id int generated always as identity primary key, b_id int, how mood default 'fine', at timestamptz default now())",
    "create table b (id int primary key, a_id int references a on delete cascade, name varchar(40) not null unique check (name <> ''))",
    "alter table a add constraint there_and_back foreign key (b_id) references b",
    'create index "odd Name" on b (lower(name)) where a_id is not null',
    "create view v as select name from b where name like '50%'",
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(files_dir=str(tmp_path))


async def backed_up(job: RecordingJob, url: str, settings: Settings, **options: Any) -> tuple[dict[str, Any], str]:
    """The result and the text."""
    connection = Connection("shop", url.partition(":")[0], url)  # type: ignore[arg-type]
    result = await backup(job, BackupConnection(connection_id="shop", **options), connection, settings)
    content = (results(settings, 1) / result["file"]).read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (result["bytes"], result["sha256"])
    return result, content.decode()


async def test_our_own_text_makes_the_same_schema_again(
    job: RecordingJob, database: Database, server: EmbeddedServer, settings: Settings
) -> None:
    database.execute(*SCHEMA, f"grant select on all tables in schema public to {database.role}")
    result, text = await backed_up(job, database.url, settings, tool="own")
    before = reading(database.admin_url)
    database.execute("drop schema public cascade", "create schema public")
    with psycopg.connect(database.admin_url) as conn:
        conn.execute(text.encode())

    assert ("own", 2) == (result["tool"], result["tables"])
    assert "Left out: functions" in text
    assert fingerprint(before) == fingerprint(reading(database.admin_url))


async def test_pg_dump_writes_it_where_one_fits_and_shows_no_password(job: RecordingJob, database: Database, settings: Settings) -> None:
    major = server_major(Connection("shop", "postgresql", database.url))
    if not any(version >= major for version in pg_dumps(None)):
        pytest.skip(f"no pg_dump of {major} or newer")
    database.execute(*SCHEMA, "create table secret (id int)", f"grant select on a, b, v to {database.role}")

    result, text = await backed_up(job, database.admin_url, settings)
    with pytest.raises((Fail, ConnectionFailed)) as refused:
        await backed_up(job, database.url, settings)

    assert "pg_dump" == result["tool"]
    assert "CREATE TYPE public.mood" in text
    assert "permission" in str(refused.value)
    assert PASSWORD not in str(refused.value) + text
    assert [result["file"]] == [path.name for path in results(settings, 1).iterdir()]


async def test_insisting_on_a_pg_dump_that_does_not_fit_ends_it(
    job: RecordingJob, database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without insisting our own reading takes over."""
    program = tmp_path / "pg_dump"
    program.write_text(
        "#!/bin/sh\ntest \"$1\" = --version && echo 'pg_dump (PostgreSQL) 99.1' || { echo 'aborting because of server version mismatch' >&2; exit 1; }\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(dumping, "pg_dumps", lambda bin_dir: {99: program})
    with pytest.raises(Fail, match="version mismatch"):
        await backed_up(job, database.url, settings, tool="pg_dump")
    result, _ = await backed_up(job, database.url, settings)

    assert ("own", 0) == (result["tool"], result["tables"])


async def test_sqlite_and_mysql_are_written_in_their_own_words(job: RecordingJob, mysql: MySQL, settings: Settings, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.executescript(
            "create table t (id integer primary key, name text check (name <> ''));create index i on t (name);create view v as select id from t;"
        )
    db.close()
    mysql.execute(
        "drop database if exists dumping",
        "create database dumping",
        "create table dumping.t (id int primary key, n varchar(7) default 'a%')",
    )

    lite, text = await backed_up(job, f"sqlite:///{tmp_path}/shop.db", settings)
    my, words = await backed_up(job, mysql.url("dumping"), settings)

    with sqlite3.connect(":memory:") as db:
        db.executescript(text)
        assert [("i",), ("t",), ("v",)] == db.execute("select name from sqlite_master order by name").fetchall()
    db.close()
    assert ("own", 1, "own", 1) == (lite["tool"], lite["tables"], my["tool"], my["tables"])
    assert "DEFAULT 'a%'" in words
