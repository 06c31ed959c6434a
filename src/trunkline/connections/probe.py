"""Connects to a database or a CRM once and says what answered: the test before a connection is registered.

Always true: at most `WITHIN_S` pass, whatever the server does; the thread that waits for one that hangs holds up nobody's exit.
Called by: connections.service.
"""

from __future__ import annotations

import asyncio

from trunkline.connections.aside import in_thread
from trunkline.connections.registry import TRIED_AGAIN, Connection
from trunkline.errors import ConnectionFailed, ConnectionUnusable, InvalidSetting
from trunkline.model import Fail

WITHIN_S = 20.0
MISSING = "connections need the package {name}. Install trunkline[{extra}]."


async def probe(connection: Connection) -> str:
    """What answered, such as "PostgreSQL 18.1".

    Raises:
        ConnectionUnusable: credentials, rights, name or URL are wrong.
        ConnectionFailed: it could not be reached, or did not answer in time.
        InvalidSetting: the extra `schema`, or `crm`, is not installed.
    """
    try:
        async with asyncio.timeout(WITHIN_S):
            if connection.dialect == "bitrix24":
                return await _asked_portal(connection)
            return await in_thread(lambda: _ask(connection), name="trunkline-connection")
    except TimeoutError:
        raise ConnectionFailed(f"{connection} did not answer within {WITHIN_S:g} s. Check host and port, or try again.") from None
    except ConnectionFailed as failed:  # nobody waits for a job here
        passing: str | None = str(failed).replace(TRIED_AGAIN, "Try again when it can be.")
        sentence = ""
    except Fail as refused:
        passing, sentence = None, str(refused)
    if passing is not None:
        raise ConnectionFailed(passing)
    raise ConnectionUnusable(sentence.partition(f" Correct {connection.place}")[0])


async def _asked_portal(connection: Connection) -> str:
    """A portal whose webhook may read the CRM; `scope` itself needs no right."""
    try:
        from trunkline.connections.bitrix24 import Portal, Throttled, TooLarge
    except ImportError as error:
        raise InvalidSetting(MISSING.format(name=error.name, extra="crm")) from None
    try:
        async with Portal(connection, answer_s=WITHIN_S, most_bytes=1_000_000) as portal:
            scopes = (await portal.call("scope")).result
    except TooLarge:
        scopes = None
    except Throttled as busy:
        raise ConnectionFailed(f"{connection}: {busy}. Try again in {busy.seconds:.0f} s.") from None
    if not isinstance(scopes, list) or "crm" not in scopes:
        raise Fail(f"{connection}: the webhook may not read the CRM. Give it the permission crm in the portal.")
    return "Bitrix24"


def _ask(connection: Connection) -> str:
    try:
        from sqlalchemy import literal, select
        from sqlalchemy.exc import SQLAlchemyError

        from trunkline.connections.engines import engine
        from trunkline.connections.failures import translated
    except ImportError as error:
        raise InvalidSetting(MISSING.format(name=error.name, extra="schema")) from None
    try:
        with engine(connection, purpose="test", read_only=True).connect() as session:
            session.execute(select(literal(1))).scalar_one()
            dialect = session.dialect
            version = ".".join(str(part) for part in (dialect.server_version_info or ()) if isinstance(part, int))
            names = {
                "postgresql": "PostgreSQL",
                "mysql": "MariaDB" if getattr(dialect, "is_mariadb", False) else "MySQL",
                "sqlite": "SQLite",
            }
            return f"{names[connection.dialect]} {version}".strip()
    except (SQLAlchemyError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        failure = translated(error, connection, "connect to")
    raise failure  # outside of the handler, so that the driver's words do not travel along as its context
