"""`crm-sync` and the deaths of its processes: nothing is missed, nothing old goes over new."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from datetime import UTC
from pathlib import Path

import psycopg
import pytest

from tests.jobtypes.portal import START, Portal, rows
from tests.jobtypes.support import Database, RecordingJob
from trunkline.connections import Connection, bitrix24
from trunkline.engine import Permits
from trunkline.jobtypes.crm import run
from trunkline.jobtypes.crm.landing import Overtaken, Standing, SyncLanding
from trunkline.jobtypes.crm.pages import Place
from trunkline.jobtypes.crm.source import Source
from trunkline.jobtypes.schema.bridge import Bridge

DIE = """
import asyncio, os, signal, sys
from trunkline.connections import Connection
from trunkline.connections.bitrix24 import Portal
from trunkline.jobtypes.crm import landing, run
from trunkline.jobtypes.crm.source import Source
from trunkline.jobtypes.schema.bridge import Bridge

where, at, url, portal = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
calls, ordinary = 0, getattr(landing.SyncLanding, where)

def dying(self, *a):
    global calls
    done = ordinary(self, *a)
    calls += 1
    if calls == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(landing.SyncLanding, where, dying)

class Permits:
    async def take(self): ...

class Job:
    id, cancelled = "j", False
    async def progress(self, *a, **k): ...

async def main():
    order = run.Order(1, "job", "crm", 2, Connection("shop", "sqlite", url), "deal", None, None, False, 0)
    bridge = Bridge(Job())
    async with Portal(Connection("crm", "bitrix24", portal)) as session:
        source = Source(session, Permits())
        done = await bridge.run(lambda: run.run(order, source, bridge))
    print(done.seen, done.written, source.requests)

asyncio.run(main())
"""


async def _again(table: Path, portal: Portal) -> run.Done:
    job = RecordingJob()
    order = run.Order(1, "job", "crm", 2, Connection("shop", "sqlite", f"sqlite:///{table}"), "deal", None, None, False, 0)
    async with bitrix24.Portal(Connection("crm", "bitrix24", portal.url)) as session:
        bridge, source = Bridge(job), Source(session, Free())
        return await bridge.run(lambda: run.run(order, source, bridge))


class Free(Permits):
    """Permits without a database."""

    def __init__(self) -> None: ...

    async def take(self) -> None: ...


@pytest.mark.parametrize(("where", "there"), [("land", 150), ("_write", 50)], ids=["behind-the-commit", "before-the-commit"])
async def test_a_sync_that_is_killed_goes_on_from_its_rows(where: str, there: int, portal: Portal, table: Path) -> None:
    """SIGKILL with a batch and its place committed; and with the batch written, but not committed. Nothing else notes the place."""
    with sqlite3.connect(table) as conn:
        conn.execute("create table told (n)")
        conn.execute("create trigger t before insert on deal begin insert into told values (new.id); end")
    conn.close()
    for n in range(1, 401):
        portal.put(n, second=n)

    command = [sys.executable, "-c", DIE, where, "2", f"sqlite:///{table}", portal.url]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    found = len(rows(table))
    done = await _again(table, portal)

    assert (-signal.SIGKILL, there) == (killed.returncode, found), killed.stderr
    assert list(range(1, 401)) == [n for (n,) in rows(table, "id")]
    assert (401, 401, 0) == (done.seen, done.written, done.refused)
    with sqlite3.connect(table) as conn:  # only the last item before the crash was written once more
        assert 401 == conn.execute("select count(*) from told").fetchone()[0]
    conn.close()


def test_an_attempt_that_was_thought_dead_writes_nothing_old_over_new(database: Database) -> None:
    database.execute(
        "create table deal (id int primary key, title text)",
        f"alter table deal owner to {database.role}",
        f"grant create on schema public to {database.role}",
    )
    connection, at = Connection("shop", "postgresql", database.url), Place(START, 1)
    with (
        SyncLanding(connection, "deal", None, key="id") as late,
        SyncLanding(connection, "deal", None, key="id") as new,
    ):
        before = late.begin("s", "d", "job", full=False)
        then, _ = new.land("s", new.begin("s", "d", "job", full=False), [{"id": 1, "title": "new"}], 0, at)
        with pytest.raises(Overtaken):
            late.land("s", before, [{"id": 1, "title": "old"}], 0, at)

        assert Standing(2, at, 1, 1, 0) == then
        assert Standing(3, Place(at.at.astimezone(UTC), 1), 1, 1, 0) == late.begin("s", "d", "job", full=False)
    with psycopg.connect(database.url) as conn:
        assert [(1, "new")] == conn.execute("select * from deal").fetchall()
