"""The payload that imports share, and its way to a run: file and connection found, result made.

Always true: the file is one that this tenant brought; names may be camelCase or snake_case, unknown ones are refused.
Needs no extra. Called by: bulk_import, lead_import.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from trunkline.engine import Job
from trunkline.jobtypes.application import Application, opened
from trunkline.jobtypes.files import results, sha256_of, sweep, uploaded
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.model import Fail

POLICY: dict[str, Any] = {"retry_limit": 3, "retry_delay": 30, "retry_backoff": True, "timeout": 12 * 3600}


class ImportOrder(BaseModel):
    """What to bring where."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True, extra="forbid")

    connection_id: str
    file: str = Field(max_length=100)  # as `app.files.save` named it; its ending says what it is
    table: str = Field(min_length=1, max_length=200)
    table_schema: str | None = Field(None, max_length=200, alias="schema")
    mapping: dict[str, str] | None = Field(None, max_length=2000)  # column of the file -> column of the table; None: by equal names
    required: list[str] = Field(default_factory=list, max_length=2000)  # columns of the table that must have a value
    mode: Literal["insert", "upsert", "skip"] = "insert"
    key: list[str] = Field(default_factory=list, max_length=32)  # unique columns, for upsert and skip
    chunk_rows: int = Field(1000, ge=1, le=10_000)
    max_rejects: int | None = Field(None, ge=0)  # more end the import; None: any number
    delimiter: str = Field(",", pattern=r"^[,;|\t]$")
    encoding: Literal["utf-8", "utf-16", "windows-1252", "iso-8859-1"] = "utf-8"
    sheet: str | None = Field(None, max_length=100)

    @model_validator(mode="after")
    def _has_a_key(self) -> ImportOrder:
        if self.mode != "insert" and not self.key:
            raise ValueError(f"{self.mode} needs a key: the unique columns of the table")
        return self


async def carried_out(app: Application, job: Job, payload: ImportOrder, work: Callable[[], Any]) -> dict[str, Any]:
    """Do the work of one attempt.

    Args:
        work: makes the `imports.run.Work`, in the thread, where the extras are imported.
    Returns:
        {success, rows, imported, rejected, skipped, rejects?, rejectsSha256?, durationMs}: `rejects` is the file of refused rows.
    """
    began = time.monotonic()
    await job.progress(2, "Opening the connection...")
    file = uploaded(app.settings, job.tenant_id, payload.file)
    ending = file.suffix.removeprefix(".")
    if ending not in ("csv", "jsonl", "xlsx"):
        raise Fail(f"file {payload.file!r} is none to import: need one that ends in .csv, .jsonl or .xlsx.")
    connection = await opened(app.connections.opened, job, payload.connection_id)
    kept, bridge = await job.last_checkpoint(), Bridge(job)
    rejects = results(app.settings, job.tenant_id) / f"{job.id}-rejects.csv"
    options = payload.model_dump(exclude={"connection_id", "file", "table_schema"}, include=set(ImportOrder.model_fields))

    def go() -> Any:
        run, order, more = _run(payload)
        return run(
            order(str(job.id), file, rejects, ending, connection, schema=payload.table_schema, **options), work() or more, bridge, kept
        )

    done = await bridge.run(go)
    await asyncio.to_thread(sweep, app.settings, job.tenant_id)
    await job.progress(100, f"{done.imported:,} rows imported, {done.rejected:,} refused", current=done.rows, total=done.rows)
    digest = await asyncio.to_thread(lambda: sha256_of(rejects) if done.rejected and rejects.exists() else None)
    named = {} if digest is None else {"rejects": rejects.name, "rejectsSha256": digest}
    counts = {"rows": done.rows, "imported": done.imported, "rejected": done.rejected, "skipped": done.rows - done.imported - done.rejected}
    return {"success": True, **counts, **named, "durationMs": round((time.monotonic() - began) * 1000)}


def _run(payload: ImportOrder) -> tuple[Any, Any, Any]:
    try:
        from trunkline.jobtypes.imports.run import Order, Work, run
    except ImportError as error:
        raise Fail(f"imports need the package {error.name}. Install trunkline[schema] and retry the job.") from None
    return run, Order, Work()
