"""The job type `data-export`: the rows of a query over a registered database, as a file.

Payload: {connectionId, sql, parameters?, format?, maxRows?, maxBytes?, truncate?, timeoutSeconds?, delimiter?, header?, formulas?}.
Progress: 10 connecting, then rows; 100 done. Result: the file's name, rows, bytes, SHA-256; the file itself through `app.files.open`.
Always true: nothing is changed in the database that is read; a file stands under its name only when it is whole, and a later attempt
writes one of its own, so an attempt that lost its lease overwrites nothing.
Called by: engine. Calls: connections, reading, formats, files.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from trunkline.connections import Connection
from trunkline.engine import Job
from trunkline.errors import ConnectionFailed
from trunkline.jobtypes.application import Application, opened
from trunkline.jobtypes.files import results, sweep, unfinished
from trunkline.jobtypes.formats import CsvWriter, Format, JsonLinesWriter, ParquetWriter, Row, Sink, Writer
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.model import Fail
from trunkline.settings import Settings

KIND = "data-export"
POLICY: dict[str, Any] = {"retry_limit": 2, "retry_delay": 30, "retry_backoff": True, "timeout": 12 * 3600}
REPORT_EVERY_S, GRACE_S = 0.5, 60.0
Scalar = str | int | float | bool | None


class DataExport(BaseModel):
    """What to read and how to write it. Names may be camelCase or snake_case; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True, extra="forbid")

    connection_id: str
    sql: str = Field(min_length=1, max_length=100_000)
    parameters: dict[str, Scalar] = Field(default_factory=dict, max_length=100)  # :name in the SQL
    format: Format = "csv"
    max_rows: int | None = Field(None, ge=1)  # never above TRUNKLINE_EXPORT_MAX_ROWS
    max_bytes: int | None = Field(None, ge=1)  # never above TRUNKLINE_EXPORT_MAX_BYTES
    truncate: bool = False  # at `max_rows` end well with what there is, instead of failing
    timeout_seconds: int = Field(300, ge=1, le=6 * 3600)  # of the query
    delimiter: str = Field(",", pattern=r"^[,;|\t]$")
    header: bool = True
    formulas: bool = False  # leave cells alone that a spreadsheet would run


def register(app: Application) -> None:
    """Declare the handler of `data-export` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def data_export(job: Job, payload: DataExport) -> dict[str, Any]:
        """Write the rows of a query into a file."""
        await job.progress(5, "Opening the connection...")
        connection = await opened(app.connections.opened, job, payload.connection_id)
        return await export(job, payload, connection, app.settings)


async def export(job: Job, payload: DataExport, connection: Connection, settings: Settings) -> dict[str, Any]:
    """Do the work of one attempt.

    Returns:
        {success, file, format, rows, bytes, sha256, columns, truncated, durationMs}.
    Raises:
        Fail: the query or the connection is wrong, or a limit was passed. ConnectionFailed: worth another attempt.
    """
    started, bridge = time.monotonic(), Bridge(job)
    path = results(settings, job.tenant_id) / f"{job.id}-{job.attempt}.{payload.format}"
    most_rows = min(payload.max_rows or settings.export_max_rows, settings.export_max_rows)
    run = _Run(payload, connection, most_rows, min(payload.max_bytes or settings.export_max_bytes, settings.export_max_bytes))
    try:
        async with asyncio.timeout(payload.timeout_seconds + GRACE_S):  # a server may let its own limit pass, and never answer
            await bridge.run(lambda: run.into(path, bridge))
    except TimeoutError:
        raise ConnectionFailed(
            f"{connection} did not end the query within {payload.timeout_seconds} s, and not by its own limit either."
        ) from None
    await asyncio.to_thread(sweep, settings, job.tenant_id)
    await job.progress(100, f"{run.rows:,} rows exported", current=run.rows, total=run.rows)
    return {
        "success": True,
        "file": path.name,
        "format": payload.format,
        "rows": run.rows,
        "bytes": run.bytes,
        "sha256": run.sha256,
        "columns": run.columns,
        "truncated": run.truncated,
        "durationMs": round((time.monotonic() - started) * 1000),
    }


class _Run:
    """One writing, in a thread: what it has written so far."""

    def __init__(self, payload: DataExport, connection: Connection, most_rows: int, most_bytes: int) -> None:
        self._payload, self._connection = payload, connection
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._told_at = 0.0
        self.rows, self.bytes, self.sha256, self.truncated = 0, 0, "", False
        self.columns: list[str] = []

    def into(self, path: Path, bridge: Bridge) -> None:
        """Read everything and write it there."""
        payload, writer = self._payload, None
        bridge.report(10, "Running the query...")
        with unfinished(path) as file:
            sink = Sink(file, self._most_bytes)
            rows_of = _rows_of()
            for columns, part in rows_of(
                self._connection, payload.sql, payload.parameters, timeout_s=payload.timeout_seconds, purpose=KIND
            ):
                bridge.check()
                if writer is None:
                    self.columns, writer = columns, _writer(payload, sink, columns, part)
                writer.write(self._allowed(part))
                self._tell(bridge)
                if self.truncated:
                    break
            assert writer is not None
            writer.close()
            self.bytes, self.sha256 = sink.bytes, sink.sha256

    def _allowed(self, part: Any) -> Any:
        room = self._most_rows - self.rows
        if len(part) > room:
            if not self._payload.truncate:
                raise Fail(f"the query has more than {self._most_rows:,} rows. Narrow it, raise maxRows, or set truncate.")
            self.truncated, part = True, part[:room]
        self.rows += len(part)
        return part

    def _tell(self, bridge: Bridge) -> None:
        """How many of how many rows is known only at the end, unless there is a bound."""
        if time.monotonic() - self._told_at > REPORT_EVERY_S:
            self._told_at = time.monotonic()
            bound = self._payload.max_rows
            percent = 10 + 85 * self.rows / self._most_rows if bound else 50.0
            bridge.report(round(percent, 2), f"{self.rows:,} rows", current=self.rows, total=bound)


def _writer(payload: DataExport, sink: Sink, columns: list[str], first: list[Row]) -> Writer:
    if payload.format == "csv":
        return CsvWriter(sink, columns, delimiter=payload.delimiter, formulas=payload.formulas, header=payload.header)
    return JsonLinesWriter(sink, columns) if payload.format == "jsonl" else ParquetWriter(sink, columns, first)


def _rows_of() -> Callable[..., Any]:
    """`reading.rows_of`, imported in the reading thread: SQLAlchemy may be missing."""
    try:
        from trunkline.jobtypes.reading import rows_of
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[schema] and retry the job.") from None
    return rows_of
