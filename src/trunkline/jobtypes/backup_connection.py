"""The job type `backup-connection`: the schema of a registered database as an SQL file. No rows: this is no backup of data.

Payload: {connectionId, tool?}. `tool`: "auto" takes a pg_dump of the worker's host that is not older than the server, and our own
reading otherwise; "pg_dump" and "own" insist. Progress: table by table. Result: the file, its SHA-256, and what wrote it.
Always true: as for `data-export`: nothing is changed, and a file stands under its name only when it is whole.
Called by: engine. Calls: connections, dumping, files.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from trunkline.connections import Connection
from trunkline.engine import Job
from trunkline.jobtypes.application import Application, opened
from trunkline.jobtypes.files import results, sweep, unfinished
from trunkline.jobtypes.formats import Sink
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.model import Fail
from trunkline.settings import Settings

KIND = "backup-connection"
POLICY: dict[str, Any] = {"retry_limit": 3, "retry_delay": 60, "retry_backoff": True, "timeout": 6 * 3600}


class BackupConnection(BaseModel):
    """What to write down. Names may be camelCase or snake_case; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True, extra="forbid")

    connection_id: str
    tool: Literal["auto", "pg_dump", "own"] = "auto"


def register(app: Application) -> None:
    """Declare the handler of `backup-connection` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def backup_connection(job: Job, payload: BackupConnection) -> dict[str, Any]:
        """Write the schema of a database into a file."""
        await job.progress(5, "Opening the connection...")
        connection = await opened(app.connections.opened, job, payload.connection_id)
        return await backup(job, payload, connection, app.settings)


async def backup(job: Job, payload: BackupConnection, connection: Connection, settings: Settings) -> dict[str, Any]:
    """Do the work of one attempt.

    Returns:
        {success, file, tool, bytes, sha256, tables?, durationMs}; `tables` where our own reading counted them.
    Raises:
        Fail: the connection is wrong, or the tool that was insisted on is not there. ConnectionFailed: worth another attempt.
    """
    started, bridge = time.monotonic(), Bridge(job)
    path = results(settings, job.tenant_id) / f"{job.id}-{job.attempt}.sql"
    wrote = await bridge.run(lambda: _write(path, payload, connection, settings, bridge))
    await asyncio.to_thread(sweep, settings, job.tenant_id)
    await job.progress(100, "Schema written")
    return {"success": True, "file": path.name, **wrote, "durationMs": round((time.monotonic() - started) * 1000)}


def _write(path: Path, payload: BackupConnection, connection: Connection, settings: Settings, bridge: Bridge) -> dict[str, Any]:
    try:
        from trunkline.jobtypes import dumping
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[schema] and retry the job.") from None
    program = _program(dumping, payload, connection, settings)
    if program is not None:
        bridge.report(10, "Running pg_dump...")
        try:
            with unfinished(path) as file:
                sink = Sink(file, settings.export_max_bytes)
                dumping.by_pg_dump(connection, program, sink, bridge.check)
            return {"tool": "pg_dump", "bytes": sink.bytes, "sha256": sink.sha256}
        except dumping.NoTool as error:
            if payload.tool == "pg_dump":
                raise Fail(f"pg_dump does not fit the server: {' '.join(str(error).split())[:300]}") from None

    def tell(number: int, total: int, name: str) -> None:
        bridge.check()
        bridge.report(round(10 + 85 * number / total, 2), f"Writing table: {name}", current=number, total=total)

    with unfinished(path) as file:
        sink = Sink(file, settings.export_max_bytes)
        tables = dumping.own(connection, sink, tell)
    return {"tool": "own", "tables": tables, "bytes": sink.bytes, "sha256": sink.sha256}


def _program(dumping: Any, payload: BackupConnection, connection: Connection, settings: Settings) -> Path | None:
    """The pg_dump to run: the oldest that is not older than the server. None: our own reading."""
    if payload.tool == "own" or (payload.tool == "auto" and connection.dialect != "postgresql"):
        return None
    if connection.dialect != "postgresql":
        raise Fail(f"pg_dump reads PostgreSQL, and {connection} is none. Leave `tool` out.")
    found, server = dumping.pg_dumps(settings.pg_bin_dir), dumping.server_major(connection)
    fitting = [program for major, program in sorted(found.items()) if major >= server]
    if not fitting and payload.tool == "pg_dump":
        versions = ", ".join(map(str, sorted(found))) or "none"
        raise Fail(
            f"the server is PostgreSQL {server}, and pg_dump on the worker's host is of: {versions}. Install one, or leave `tool` out."
        )
    return fitting[0] if fitting else None
