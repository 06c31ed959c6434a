"""The job type `schema-rebuild`: read a registered database's schema, store it when it changed, tell how far it is.

Payload: {connectionId, userId?, force?}. Progress: 25 validating, 50 fetching, 50 to 75 table by table, 75 processing,
100 done. Result: counts and a fingerprint; the schema itself goes to `trunkline.connection_schema`.
Always true: the payload and the result never hold a URL; an unchanged schema is not stored again unless `force`;
what a person must mend ends the job at once, what time may mend is tried again after 60, 120 and 240 s.
Called by: engine. Calls: connections, schema.reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from trunkline.connections import Connection, SchemaCache
from trunkline.engine import Job
from trunkline.jobtypes.application import Application, Opening, from_environment, opened
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.jobtypes.schema.fingerprint import fingerprint
from trunkline.model import Fail

if TYPE_CHECKING:
    from trunkline.jobtypes.schema.shape import Reading

KIND = "schema-rebuild"
POLICY: dict[str, Any] = {"retry_limit": 3, "retry_delay": 60, "retry_backoff": True, "timeout": 24 * 3600}

STEPS = 4
TABLES_FROM, TABLES_TO = 50.0, 75.0
MOST_TABLE_REPORTS = 1000  # a database of 50,000 tables tells every fiftieth
MOST_SCHEMA_NAMES = 200  # the result stays small; `totalSchemas` has the true number


class SchemaRebuild(BaseModel):
    """What to read. Names may be camelCase or snake_case; unknown ones are ignored."""

    # A mistyped payload may hold anything, so an error never repeats it.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True)

    connection_id: str
    user_id: str | None = None  # for whom; the job itself carries the user that counts
    force: bool = False


def register(app: Application) -> None:
    """Declare the handler of `schema-rebuild` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def schema_rebuild(job: Job, payload: SchemaRebuild) -> dict[str, Any]:
        """Read the schema of a registered database and store it when it changed."""
        return await rebuild(job, payload, SchemaCache(app.store), app.connections.opened)


async def rebuild(job: Job, payload: SchemaRebuild, cache: SchemaCache, opening: Opening = from_environment) -> dict[str, Any]:
    """Do the work of one attempt.

    Returns:
        {success, changed, stored, fingerprint, dialect, totalSchemas, totalTables, totalViews, totalColumns,
        hiddenSchemas, unreadable, schemas, durationMs}: `changed` compares with what was stored before.
    Raises:
        Fail: Final: unknown connectionId, wrong credentials, no rights, no such database, missing extra.
        ConnectionFailed: Worth another attempt: network, timeouts, a server that is full or starting.
        asyncio.CancelledError: The job was cancelled.
    """
    started = time.monotonic()
    await job.progress(25, "Validating connection...", current=1, total=STEPS)
    connection = await opened(opening, job, payload.connection_id)
    reading = await _reading(job, connection)
    await job.progress(TABLES_TO, "Processing schema data...", current=3, total=STEPS)
    now = fingerprint(reading)
    schema = msgspec.json.encode(reading).decode()
    kept = await cache.keep(job.tenant_id, connection.id, fingerprint=now, schema=schema, tables=reading.table_count, force=payload.force)
    await job.progress(100, "Schema rebuild completed", current=STEPS, total=STEPS)
    return {
        "success": True,
        "changed": kept.changed,
        "stored": kept.stored,
        "fingerprint": now,
        **_counts(reading),
        "durationMs": round((time.monotonic() - started) * 1000),
    }


async def _reading(job: Job, connection: Connection) -> Reading:
    bridge = Bridge(job)

    def on_connected() -> None:
        bridge.report(TABLES_FROM, "Fetching schema metadata...", current=2, total=STEPS)

    def on_table(number: int, total: int, name: str) -> None:
        bridge.check()
        if number % (total // MOST_TABLE_REPORTS + 1) == 0 or number == total:
            percent = TABLES_FROM + (TABLES_TO - TABLES_FROM) * number / total
            bridge.report(round(percent, 2), f"Processing table: {name}", current=number, total=total)

    return await bridge.run(lambda: _reader()(connection, on_connected=on_connected, on_table=on_table))


def _reader() -> Callable[..., Reading]:
    """`schema.reader.read`, imported in the reading thread: SQLAlchemy takes a tenth of a second, and may be missing."""
    try:
        from trunkline.jobtypes.schema.reader import read
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[schema] and retry the job.") from None
    return read


def _counts(reading: Reading) -> dict[str, Any]:
    return {
        "dialect": reading.dialect,
        "totalSchemas": len(reading.schemas),
        "totalTables": reading.table_count,
        "totalViews": len(reading.tables) - reading.table_count,
        "totalColumns": reading.column_count,
        "hiddenSchemas": len(reading.hidden_schemas),
        "unreadable": sum(table.unreadable is not None for table in reading.tables),
        "schemas": list(reading.schemas[:MOST_SCHEMA_NAMES]),
    }
