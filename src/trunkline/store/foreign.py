"""Our statements on a connection that belongs to the caller: asyncpg, psycopg 3 or SQLAlchemy 2, sync or async.

Always true: the statement runs inside the caller's transaction and is neither committed nor rolled back here.
None of these drivers is imported before its connection comes; it is known by its module's name.
Called by: engine.producer, engine.context.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

from trunkline.errors import InvalidInput
from trunkline.store.sqlstate import translate


async def rows(connection: Any, text: str, arguments: Sequence[Any], types: Sequence[str]) -> list[tuple[Any, ...]]:
    """Run one statement with $1, $2, ... on the caller's connection; its rows.

    Args:
        types: PostgreSQL type of each argument; drivers that cannot infer them send text and cast.
    Raises:
        InvalidInput: the connection is of no known kind.
    """
    driver = _driver(connection)
    try:
        if driver == "asyncpg":
            return [tuple(row) for row in await connection.fetch(_plain_json(text, types), *arguments)]
        if driver == "sqlalchemy":
            return await _sqlalchemy(connection, text, arguments, types)
        return await _psycopg(connection, text, arguments, types)
    except Exception as error:
        ours = translate(getattr(error, "orig", None) or error)
        if ours is None:
            raise
        raise ours from error


def _driver(connection: Any) -> str:
    for cls in type(connection).__mro__:
        root = cls.__module__.split(".")[0]
        if root in ("asyncpg", "psycopg", "sqlalchemy"):
            return root
    raise InvalidInput(
        f"connection is a {type(connection).__module__}.{type(connection).__name__}: need an asyncpg, psycopg 3 or SQLAlchemy connection with a transaction open."
    )


def _plain_json(text: str, types: Sequence[str]) -> str:
    """JSON sent as text and cast there: a codec that the caller has set for json would encode our text once more."""
    plain = {"json": "cast($%d::text as json)", "json[]": "cast($%d::text[] as json[])"}
    return re.sub(r"\$(\d+)", lambda m: plain[kind] % int(m[1]) if (kind := types[int(m[1]) - 1]) in plain else m[0], text)


async def _psycopg(connection: Any, text: str, arguments: Sequence[Any], types: Sequence[str]) -> list[tuple[Any, ...]]:
    from psycopg.rows import tuple_row

    values = {f"p{n}": value for n, value in enumerate(_texts(arguments), 1)}
    cursor = connection.cursor(row_factory=tuple_row)  # the caller's own may make dicts or anything else of a row
    done = cursor.execute(_numbered(text, types, "%({})s"), values)
    if inspect.isawaitable(done):
        await done
        return list(await cursor.fetchall())
    return list(cursor.fetchall())


async def _sqlalchemy(connection: Any, text: str, arguments: Sequence[Any], types: Sequence[str]) -> list[tuple[Any, ...]]:
    from sqlalchemy import text as statement

    values = {f"p{n}": value for n, value in enumerate(_texts(arguments), 1)}
    result = connection.execute(statement(_numbered(text, types, ":{}")), values)
    if inspect.isawaitable(result):
        result = await result
    return [tuple(row) for row in result.all()]


def _numbered(text: str, types: Sequence[str], form: str) -> str:
    """$1 -> the driver's placeholder with a cast from text, so that every driver sends the same thing."""
    return re.sub(r"\$(\d+)", lambda m: f"cast(cast({form.format('p' + m[1])} as text) as {types[int(m[1]) - 1]})", text)


def _texts(arguments: Sequence[Any]) -> list[str | None]:
    return [_text(argument) for argument in arguments]


def _text(value: Any) -> str | None:
    """PostgreSQL's input text of a value; arrays as {...} with every element quoted."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return (
            "{"
            + ",".join(
                "NULL" if (item := _text(element)) is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
                for element in value
            )
            + "}"
        )
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)
