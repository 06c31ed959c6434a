"""The job type `bulk-import`: the rows of a CSV, JSON lines or XLSX file into a table of a registered database.

Payload: {connectionId, file, table, schema?, mapping?, required?, mode?, key?, chunkRows?, maxRejects?, delimiter?, encoding?, sheet?}.
Progress: by how much of the file was read. Result: rows, imported, rejected, skipped, and the file of refused rows.
Always true: no row is written twice, also when the process is killed between a chunk and its note (imports.landing); a row that
cannot be taken is in the reject file with its line and the reason, and the others are imported.
Called by: engine. Calls: imports.
"""

from __future__ import annotations

from typing import Any

from trunkline.engine import Job
from trunkline.jobtypes.application import Application
from trunkline.jobtypes.imports.order import POLICY, ImportOrder, carried_out

KIND = "bulk-import"


def register(app: Application) -> None:
    """Declare the handler of `bulk-import` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def bulk_import(job: Job, payload: ImportOrder) -> dict[str, Any]:
        """Write the rows of a file into a table."""
        return await carried_out(app, job, payload, lambda: None)
