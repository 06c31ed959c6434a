"""`bulk-import` and `lead-import`: rows of files in tables of other servers, each once, whoever dies."""

from __future__ import annotations

import csv
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.jobtypes.support import Database, MySQL, RecordingJob
from trunkline import Trunkline
from trunkline.connections import Connection
from trunkline.errors import ConnectionFailed
from trunkline.jobtypes import lead_import
from trunkline.jobtypes.files import results, uploads
from trunkline.jobtypes.imports.landing import Landing, Position
from trunkline.jobtypes.imports.order import ImportOrder, carried_out
from trunkline.model import Fail
from trunkline.settings import Settings

NAMES = "0196b2a0-0000-7000-8000-000000000000"


class App:
    """What a job type sees of an application, with one connection."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self.settings, self.connections, self._connection = settings, self, connection

    async def opened(self, tenant_id: int, identity: str) -> Connection:
        return self._connection


Bring = Callable[..., Any]


@pytest.fixture
def shop(database: Database) -> Database:
    """An empty table of leads that the role owns, in a schema where it may make others."""
    database.execute(
        "create table lead (id int primary key, name varchar(10) not null, email text unique, phone text, score numeric check (score >= 0))",
        f"alter table lead owner to {database.role}",
        f"grant create on schema public to {database.role}",
    )
    return database


@pytest.fixture
def bring(tmp_path: Path, job: RecordingJob) -> Bring:
    """Import text as a file into a table of a connection; the result."""
    settings = Settings(files_dir=str(tmp_path))

    async def bringing(
        url: str, content: str | bytes, *, ending: str = "csv", work: Any = None, order: type = ImportOrder, **options: Any
    ) -> Any:
        file = uploads(settings, 1) / f"{NAMES}.{ending}"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        payload = order(connection_id="shop", file=file.name, **{"table": "lead", **options})
        app: Any = App(settings, Connection("shop", url.partition(":")[0], url))  # type: ignore[arg-type]
        result = await carried_out(app, job, payload, lambda: work(payload) if work else None)
        name = result.pop("rejects", None)
        result.pop("rejectsSha256", None)
        result.pop("durationMs")
        return result, list(csv.reader((results(settings, 1) / name).read_text("utf-8").splitlines()))[1:] if name else []

    return bringing


def rows(database: Database, what: str = "id, name, email, score::text", order: str = "id") -> list[tuple[Any, ...]]:
    with psycopg.connect(database.url) as conn:
        return conn.execute(f"select {what} from lead order by {order}").fetchall()


async def test_good_rows_go_in_and_each_bad_one_is_told_with_its_line(shop: Database, bring: Bring) -> None:
    content = (
        "id,name,email,score,other\n"
        "1,Ann,a@x.example,1.5,x\n"
        "two,Bob,,,\n"
        "3,,c@x.example,1,\n"
        "4,much too long a name,,,\n"
        "5,Eve,a@x.example,2,\n"
        "6,Fay,,-1,\n"
        "7,Gus,,nan,\n"
        "8,Hal\n"
        '9,"I\nva",,,\n'
        "10,=Joe,,,\n"
    )

    result, rejects = await bring(shop.url, content, chunk_rows=4)

    assert {"success": True, "rows": 10, "imported": 3, "rejected": 7, "skipped": 0} == result
    assert [(1, "Ann", "a@x.example", "1.5"), (9, "I\nva", None, None), (10, "=Joe", None, None)] == rows(shop)
    assert [("3", "id"), ("4", "name"), ("5", "name"), ("6", ""), ("7", ""), ("8", "score"), ("9", "")] == [(r[0], r[1]) for r in rejects]
    assert "whole number" in rejects[0][2]
    assert "unique" in rejects[3][2]
    assert '"id":"two"' in rejects[0][3]


MUST_BE_MENDED: list[tuple[dict[str, Any], str | bytes, str]] = [
    ({}, "", "the file is empty"),
    ({}, "a,b\n1,2\n", "no column of the file"),
    ({}, "id,id\n1,2\n", "two columns"),
    ({}, "id\n1\n", "'name'"),
    ({}, b"id,name\n1,\xff\n", "encoding"),
    ({"table": "nowhere"}, "id,name\n1,a\n", "no table 'nowhere'"),
    ({"table": "pg_authid", "table_schema": "pg_catalog"}, "rolname,rolsuper\na,true\n", "."),
    ({"mapping": {"x": "name"}}, "id,name\n1,a\n", "'x'"),
    ({"mapping": {"id": "nothing"}}, "id,name\n1,a\n", "'nothing'"),
    ({"mapping": {"id": "name", "name": "name"}}, "id,name\n1,a\n", "two columns"),
    ({"required": ["email"]}, "id,name\n1,a\n", "'email'"),
    ({"max_rejects": 0}, "id,name\n1,\n", "maxRejects"),
    ({"mode": "upsert", "key": ["phone"]}, "id,name,phone\n1,a,1\n", "unique"),
]


async def test_what_a_person_must_mend_ends_it_at_once(shop: Database, bring: Bring, job: RecordingJob) -> None:
    for n, (options, content, said) in enumerate(MUST_BE_MENDED):
        job.id = type(job.id)(int=n)  # each is an import of its own
        with pytest.raises(Fail, match=said):
            pytest.fail(f"{options} {content!r} answered {await bring(shop.url, content, **options)}")

    assert [] == rows(shop)


DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from trunkline.connections import Connection
from trunkline.jobtypes.imports.landing import Landing
from trunkline.jobtypes.imports.run import Order, Work, run

where, at, url, file, rejects = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
calls, ordinary = 0, getattr(Landing, where)

def dying(self, *a):
    global calls
    done = ordinary(self, *a)
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(Landing, where, dying)

class Bridge:
    def check(self): ...
    def report(self, *a, **k): ...
    def keep(self, value): ...

order = Order("the-import", Path(file), Path(rejects), "csv", Connection("shop", "postgresql", url), "lead", None, None, (), "insert", (), 100, None, ",", "utf-8", None)
print(run(order, Work(), Bridge(), None))
"""


@pytest.mark.parametrize(("where", "at"), [("land", 3), ("_note", 3)], ids=["behind-the-commit", "before-the-commit"])
def test_an_import_that_is_killed_goes_on_and_no_row_is_there_twice(where: str, at: int, shop: Database, tmp_path: Path) -> None:
    """SIGKILL with a chunk committed and nothing noted elsewhere; and with a chunk and its rejects written, but not committed."""
    shop.execute("alter table lead drop constraint lead_pkey")  # nothing but the import itself keeps doubles out
    file, rejects = tmp_path / "leads.csv", tmp_path / "rejects.csv"
    file.write_text("id,name\n" + "".join(f"{n},{'x' * 20 if n % 50 == 0 else 'n'}\n" for n in range(1, 1001)))

    command = [sys.executable, "-c", DIE]
    killed = subprocess.run([*command, where, str(at), shop.url, str(file), str(rejects)], capture_output=True, text=True, timeout=60)
    there = len(rows(shop))
    done = subprocess.run([*command, where, "0", shop.url, str(file), str(rejects)], capture_output=True, text=True, timeout=60)
    again = subprocess.run([*command, where, "0", shop.url, str(file), str(rejects)], capture_output=True, text=True, timeout=60)

    assert (-signal.SIGKILL, 294 if where == "land" else 196) == (killed.returncode, there), killed.stderr
    assert (0, 0) == (done.returncode, again.returncode), done.stderr + again.stderr
    assert f"{Position(1000, 980, 20, rejects.stat().st_size)}\n" == done.stdout == again.stdout
    assert [n for n in range(1, 1001) if n % 50] == [n for (n,) in rows(shop, "id")]
    assert [str(n + 1) for n in range(50, 1001, 50)] == [line[0] for line in list(csv.reader(rejects.read_text().splitlines()))[1:]]


def test_of_two_attempts_at_once_one_writes(shop: Database) -> None:
    """A worker that was thought dead wakes up and goes on from where it was."""
    connection = Connection("shop", "postgresql", shop.url)
    with Landing(connection, "lead", None, mode="insert", key=()) as late, Landing(connection, "lead", None, mode="insert", key=()) as new:
        at = late.begin("i", "0" * 64, Position())
        then = new.land("i", new.begin("i", "0" * 64, Position()), [{"id": 1, "name": "new"}], 1, None, lambda refused: 0)
        with pytest.raises(ConnectionFailed, match="another attempt"):
            late.land("i", at, [{"id": 2, "name": "late"}], 1, None, lambda refused: 0)

        assert Position(1, 1, 0, 0) == then == late.begin("i", "0" * 64, Position())
        with pytest.raises(Fail, match="not the one that this import began with"):
            late.begin("i", "1" * 64, Position())
    assert [(1, "new")] == rows(shop, "id, name")


async def test_where_no_table_can_be_made_only_what_may_be_repeated_is_taken(shop: Database, bring: Bring, job: RecordingJob) -> None:
    shop.execute(f"revoke create on schema public from {shop.role}", "insert into lead values (1, 'old', 'a@x.example', 'p')")

    with pytest.raises(Fail, match="trunkline_import"):
        await bring(shop.url, "id,name\n1,a\n")
    upserted, _ = await bring(shop.url, "id,name\n1,new\n2,b\n", mode="upsert", key=["id"])
    job.kept = None
    skipped, _ = await bring(shop.url, "id,name\n1,other\n3,c\n", mode="skip", key=["id"])

    assert (2, 1, 1) == (upserted["imported"], skipped["imported"], skipped["skipped"])
    assert [(1, "new", "p"), (2, "b", None), (3, "c", None)] == rows(shop, "id, name, phone")


async def test_a_column_of_json_holds_what_the_cell_says(shop: Database, bring: Bring) -> None:
    shop.execute("alter table lead add column more jsonb")
    content = '{"id": 1, "name": "A", "more": {"a": [1]}}\n{"id": 2, "name": "B", "more": "[2]"}\n{"id": 3, "name": "C", "more": null}\n'

    await bring(shop.url, content, ending="jsonl")

    assert [(1, {"a": [1]}), (2, [2]), (3, None)] == rows(shop, "id, more")
    assert [(3, True)] == [row for row in rows(shop, "id, more is null") if row[1]]


async def test_json_lines_and_sheets_are_read_and_no_bomb_is_opened(
    shop: Database, bring: Bring, tmp_path: Path, job: RecordingJob
) -> None:
    import zipfile

    import openpyxl

    book = openpyxl.Workbook()
    for line in (("Id", "Who"), (11, "Kim"), (None, None), ("x", "Lee")):
        book.active.append(line)
    book.save(tmp_path / "a.xlsx")
    with zipfile.ZipFile(tmp_path / "bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("xl/worksheets/sheet1.xml", b"0" * 60_000_000)

    lines, refused = await bring(shop.url, '{"id": 1, "name": "A"}\n[1]\n{broken\n\n{"id": 2, "name": "B"}\n', ending="jsonl")
    job.id = type(job.id)(int=7)
    sheet, wrong = await bring(shop.url, (tmp_path / "a.xlsx").read_bytes(), ending="xlsx", mapping={"Id": "id", "Who": "name"})
    job.id = type(job.id)(int=8)
    with pytest.raises(Fail, match="unpacks to"):
        await bring(shop.url, (tmp_path / "bomb.xlsx").read_bytes(), ending="xlsx")

    assert (2, 2, ["2", "3"]) == (lines["imported"], lines["rejected"], [line[0] for line in refused])
    assert (1, ["4"]) == (sheet["imported"], [line[0] for line in wrong])
    assert [(1, "A"), (2, "B"), (11, "Kim")] == rows(shop, "id, name")


async def test_sqlite_and_mysql_take_rows_too(bring: Bring, mysql: MySQL, tmp_path: Path, job: RecordingJob) -> None:
    create = "create table lead (id integer primary key, name varchar(10) not null)"
    with sqlite3.connect(tmp_path / "shop.db") as db:
        db.execute(create)
    db.close()
    mysql.execute("drop database if exists importing", "create database importing", create.replace("lead", "importing.lead"))

    for url in (f"sqlite:///{tmp_path}/shop.db", mysql.url("importing")):
        job.id = type(job.id)(int=job.id.int + 1)
        first, refused = await bring(url, "id,name\n1,a\n1,b\n2,c\n")
        job.id = type(job.id)(int=job.id.int + 1)
        second, _ = await bring(url, "id,name\n1,new\n3,d\n", mode="upsert", key=["id"])

        assert (2, 1, ["3"], 2) == (first["imported"], first["rejected"], [line[0] for line in refused], second["imported"])


async def test_leads_are_checked_and_doubles_found_in_file_and_table(shop: Database, bring: Bring, job: RecordingJob) -> None:
    shop.execute("insert into lead values (1, 'Old', 'Old@x.example', '+4930123456')")
    content = (
        "id,name,email,phone\n"
        "2,Ann,Ann@X.Example,030 123456\n"
        "3,Twin,ann@x.example,\n"
        "4,Old2,OLD@x.example,\n"
        "5,Bad,no-address,\n"
        "6,Nobody,,\n"
        "7,Short,,12\n"
    )

    options = {"order": lead_import.LeadOrder, "work": lead_import._work, "default_region": "DE"}
    result, rejects = await bring(shop.url, content, **options)
    job.id = type(job.id)(int=9)
    updated, _ = await bring(shop.url, "id,name,email\n1,New,old@x.example\n", on_duplicate="update", **options)
    job.id = type(job.id)(int=10)
    refused, told = await bring(shop.url, "id,name,email\n9,New,old@x.example\n", on_duplicate="reject", **options)

    assert (1, 3, 2) == (result["imported"], result["rejected"], result["skipped"])
    assert ["5", "6", "7"] == [line[0] for line in rejects]
    assert (1, 1, "is there already" in told[0][2]) == (updated["imported"], refused["rejected"], True)
    assert [(1, "New", "old@x.example", "+4930123456"), (2, "Ann", "Ann@x.example", "+4930123456")] == rows(shop, "id, name, email, phone")


async def test_a_user_uploads_and_imports_through_a_worker(registrar: Trunkline, shop: Database) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"id,name\n1,A\n"
        yield b"x,B\n"

    made = await registrar.connections.create(shop.url, name="shop")
    name = await registrar.files.save(parts(), "csv")
    await registrar.start_worker()
    job_id = await registrar.enqueue("bulk-import", {"connectionId": str(made.id), "file": name, "table": "lead"}, user_id="u1")
    result = await registrar.wait(job_id, timeout=30)
    rejects = await registrar.files.open(job_id, "rejects", user_id="u1")

    assert (2, 1, 1) == (result["rows"], result["imported"], result["rejected"])
    assert b"whole number" in rejects.path.read_bytes()
    assert rejects.sha256 == result["rejectsSha256"]
