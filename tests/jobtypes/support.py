"""What the tests of job types share: a job that remembers, and handles on databases to read.

Fixtures that make them are in `conftest`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from trunkline.connections import Connection
from trunkline.engine import Job
from trunkline.jobtypes.schema.reader import read
from trunkline.jobtypes.schema.shape import Reading

PASSWORD = "Zy7-never-shown"
FIRST_KEY, SECOND_KEY = "A" * 43 + "=", "B" * 42 + "E="
Read = Callable[..., Reading]


class RecordingJob(Job):
    """A job without a queue: it remembers what its handler reported."""

    def __init__(self) -> None:
        self.id = uuid.uuid4()
        self.tenant_id = 1
        self.attempt = 1
        self.kept: Any = None
        self.cancelled = False
        self.said: list[tuple[float, str | None, int | None, int | None]] = []
        self.on_progress: Callable[[RecordingJob], Any] | None = None

    async def progress(self, percent: float, message: str | None = None, *, current: int | None = None, total: int | None = None) -> None:
        """Remember it, then do what the test wants to happen at this point."""
        self.said.append((percent, message, current, total))
        if self.on_progress is not None:
            self.on_progress(self)
        await asyncio.sleep(0)

    async def checkpoint(self, value: Any) -> None:
        """Remember it for the next attempt."""
        self.kept = value

    async def last_checkpoint(self) -> Any:
        """What was kept."""
        return self.kept


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


def reading(url: str, told: list[tuple[int, int, str]] | None = None) -> Reading:
    """Read a database here and now."""
    said = [] if told is None else told
    return read(
        Connection("shop", url.partition(":")[0], url),  # type: ignore[arg-type]
        on_connected=lambda: None,
        on_table=lambda number, total, name: said.append((number, total, name)),
    )
