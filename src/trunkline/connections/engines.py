"""Opens SQLAlchemy engines on registered databases: the one place that knows how each driver is told what.

Always true: no pool is kept; connecting takes at most `connect_s`; where a connection has a checked `address`, that address is
connected to and no name is asked for again, while certificates are still compared with the host's name; for a connection that a
tenant registered, nothing of this process's own (passwords, certificates, tickets) is offered to the server.
Needs the extra `schema`; import this module only where a job runs.
Called by: connections.probe, jobtypes.
"""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.engine import URL, make_url

from trunkline.connections.registry import Connection

CONNECT_S, BUSY_S = 10, 10.0
# What libpq would otherwise take from the environment and the home folder of this process.
NOTHING_OF_OURS = {"passfile": "/dev/null", "gssencmode": "disable", "sslcert": "/dev/null/none", "sslkey": "/dev/null/none"}


def engine(connection: Connection, *, purpose: str, read_only: bool, statement_s: int = 60, connect_s: int = CONNECT_S) -> Engine:
    """An engine whose every session is new.

    Args:
        purpose: what the server shows beside the session.
        read_only: whether the database is told to refuse every change.
        statement_s: how long it waits for the network of an answer; the caller sets the database's own limits.
    """
    if connection.dialect == "sqlite":
        return sqlite(connection, read_only=read_only)
    make = postgresql if connection.dialect == "postgresql" else mysql
    return make(connection, purpose=purpose, read_only=read_only, statement_s=statement_s, connect_s=connect_s)


def postgresql(connection: Connection, *, purpose: str, read_only: bool, statement_s: int, connect_s: int) -> Engine:
    """Over psycopg 3, without named statements, which poolers refuse."""
    url = make_url(connection.url).set(drivername="postgresql+psycopg")
    if url.host and "%" in url.host:  # a socket folder, percent-encoded as libpq writes it
        url = url.set(host=unquote(url.host))
    arguments: dict[str, Any] = {
        "connect_timeout": connect_s,
        "application_name": f"trunkline {purpose}",
        "prepare_threshold": None,
        "keepalives_idle": 30,
        "tcp_user_timeout": statement_s * 1000,
    }
    if connection.name is not None:
        arguments |= NOTHING_OF_OURS | ({} if url.password else {"password": ""})  # "": not PGPASSWORD
    if connection.address is not None:
        arguments["hostaddr"] = connection.address
    return create_engine(
        url,
        poolclass=NullPool,
        isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        connect_args=arguments,
        execution_options={"postgresql_readonly": read_only},
    )


def mysql(connection: Connection, *, purpose: str, read_only: bool, statement_s: int, connect_s: int) -> Engine:
    """Over PyMySQL."""
    url = make_url(connection.url).set(drivername="mysql+pymysql")
    arguments: dict[str, Any] = {
        "connect_timeout": connect_s,
        "read_timeout": statement_s,
        "write_timeout": connect_s if read_only else statement_s,
        "charset": "utf8mb4",
    }
    if read_only:
        arguments["init_command"] = "set session transaction read only"
    address = connection.address
    if address is None:
        return create_engine(url, poolclass=NullPool, connect_args=arguments)
    return create_engine(url, poolclass=NullPool, creator=lambda: _mysql_at(url, address, connect_s, arguments))


def sqlite(connection: Connection, *, read_only: bool) -> Engine:
    """A file; read-only, a wrong path makes no new one. Other files cannot be attached."""
    path = quote(str(Path(make_url(connection.url).database or "").resolve()))
    mode = "ro" if read_only else "rw"

    def connect() -> sqlite3.Connection:
        raw = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level="DEFERRED" if read_only else None)
        raw.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK)
        return raw

    made = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    if not read_only:  # the module's own transactions begin too late and know no savepoints
        event.listen(made, "begin", lambda session: session.exec_driver_sql("begin immediate"))
    return made


def _mysql_at(url: URL, address: str, connect_s: int, arguments: dict[str, Any]) -> Any:
    """A session over a socket of our own, so that PyMySQL has no name to look up."""
    import pymysql

    made = pymysql.connect(
        host=url.host,
        user=url.username,
        password=url.password or "",
        database=url.database,
        defer_connect=True,
        **arguments,
    )
    made.connect(socket.create_connection((address, url.port or 3306), connect_s))
    return made
