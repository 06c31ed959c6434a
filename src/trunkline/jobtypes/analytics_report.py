"""The job type `analytics-report`: how many jobs of which kind ended how, by day, as CSV and as a page with charts.

Payload: {days?, until?, timezone?, kinds?, allTenants?}. Result: two files, the page (`file`) and the CSV (`csv`), with counts.
Always true: a report counts its own tenant; those of every tenant are for jobs of the default tenant where the operator allowed it
(TRUNKLINE_REPORT_ALL_TENANTS); it reads the database of the jobs and changes nothing there.
Called by: engine. Calls: engine.usage, charts, formats, files.
"""

from __future__ import annotations

import asyncio
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from trunkline.engine import Job, usage
from trunkline.jobtypes.application import Application
from trunkline.jobtypes.charts import page
from trunkline.jobtypes.files import results, sweep, unfinished
from trunkline.jobtypes.formats import CsvWriter, Sink
from trunkline.model import Fail

KIND = "analytics-report"
POLICY: dict[str, Any] = {"retry_limit": 3, "retry_delay": 60, "retry_backoff": True, "timeout": 1800}
MOST_BYTES = 256 * 1024**2
COLUMNS = ("tenant", "day", "kind", "enqueued", "completed", "failed", "cancelled", "retried", "meanSeconds", "p95Seconds", "waitSeconds")


class AnalyticsReport(BaseModel):
    """What to count. Names may be camelCase or snake_case; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True, extra="forbid")

    days: int = Field(30, ge=1, le=366)
    until: date | None = None  # the last day, itself included; None: today
    timezone: str = "UTC"  # of the days
    kinds: list[str] | None = Field(None, max_length=1000)
    all_tenants: bool = False

    @field_validator("timezone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ValueError, OSError, KeyError):
            raise ValueError("need the name of a time zone such as Europe/Berlin") from None
        return zone


def register(app: Application) -> None:
    """Declare the handler of `analytics-report` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def analytics_report(job: Job, payload: AnalyticsReport) -> dict[str, Any]:
        """Count jobs by day and kind."""
        return await report(job, payload, app)


async def report(job: Job, payload: AnalyticsReport, app: Application) -> dict[str, Any]:
    """Do the work of one attempt.

    Returns:
        {success, file, bytes, sha256, csv, csvBytes, csvSha256, rows, first, last, enqueued, completed, failed, cancelled, durationMs}.
    Raises:
        Fail: every tenant was asked for and may not be, or there is too much to count at once.
    """
    started = time.monotonic()
    everybody = payload.all_tenants
    if everybody and not (app.settings.report_all_tenants and job.tenant_id == await app.tenant_id(None)):
        raise Fail("allTenants is for jobs of the default tenant, where TRUNKLINE_REPORT_ALL_TENANTS is true.")
    last = payload.until or datetime.now(ZoneInfo(payload.timezone)).date()
    first = last - timedelta(days=payload.days - 1)
    await job.progress(10, "Counting jobs...")
    rows = await usage.usage(app.store, None if everybody else job.tenant_id, first, last, payload.timezone, payload.kinds)
    if len(rows) > usage.MOST_ROWS:
        raise Fail(f"there are more than {usage.MOST_ROWS:,} lines of day, tenant and kind. Ask for fewer days or kinds.")
    await job.progress(80, "Writing the report...")
    folder = results(app.settings, job.tenant_id)
    title = "Usage of all tenants" if everybody else "Usage"
    html = page(rows, title=title, first=first, last=last, zone=payload.timezone)
    named = await asyncio.to_thread(_write, folder / f"{job.id}-{job.attempt}.html", folder / f"{job.id}-{job.attempt}.csv", html, rows)
    await asyncio.to_thread(sweep, app.settings, job.tenant_id)
    await job.progress(100, "Report written")
    counts = {what: sum(getattr(row, what) for row in rows) for what in ("enqueued", "completed", "failed", "cancelled")}
    took = {"first": str(first), "last": str(last), "durationMs": round((time.monotonic() - started) * 1000)}
    return {"success": True, **named, "rows": len(rows), **counts, **took}


def _write(html_path: Path, csv_path: Path, html: str, rows: list[usage.Usage]) -> dict[str, Any]:
    with unfinished(csv_path) as file:
        table = Sink(file, MOST_BYTES)
        CsvWriter(table, COLUMNS).write([[*row[:8], *(None if value is None else round(value, 3) for value in row[8:])] for row in rows])
    with unfinished(html_path) as file:
        drawn = Sink(file, MOST_BYTES)
        drawn.write(html.encode("utf-8", "replace"))
    first = {"file": html_path.name, "bytes": drawn.bytes, "sha256": drawn.sha256}
    return {**first, "csv": csv_path.name, "csvBytes": table.bytes, "csvSha256": table.sha256}
