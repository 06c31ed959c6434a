"""The demonstration of `up --demo`: a sample shop database, one real `schema-rebuild` job on it, its progress and its result.

Always true: it may be run again, also while another one runs; the sample database is made once and left alone afterwards;
URLs go into this process's environment only, never into a job.
Called by: up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from trunkline.cli import show, watch
from trunkline.cli.voice import Voice

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from trunkline.app import Trunkline
    from trunkline.cli.reach import Reached
    from trunkline.model import JobView

SHOP, OWN = "demo-shop", "trunkline"  # connection ids: the sample shop, and the database that holds the jobs
SHOP_DATABASE = "trunkline_demo_shop"


def register_connections(reached: Reached) -> None:
    """Let jobs of this process read the two databases by id. What the environment already names stays."""
    from trunkline.connections import variable_of
    from trunkline.store.admin import database_url

    os.environ.setdefault(variable_of(SHOP), database_url(reached.url, SHOP_DATABASE))
    os.environ.setdefault(variable_of(OWN), reached.url)


async def demonstrate(app: Trunkline, reached: Reached, voice: Voice, *, stays: bool) -> int:
    """Prepare, enqueue, follow, show; 0 when the job completed, else 1. `stays`: the worker runs on afterwards."""
    from trunkline.jobtypes.schema_rebuild import KIND

    await _prepare(reached, voice)
    job_id = await app.enqueue(KIND, {"connectionId": SHOP})
    voice.say(f"Enqueued {KIND}: it reads the schema of a sample database.\n")
    voice.event("enqueued", id=job_id, kind=KIND, connectionId=SHOP)
    with watch.teller(as_json=voice.as_json) as tell:
        job = await watch.follow(app, job_id, tell)
    if job.state != "completed":
        voice.say(f"\n{watch.ending(job)}", style="red")
        voice.say(f"More: {show.program()} jobs show {job.id}", style="cyan", whole=True)
        return 1
    for drawing in await _drawings(app, job):
        voice.say()
        voice.draw(drawing)
    _more(job, voice, stays=stays)
    return 0


async def _prepare(reached: Reached, voice: Voice) -> None:
    from trunkline.connections.demo import prepare_demo_database
    from trunkline.store.sqlstate import translated

    voice.say()
    with translated():
        making = prepare_demo_database(reached.url, SHOP_DATABASE)
        await (making if voice.as_json else show.patiently(making, "Making the sample database"))
    voice.event("prepared", database=SHOP_DATABASE, connectionId=SHOP)


async def _drawings(app: Trunkline, job: JobView) -> list[Table]:
    result: dict[str, Any] = job.result
    took = show.span((job.finished_at - job.started_at).total_seconds()) if job.finished_at and job.started_at else None
    counted = [
        ("Result", "schema stored" if result.get("stored") else "unchanged since it was stored"),
        ("Found", f"{result.get('totalTables')} tables, {result.get('totalViews')} views, {result.get('totalColumns')} columns"),
        ("Fingerprint", str(result.get("fingerprint", ""))[:16]),
        ("Took", f"{took}, attempt {job.attempt}" if took else None),
    ]
    drawings = [show.facts(counted)]
    if (by_schema := await _by_schema(app, job.tenant_id)) is not None:
        drawings.append(by_schema)
    return drawings


async def _by_schema(app: Trunkline, tenant_id: int) -> Table | None:
    """One row for each schema that was found, from what the job stored."""
    import msgspec

    from trunkline.connections import SchemaCache
    from trunkline.jobtypes.schema.shape import Reading

    stored = await SchemaCache(app.store).get(tenant_id, SHOP)
    if stored is None:
        return None
    reading = msgspec.json.decode(stored.schema, type=Reading)
    numbers = ("tables", "views", "columns", "foreign keys", "indexes", "rows (about)")

    def row(name: str) -> list[str | Text]:
        found = [table for table in reading.tables if table.schema == name]
        counts = (
            sum(table.kind == "table" for table in found),
            sum(table.kind != "table" for table in found),
            sum(len(table.columns) for table in found),
            sum(len(table.foreign_keys) for table in found),
            sum(len(table.indexes) for table in found),
            sum(table.estimated_rows or 0 for table in found),
        )
        return [show.short(name, 60), *(f"{number:,}" for number in counts)]

    return show.table(("schema", *numbers), map(row, reading.schemas), right=numbers, cut="schema")


def _more(job: JobView, voice: Voice, *, stays: bool) -> None:
    program = show.program()
    voice.say()
    voice.say("From another terminal, in this folder:" if stays else "To look closer, in this folder:")
    voice.say(f"  {program} jobs show {job.id}", style="cyan", whole=True)
    if stays:
        voice.say(f"""  {program} enqueue schema-rebuild '{{"connectionId": "{OWN}"}}' --wait""", style="cyan", whole=True)
    voice.say(f"  {program} doctor", style="cyan", whole=True)
