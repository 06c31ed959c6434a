"""Runs one SQL query over a registered database and hands its rows on, blocking, part by part.

Always true: the transaction is read-only and sees one moment; the query is one statement (a second one behind a semicolon is refused
by the protocol, not by reading it); its time is limited by the database itself; rows come through a cursor of the server, so memory
does not grow with them; what the database says about the query is final, what it says about itself is retried.
Needs the extra `schema`; import this module only where a job runs.
Called by: data_export, in a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection as Session
from sqlalchemy import CursorResult, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from trunkline.connections import Connection
from trunkline.connections.engines import engine
from trunkline.connections.failures import refused
from trunkline.model import Fail

PART = 1000  # rows
STEPS = 20_000  # SQLite looks at the clock after so many of its own instructions


def rows_of(
    connection: Connection, sql: str, parameters: Mapping[str, Any], *, timeout_s: int, purpose: str
) -> Iterator[tuple[list[str], Sequence[Sequence[Any]]]]:
    """(column names, up to `PART` rows), at least once, the rows of an empty answer being none.

    Raises:
        Fail: the statement is wrong, is none that answers rows, or would change something; or the connection is wrong.
        ConnectionFailed: network, timeouts, a server that is full or starting.
    """
    try:
        with engine(connection, purpose=purpose, read_only=True, statement_s=timeout_s + 30).connect() as session:
            limit_time(session, connection, timeout_s)
            found = _ask(session, sql, parameters)
            try:
                yield from _parts(found)
            finally:
                found.close()
        return
    except (SQLAlchemyError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        failure = refused(error, connection, "read")
    raise failure  # outside of the handler, so that the driver's words do not travel along as its context


def limit_time(session: Session, connection: Connection, timeout_s: int) -> None:
    """Let the database end what takes longer."""
    if connection.dialect == "postgresql":
        session.execute(
            select(
                func.set_config("statement_timeout", f"{timeout_s}s", True),
                func.set_config("lock_timeout", "10s", True),
                func.set_config("idle_in_transaction_session_timeout", "600s", True),
            )
        )
    elif connection.dialect == "mysql":
        is_mariadb = getattr(session.dialect, "is_mariadb", False)
        session.exec_driver_sql(
            f"set session {f'max_statement_time = {timeout_s}' if is_mariadb else f'max_execution_time = {timeout_s * 1000}'}"
        )
    else:
        deadline = time.monotonic() + timeout_s
        raw: Any = session.connection.driver_connection
        raw.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)


def _ask(session: Session, sql: str, parameters: Mapping[str, Any]) -> CursorResult[Any]:
    streaming = session.execution_options(stream_results=True, max_row_buffer=PART, no_parameters=True)
    # Without parameters the text goes as it is: a % or a :name in it is the query's own.
    found = streaming.execute(text(sql), dict(parameters)) if parameters else streaming.exec_driver_sql(sql)
    if not found.returns_rows:
        raise Fail("the statement answers no rows. Write a select.")
    return found


def _parts(found: CursorResult[Any]) -> Iterator[tuple[list[str], Sequence[Sequence[Any]]]]:
    columns, empty = list(map(str, found.keys())), True
    for part in found.partitions(PART):
        empty = False
        yield columns, part
    if empty:
        yield columns, []
