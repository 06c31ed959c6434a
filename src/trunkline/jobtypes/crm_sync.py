"""The job type `crm-sync`: what changed in a Bitrix24 portal since the last run, into a table of a registered database.

Payload: {connectionId, entity | entityTypeId, targetId, table, schema?, mapping?, full?, overlapSeconds?}.
Progress: items so far, and how near to now they are. Result: {seen, written, refused, refusals, until, requests, ...}.
Always true: the place up to which changes were taken stands beside the rows and is kept from run to run (crm.landing); every request takes a
permit of the portal's limit key `bitrix24:HOST`, so all jobs of all processes together keep to the portal's bucket; when the portal asks
to wait, that key is shut for everybody and no attempt is used up; the webhook's code is in no payload, result, error or log.
Called by: engine. Calls: crm, connections.
"""

from __future__ import annotations

import time
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from trunkline.engine import Job, Permits
from trunkline.jobtypes.application import Application, opened
from trunkline.jobtypes.schema.bridge import Bridge
from trunkline.model import Fail

KIND = "crm-sync"
POLICY: dict[str, Any] = {"retry_limit": 2, "retry_delay": 2, "retry_backoff": True, "timeout": 12 * 3600}  # maxAttempts 3, 2^n seconds
# The portal's bucket holds 50 requests and loses 2 a second. 41 at once leave room for those that arrive late and for other programs
# behind the same address.
RATE, BURST = 2.0, 40
ENTITIES = {"lead": 1, "deal": 2, "contact": 3, "company": 4, "quote": 7, "invoice": 31}


class CrmSync(BaseModel):
    """What to bring where. Names may be camelCase or snake_case; unknown ones are refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True, frozen=True, extra="forbid")

    connection_id: str  # the portal
    entity: Literal["lead", "deal", "contact", "company", "quote", "invoice"] | None = None
    entity_type_id: int | None = Field(None, ge=1, le=2_000_000_000)  # instead: the number of any type, such as a smart process
    target_id: str  # the connection of the database
    table: str = Field(min_length=1, max_length=200)
    table_schema: str | None = Field(None, max_length=200, alias="schema")
    mapping: dict[str, str] | None = Field(None, max_length=1000)  # field of the CRM -> column of the table; None: by equal names
    full: bool = False  # everything anew, not only what changed
    overlap_seconds: int = Field(60, ge=0, le=30 * 86400)  # how far before the last place a run begins

    @model_validator(mode="after")
    def _names_one_type(self) -> CrmSync:
        if (self.entity is None) == (self.entity_type_id is None):
            raise ValueError("need an entity by name, or an entityTypeId, one of them")
        if self.mapping is not None and "id" not in self.mapping:
            raise ValueError("the mapping needs the field id, by which rows are found again")
        return self


def register(app: Application) -> None:
    """Declare the handler of `crm-sync` on `app`."""

    @app.job(KIND, tenants="all", **POLICY)
    async def crm_sync(job: Job, payload: CrmSync) -> dict[str, Any]:
        """Bring a CRM's changes into a table."""
        return await synced(app, job, payload)


async def synced(app: Application, job: Job, payload: CrmSync) -> dict[str, Any]:
    """Do the work of one attempt.

    Returns:
        {success, entityTypeId, seen, written, refused, refusals, until, requests, durationMs}: `refusals` are the first of this
        attempt as {id, field, reason}; `until` is the time of the last change that was taken; the counts are those of all attempts.
    Raises:
        Fail: webhook, rights, mapping or table are wrong. RetryAfter: the portal asked to wait. ConnectionFailed: worth another attempt.
    """
    began = time.monotonic()
    await job.progress(2, "Opening the connections...")
    portal = await opened(app.connections.opened, job, payload.connection_id, crm=True)
    target = await opened(app.connections.opened, job, payload.target_id)
    permits = Permits(app.store, job.tenant_id, f"bitrix24:{urlsplit(portal.url).hostname}", rate=RATE, burst=BURST)
    try:
        from trunkline.connections.bitrix24 import Portal
        from trunkline.jobtypes.crm.run import Order, run
        from trunkline.jobtypes.crm.source import Source
    except ImportError as error:
        raise Fail(f"{KIND} needs the package {error.name}. Install trunkline[crm,schema] and retry the job.") from None
    number = payload.entity_type_id or ENTITIES[payload.entity or "lead"]
    order = Order(
        job.tenant_id,
        str(job.id),
        portal.id,
        number,
        target,
        table=payload.table,
        schema=payload.table_schema,
        mapping=payload.mapping,
        full=payload.full,
        overlap_s=payload.overlap_seconds,
    )
    bridge = Bridge(job)
    async with Portal(portal) as session:
        source = Source(session, permits)
        done = await bridge.run(lambda: run(order, source, bridge))
    await job.progress(100, f"{done.written:,} items written, {done.refused:,} refused", current=done.seen, total=done.seen)
    counts = {"seen": done.seen, "written": done.written, "refused": done.refused, "refusals": done.refusals, "until": done.until}
    took = {"requests": source.requests, "durationMs": round((time.monotonic() - began) * 1000)}
    return {"success": True, "entityTypeId": number, **counts, **took}
