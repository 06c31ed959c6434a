"""Who did what, in the database: rows are added, and read under row-level security.

Called by: audit.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from trunkline.store.pool import Store
from trunkline.store.reader import Reader

NOTE = "select trunkline.note_act($1, $2, $3, $4, $5, $6, $7, $8)"
LOOKS = 5000
# Filters are asked of the newest LOOKS rows behind the cursor.
LIST = """select a.audit_id, a.at, a.actor_kind, a.actor, a.act, a.subject, a.via, a.address, a.detail
  from (select * from trunkline.audit as n
         where n.tenant_id = $1 and ($2::uuid is null or n.audit_id < $2) order by n.audit_id desc limit $7) as a
 where ($3::text is null or a.actor = $3) and ($4::text is null or a.act = $4) and ($5::text is null or a.subject = $5)
 order by a.audit_id desc limit $6"""
STOPPED_AT = """select n.audit_id from trunkline.audit as n where n.tenant_id = $1 and ($2::uuid is null or n.audit_id < $2)
 order by n.audit_id desc offset $3 limit 1"""


class AuditRow(NamedTuple):
    """One act. `detail` is JSON text."""

    audit_id: UUID
    at: datetime
    actor_kind: str
    actor: str
    act: str
    subject: str
    via: str
    address: str | None
    detail: str | None


async def note(
    store: Store, tenant_id: int, actor_kind: str, actor: str, act: str, subject: str, via: str, address: str | None, detail: str | None
) -> None:
    """Add a row, in the transaction of `store`."""
    await store.fetch(NOTE, tenant_id, actor_kind, actor, act, subject, via, address, detail)


async def page(
    reader: Reader, tenant_id: int, *, actor: str | None, act: str | None, subject: str | None, after: UUID | None, limit: int
) -> tuple[list[AuditRow], UUID | None]:
    """Rows behind `after`, newest first, and where to go on; None: there are no more."""
    rows = await reader.fetch(tenant_id, LIST, tenant_id, after, actor, act, subject, limit + 1, LOOKS)
    found = [AuditRow(*row) for row in rows[:limit]]
    if len(rows) > limit:
        return found, found[-1].audit_id
    stopped = await reader.fetch(tenant_id, STOPPED_AT, tenant_id, after, LOOKS - 1)
    return found, stopped[0][0] if stopped else None
