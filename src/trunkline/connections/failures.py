"""Sorts what a driver raised into what a person must mend and what time may mend.

Always true: no message made here contains a password of the connection; wrong credentials, missing rights, a missing
database and a wrong setup are final (`Fail`), everything else is worth another attempt (`ConnectionFailed`).
Called by: connections.probe, jobtypes.
"""

from __future__ import annotations

import enum
import re
import sqlite3
from collections.abc import Sequence

from trunkline.connections.registry import TRIED_AGAIN, Connection
from trunkline.errors import ConnectionFailed
from trunkline.model import Fail


class Cause(enum.Enum):
    """Why a reading ended early, as far as a caller decides differently on it."""

    credentials = "the user or the password is wrong"
    permission = "the user may not connect or may not read there"
    missing = "there is no such database"
    setup = "the URL or the installation does not fit this database"
    unreachable = "it cannot be reached"
    timeout = "it did not answer in time"
    crowded = "it has no connection to spare"
    starting = "it is starting, stopping or in recovery"
    other = "it refused a question"


REMEDY = {
    Cause.credentials: "Correct {place} and retry the job.",
    Cause.permission: "Grant the user what it lacks and retry the job.",
    Cause.missing: "Correct the name in {place} or create it, and retry the job.",
    Cause.setup: "Correct {place} or the installation and retry the job.",
}
FINAL = frozenset(REMEDY)

SQLSTATES = {
    "28P01": Cause.credentials,
    **dict.fromkeys(("28000", "42501"), Cause.permission),
    "3D000": Cause.missing,
    "53300": Cause.crowded,
    **dict.fromkeys(("57P01", "57P02", "57P03"), Cause.starting),
    **dict.fromkeys(("57014", "55P03", "25P03"), Cause.timeout),
}
# libpq tells no SQLSTATE when the connection itself fails; these are its, the server's and the usual poolers' words.
POSTGRESQL_WORDS: tuple[tuple[Cause, tuple[str, ...]], ...] = (
    (Cause.credentials, ("authentication failed", "no password supplied", "role .* does not exist", "user not found")),
    (
        Cause.permission,
        ("permission denied", r"pg_hba\.conf", "not permitted to log in", "not currently accepting connections"),
    ),
    (Cause.missing, ("database .* does not exist", "no such database")),
    (
        Cause.crowded,
        ("too many (?:clients|connections)", "connection slots", "max client connections", "no more connections"),
    ),
    (
        Cause.starting,
        ("starting up", "shutting down", "recovery mode", "not yet accepting", "administrator command"),
    ),
    (Cause.timeout, ("timeout expired", "timed out", "connection timeout")),
    (
        Cause.setup,
        ("invalid connection option", "invalid .* value", "unsupported startup", "certificate", "support ssl"),
    ),
    (
        Cause.unreachable,
        (
            *("failed to resolve", "translate host", "refused", "is the server running", "server closed"),
            *("reset by peer", "no route", "unreachable", "connection failed", "ssl syscall", "terminated abnormally"),
        ),
    ),
)
MYSQL_CODES = {
    **dict.fromkeys((1045, 1698, 1862, 3118), Cause.credentials),
    **dict.fromkeys((1044, 1130, 1142, 1143, 1227), Cause.permission),
    1049: Cause.missing,
    **dict.fromkeys((1040, 1129, 1203, 1226), Cause.crowded),
    **dict.fromkeys((1053, 1077, 3169), Cause.starting),
    **dict.fromkeys((1205, 1969, 3024), Cause.timeout),
    **dict.fromkeys((2002, 2003, 2005, 2006, 2013), Cause.unreachable),
    **dict.fromkeys((2026, 2059), Cause.setup),
}
MYSQL_READ_ONLY = (1290, 1792)  # a statement that would change something; PyMySQL calls it operational
SQLITE_CODES = {
    sqlite3.SQLITE_CANTOPEN: Cause.missing,
    **dict.fromkeys((sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH), Cause.permission),
    **dict.fromkeys((sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT), Cause.setup),
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), Cause.timeout),
    sqlite3.SQLITE_IOERR: Cause.unreachable,
}


def cause_of(error: BaseException) -> Cause:
    """Why a driver's error (or SQLAlchemy's wrapper around one) was raised; `other` when nothing fits."""
    raised = getattr(error, "orig", None) or error
    if isinstance(raised, sqlite3.Error):
        return SQLITE_CODES.get(getattr(raised, "sqlite_errorcode", 0) & 0xFF, Cause.other)
    # A driver that is missing or lacks a part, and values in the URL that it cannot take.
    if isinstance(raised, ImportError | TypeError | ValueError) or "cryptography" in str(raised):
        return Cause.setup
    code = raised.args[0] if raised.args else None
    if isinstance(code, int):
        return MYSQL_CODES.get(code, Cause.unreachable if isinstance(raised, OSError) else Cause.other)
    state = getattr(raised, "sqlstate", None)
    if state:
        return SQLSTATES.get(state, Cause.unreachable if state.startswith("08") else Cause.other)
    words = str(raised).lower()
    return next((cause for cause, said in POSTGRESQL_WORDS if re.search("|".join(said), words)), Cause.other)


def translated(error: BaseException, connection: Connection, doing: str = "read") -> Fail | ConnectionFailed:
    """The exception to raise instead of `error`, outside of its `except`, so that the driver's own text stays behind."""
    cause = cause_of(error)
    what = f"Cannot {doing} {connection}: {cause.value}{_detail(error, connection)}."
    if cause in FINAL:
        return Fail(f"{what} {REMEDY[cause].format(place=connection.place)}")
    return ConnectionFailed(f"{what} {TRIED_AGAIN}")


def refused(error: BaseException, connection: Connection, doing: str) -> Fail | ConnectionFailed:
    """As `translated`, for a statement that people wrote: what the database says about the statement itself is final."""
    name = type(error).__name__  # SQLAlchemy's: it has sorted the drivers' own
    raised = getattr(error, "orig", None) or error
    is_theirs = name in ("ProgrammingError", "DataError", "IntegrityError", "NotSupportedError", "InternalError")
    is_theirs |= bool(raised.args) and raised.args[0] in MYSQL_READ_ONLY
    if cause_of(error) is Cause.other and (is_theirs or isinstance(raised, sqlite3.Error)):
        return Fail(f"Cannot {doing} {connection}: the database refuses the statement{_detail(error, connection)}.")
    return translated(error, connection, doing)


def hidden(connection: Connection, schemas: Sequence[str]) -> Fail:
    """The exception for a database that has schemas of which the user may use none."""
    names = ", ".join(schemas[:5]) + (", ..." if len(schemas) > 5 else "")
    what = f"Cannot read {connection}: {Cause.permission.value} (no USAGE on any of its {len(schemas)} schemas: {names})."
    return Fail(f"{what} {REMEDY[Cause.permission]}")


def _detail(error: BaseException, connection: Connection) -> str:
    """The driver's first sentence in brackets, or nothing at all when a password stands in it."""
    raised = getattr(error, "orig", None) or error
    text = str(raised.args[-1] if raised.args else raised).strip()
    # Not the password blanked out: what is left around a short one would give it away.
    if not text or any(secret in text for secret in connection.secrets):
        return ""
    return f" ({' '.join(text.split())[:300].rstrip('.')})"
