"""`data-export`: rows of real databases in files, and what it refuses."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.jobtypes.support import Database, MySQL, RecordingJob
from trunkline import Trunkline
from trunkline.connections import Connection
from trunkline.errors import ConnectionFailed, JobFailed, NotFound
from trunkline.jobtypes import data_export, reading
from trunkline.jobtypes.data_export import DataExport, export
from trunkline.jobtypes.files import results
from trunkline.model import Fail
from trunkline.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(files_dir=str(tmp_path))


@pytest.fixture
def shop(database: Database) -> Connection:
    """A table `t` with one row, owned by the role that connects."""
    database.execute(
        "create table t (id int, name text, price numeric, at timestamptz, ok bool, raw bytea)",
        "insert into t values (1, '=cmd()', -1.10, '2026-01-02 03:04:05Z', true, '\\x00ff'), (2, null, null, null, null, null)",
        f"alter table t owner to {database.role}",
        f"grant create on schema public to {database.role}",
    )
    return Connection("shop", "postgresql", database.url)


async def exported(job: RecordingJob, connection: Connection, settings: Settings, sql: str, **options: Any) -> tuple[dict[str, Any], bytes]:
    """The result and the file."""
    result = await export(job, DataExport(connection_id="shop", sql=sql, **options), connection, settings)
    return result, (results(settings, 1) / result["file"]).read_bytes()


async def test_rows_become_csv_that_no_spreadsheet_runs(job: RecordingJob, shop: Connection, settings: Settings) -> None:
    result, content = await exported(job, shop, settings, "select * from t order by id")

    rows = list(csv.reader(content.decode().splitlines()))
    assert ["id", "name", "price", "at", "ok", "raw"] == rows[0] == result["columns"]
    assert ["1", "'=cmd()", "-1.10"] == rows[1][:3]
    assert ["true", "\\x00ff"] == rows[1][4:]
    assert ["2", "", "", "", "", ""] == rows[2]
    assert (2, len(content), hashlib.sha256(content).hexdigest()) == (result["rows"], result["bytes"], result["sha256"])
    assert (100, "2 rows exported", 2, 2) == job.said[-1]


async def test_cells_may_stay_as_they_are(job: RecordingJob, shop: Connection, settings: Settings) -> None:
    asked = {"formulas": True, "delimiter": ";", "header": False}
    _, content = await exported(job, shop, settings, "select id, name from t order by id", **asked)

    assert b"1;=cmd()\r\n2;\r\n" == content


async def test_rows_become_json_lines_with_parameters_and_signs_of_the_query_own(
    job: RecordingJob, shop: Connection, settings: Settings
) -> None:
    _, plain = await exported(job, shop, settings, "select id, price, '50%:x'::text as sign from t where name like '=c%'", format="jsonl")
    _, asked = await exported(job, shop, settings, "select cast(:who as text) as who", format="jsonl", parameters={"who": "a'b"})

    assert {"id": 1, "price": "-1.10", "sign": "50%:x"} == json.loads(plain)
    assert {"who": "a'b"} == json.loads(asked)


async def test_rows_become_parquet(job: RecordingJob, shop: Connection, settings: Settings, tmp_path: Path) -> None:
    import pyarrow.parquet

    result, _ = await exported(job, shop, settings, "select * from t order by id", format="parquet")

    table = pyarrow.parquet.read_table(results(settings, 1) / result["file"])
    assert ["int64", "string", "string", "timestamp[us, tz=UTC]", "bool", "binary"] == [str(field.type) for field in table.schema]
    assert [1, 2] == table.column("id").to_pylist()
    assert [b"\x00\xff", None] == table.column("raw").to_pylist()


NOT_READING = (
    *("select 1; delete from t", "select 1; commit; delete from t", "delete from t returning id", "commit", "drop table t"),
    *(
        "with gone as (delete from t returning id) select * from gone",
        "select * from nowhere",
        "selekt",
        "select 1/0",
        "select 1 as a); --",
    ),
    *("copy t to '/tmp/x'", "insert into t (id) values (3) returning id", "select set_config('transaction_read_only', 'off', false), 1/0"),
)


async def test_what_is_no_reading_query_is_refused_at_once(job: RecordingJob, shop: Connection, settings: Settings) -> None:
    for sql in NOT_READING:
        with pytest.raises(Fail):
            pytest.fail(f"{sql!r} answered {await exported(job, shop, settings, sql)}")

    result, _ = await exported(job, shop, settings, "select * from t")
    assert 2 == result["rows"]
    assert [result["file"]] == [path.name for path in results(settings, 1).iterdir()]


async def test_a_query_that_takes_too_long_is_ended_by_the_database(job: RecordingJob, shop: Connection, settings: Settings) -> None:
    with pytest.raises(ConnectionFailed, match="did not answer in time"):
        await exported(job, shop, settings, "select pg_sleep(60)", timeout_seconds=1)


async def test_a_database_that_lets_its_limit_pass_holds_nobody_up(
    job: RecordingJob, shop: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "limit_time", lambda *_: None)
    monkeypatch.setattr(data_export, "GRACE_S", -0.7)

    with pytest.raises(ConnectionFailed, match="not by its own limit"):
        await exported(job, shop, settings, "select pg_sleep(1)", timeout_seconds=1)
    for thread in threading.enumerate():  # nobody waits for it but this test, whose database goes
        if thread.name == f"reading-{job.id}":
            await asyncio.to_thread(thread.join, 30)

    assert [] == list(results(settings, 1).iterdir())


async def test_limits_end_it_or_cut_it_as_asked(job: RecordingJob, shop: Connection, settings: Settings) -> None:
    many = "select g, repeat('x', 50) from generate_series(1, 5000) as g"

    with pytest.raises(Fail, match="more than 2,500 rows"):
        await exported(job, shop, settings, many, max_rows=2500)
    with pytest.raises(Fail, match="more than 100,000 bytes"):
        await exported(job, shop, settings, many, max_bytes=100_000)
    with pytest.raises(Fail, match="more than 10 rows"):
        await exported(job, shop, settings.model_copy(update={"export_max_rows": 10}), many, max_rows=2500)
    assert [] == list(results(settings, 1).iterdir())
    cut, content = await exported(job, shop, settings, many, max_rows=2500, truncate=True)

    assert (2500, True, 2501) == (cut["rows"], cut["truncated"], content.count(b"\r\n"))


async def test_an_sqlite_file_is_read_and_neither_changed_nor_left(job: RecordingJob, settings: Settings, tmp_path: Path) -> None:
    for name in ("shop.db", "secret.db"):
        with sqlite3.connect(tmp_path / name) as db:
            db.execute("create table t (id integer)")
            db.execute("insert into t values (7)")
        db.close()
    connection = Connection("shop", "sqlite", f"sqlite:///{tmp_path}/shop.db")

    _, content = await exported(job, connection, settings, "select id from t")

    assert b"id\r\n7\r\n" == content
    for sql in ("delete from t returning id", f"attach '{tmp_path}/secret.db' as s", "select 1; select 2"):
        with pytest.raises(Fail):
            await exported(job, connection, settings, sql)


async def test_a_mysql_database_is_read_and_not_changed(job: RecordingJob, mysql: MySQL, settings: Settings) -> None:
    mysql.execute(
        "create database if not exists exporting", "create table if not exists exporting.t (id int)", "insert into exporting.t values (7)"
    )
    connection = Connection("shop", "mysql", mysql.url("exporting"))

    _, content = await exported(job, connection, settings, "select id from t")

    assert b"id\r\n7\r\n" == content
    for sql in ("delete from t", "delete from t returning id", "drop table t", "select 1; delete from t"):
        with pytest.raises(Fail):
            await exported(job, connection, settings, sql)


async def test_a_user_exports_and_fetches_the_file_and_nobody_else_does(registrar: Trunkline, database: Database) -> None:
    made = await registrar.connections.create(database.url, name="shop")
    await registrar.start_worker()
    payload = {"connectionId": str(made.id), "sql": "select 1 as one"}

    job_id = await registrar.enqueue("data-export", payload, user_id="u1")
    result = await registrar.wait(job_id, timeout=30)
    foreign = await registrar.enqueue("data-export", payload, tenant="other")
    with pytest.raises(JobFailed, match=r"failed after 1 attempt.*none of that id"):
        await registrar.wait(foreign, timeout=30, tenant="other")

    found = await registrar.files.open(job_id, user_id="u1")
    assert (b"one\r\n1\r\n", result["sha256"], "text/csv; charset=utf-8") == (found.path.read_bytes(), found.sha256, found.media_type)
    for asked in ({"user_id": "u2"}, {"tenant": "other"}, {"which": "rejects"}):
        with pytest.raises(NotFound):
            await registrar.files.open(job_id, **asked)
    found.path.unlink()
    with pytest.raises(NotFound, match="is gone"):
        await registrar.files.open(job_id)
