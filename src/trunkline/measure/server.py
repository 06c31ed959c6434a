"""The PostgreSQL of a run, and a fresh database for each thing that is measured.

Always true: a given server's own databases are never touched; each database made here is a copy of one migrated template,
so both sides of a comparison start alike; all of them are dropped, and an embedded server and its folder are gone, when
the run ends. Only a `kill -9` of the run leaves something: databases named `trunkline_bench_*` on a given server, or the
folder of an embedded one, whose processes end by themselves.
Called by: command, tests.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from trunkline.embedded import EmbeddedServer, erase
from trunkline.errors import EmbeddedFailed
from trunkline.measure import machine, usage
from trunkline.measure.floors import INSTALL
from trunkline.store.admin import create_database, database_url, drop_database, migrated_template

# A checkpoint in the middle of a run would be charged to whoever is running then: room for 4 GB of WAL between two.
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "min_wal_size": "2GB"}
# A new server makes each segment of its log when it comes to it: 16 MB of zeros, and every commit waits some 15 ms for them, after each 16,000
# jobs. One that has run for a while uses its old ones again; ours gets as many before anything is measured (2 s).
SEGMENTS = 128
_FILL = """do $$ begin for n in 1..{count} loop perform pg_logical_emit_message(false, 'bench', 'fill'); perform pg_switch_wal(); end loop; end $$"""
# Loaded, and off until a database asks for it, so that only the measures that count statements pay for counting.
COUNTING = {"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track": "none"}
_numbers = itertools.count(1)


class Server:
    """Make one with `opened` or `embedded`.

    Attributes:
        facts: see `machine.facts`.
        postmaster: pid of the server; None where it runs on another host.
        admin: a connection beside the measured ones, to another database.
    """

    def __init__(self, url: str, admin: asyncpg.Connection, template: str, facts: dict[str, Any]) -> None:
        self.url = url
        self.admin = admin
        self.facts = facts
        self.postmaster = usage.postmaster_of(admin.get_server_pid())
        self._template = template
        self._counting: bool | None = None

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """The URL of a migrated database with the floors in it; dropped afterwards."""
        name = f"trunkline_bench_{os.getpid()}_{next(_numbers)}"
        url = await create_database(self.url, name, template=self._template)
        try:
            yield url
        finally:
            await drop_database(self.url, name)

    async def wal_lsn(self) -> int:
        """Bytes of WAL written since the server's first day."""
        return int(await self.admin.fetchval("select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"))

    async def count_statements(self, url: str) -> str:
        """Begin to count the statements of a database to which nobody is connected yet.

        Returns:
            What counts: pg_stat_statements, or pg_stat_database (transactions) where that is not to be had.
        """
        if self._counting is None:
            self._counting = await self._can_count()
        if not self._counting:
            return "pg_stat_database"
        await self.admin.execute(f"alter database \"{database_of(url)}\" set pg_stat_statements.track = 'top'")
        return "pg_stat_statements"

    async def statements(self, url: str) -> int:
        """Statements (or transactions, see `count_statements`) of clients in a database so far."""
        if self._counting:
            return int(await self.admin.fetchval(_STATEMENTS, database_of(url)))
        return int(await self.admin.fetchval(_TRANSACTIONS, database_of(url)))

    async def backend_pids(self, url: str) -> list[int]:
        """The client backends connected to a database."""
        return [row[0] for row in await self.admin.fetch(_BACKENDS, database_of(url))]

    async def _can_count(self) -> bool:
        """The library must be loaded, and be readable here; a database is told to use it by a superuser only."""
        try:
            await self.admin.fetchval(_STATEMENTS, "")
            return bool(await self.admin.fetchval("select rolsuper from pg_roles where rolname = current_user"))
        except asyncpg.PostgresError:
            return False


_STATEMENTS = (
    "select coalesce(sum(s.calls), 0)::bigint from pg_stat_statements as s join pg_database as d on d.oid = s.dbid where d.datname = $1"
)
_TRANSACTIONS = "select d.xact_commit + d.xact_rollback from pg_stat_database as d where d.datname = $1"
_BACKENDS = "select a.pid from pg_stat_activity as a where a.datname = $1 and a.backend_type = 'client backend'"


def database_of(url: str) -> str:
    """The database's name in a URL."""
    return urlsplit(url).path.lstrip("/")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Server]:
    """Measure on the server at `url`, whose user must be allowed to create databases."""
    template = f"trunkline_bench_{os.getpid()}_{next(_numbers)}_template"
    admin = await asyncpg.connect(url)
    try:
        try:
            await migrated_template(url, template)
            conn = await asyncpg.connect(database_url(url, template))
            try:
                await conn.execute(INSTALL)
            finally:
                await conn.close()
            yield Server(url, admin, template, await machine.facts(admin))
        finally:
            await drop_database(url, template)
            await drop_database(url, f"{template}_new")  # where making it was interrupted
    finally:
        await admin.close()


@asynccontextmanager
async def embedded(say: Callable[[str], None]) -> AsyncIterator[Server]:
    """Measure on a PostgreSQL of our own with durable commits, in a temporary folder that is deleted afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="trunkline-bench-"))
    say(f"starting a PostgreSQL in {folder} ({', '.join(f'{name} {value}' for name, value in SETTINGS.items())})")
    server = await _start(folder)
    try:
        admin = await asyncpg.connect(server.url)
        try:
            if "pg_stat_statements" in await admin.fetchval("select current_setting('shared_preload_libraries')"):
                await admin.execute("create extension if not exists pg_stat_statements")
            await admin.execute(_FILL.format(count=SEGMENTS))
            await admin.execute("checkpoint")
        finally:
            await admin.close()
        async with opened(server.url) as it:
            it.facts["disk"] = _filesystem(folder)
            yield it
    finally:
        await asyncio.shield(asyncio.to_thread(_end, server, folder))


async def _start(folder: Path) -> EmbeddedServer:
    """With counted statements if this PostgreSQL has the library, else without.

    Blocks on purpose: a start that was cancelled half way would leave a server behind.
    """
    try:
        return EmbeddedServer.start(folder, extra_settings=SETTINGS | COUNTING)
    except EmbeddedFailed as error:
        if "pg_stat_statements" not in str(error):
            _remove(folder)
            raise
        return EmbeddedServer.start(folder, extra_settings=SETTINGS)


def _end(server: EmbeddedServer, folder: Path) -> None:
    server.stop()
    _remove(folder)


def _remove(folder: Path) -> None:
    if (folder / "id").exists():
        erase(folder)
    elif folder.exists():
        folder.rmdir()


def _filesystem(folder: Path) -> str | None:
    """Type of the file system that holds `folder`; on a tmpfs a durable commit is cheaper than it should be."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return None
    holding = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else None
