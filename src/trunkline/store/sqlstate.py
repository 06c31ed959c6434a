"""What the database says, in our words: SQLSTATE to exception, here and nowhere else.

Class TL are ours (sql/functions/10_names.sql lists them). Everything that may pass by itself (connection gone, server
starting, read-only, disk full, deadlock, statement timeout, too many connections) becomes `Unavailable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from trunkline import errors

OURS: dict[str, type[errors.TrunklineError]] = {
    "TL001": errors.InvalidInput,
    "TL002": errors.InvalidPayload,
    "TL003": errors.BadId,
    "TL004": errors.NotFound,
    "TL005": errors.LeaseLost,
    "TL006": errors.QuotaExceeded,
    "TL007": errors.SessionLost,
    "TL008": errors.NotRetryable,
    "TL009": errors.MustEncrypt,
    "TL010": errors.SecretInPayload,
}
# Classes: 08 connection, 53 resources, 57 operator (shutdown, cancel, timeout), 58 system, 25006 read-only, 40 rollback, 55P03 lock.
PASSING_CLASSES = ("08", "53", "57", "58", "40")
PASSING_CODES = ("25006",)
LATE = ("55P03", "57014")  # a lock was not free in time; the statement was cancelled by its timeout
MISSING = ("3F000", "42P01", "42883")  # schema, table, function


def translate(error: BaseException) -> errors.TrunklineError | None:
    """Our exception for a driver's, or None where it is a bug that should be seen as it is."""
    state = getattr(error, "sqlstate", None)
    if isinstance(state, str):
        if state == "TL006":
            return errors.QuotaExceeded(_sentence(error), _seconds(getattr(error, "detail", None)))
        if state in OURS:
            return OURS[state](_sentence(error))
        if state == "23514" and getattr(error, "constraint_name", None) == "lease_examined":
            return errors.Unavailable("a claim began before the first limited job of its queue was there. It is repeated.")
        if state in LATE:
            return errors.TimedOut(f"the statement took too long ({state}: {error}). Try again; nothing half-done was kept.")
        if state.startswith(PASSING_CLASSES) or state in PASSING_CODES:
            return errors.Unavailable(f"the database cannot do this now ({state}: {error}). Try again; nothing half-done was kept.")
        if state in MISSING:
            return errors.SchemaOutdated(f"the database lacks something this version needs ({error}). Run: trunkline migrate")
        if state == "42501":
            return errors.NotAllowed(
                f"the database role may not do this ({error}). Grant it trunkline_worker, or use the owner of the schema."
            )
        if state.startswith("22"):  # data exception; asyncpg says it too, before it sends a value that does not fit
            return errors.InvalidInput(f"the database refused a value: {error}")
    if isinstance(error, TimeoutError):
        return errors.TimedOut("the database did not answer in time. Try again; TRUNKLINE_COMMAND_TIMEOUT sets how long to wait.")
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError, ConnectionError, OSError)):
        return errors.Unavailable(f"the database cannot be reached ({type(error).__name__}: {error}). Try again when it is back.")
    return None


def _sentence(error: BaseException) -> str:
    """What was raised in SQL, and behind it what to do: drivers put detail and hint on lines of their own."""
    message = str(error).partition("\n")[0]
    hint = getattr(error, "hint", None) or getattr(getattr(error, "diag", None), "message_hint", None)  # asyncpg, psycopg
    return f"{message}. {hint}" if hint else message


def _seconds(detail: str | None) -> float | None:
    """What a quota says in the detail of its error: when to come back."""
    try:
        return None if detail is None else float(detail)
    except ValueError:
        return None


@contextmanager
def translated() -> Iterator[None]:
    """Raise ours instead of the driver's."""
    try:
        yield
    except Exception as error:
        ours = translate(error)
        if ours is None:
            raise
        raise ours from error
