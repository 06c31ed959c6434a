"""Who did what, in the database: rows are added by one SQL function, and read under row-level security.

Called by: audit, engine.acts, store.migrate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from trunkline.model.job import id_at
from trunkline.store.pool import Store
from trunkline.store.reader import Reader

NOTE = "select trunkline.note_acts($1, $2, $3, $4, $5, $6, $7, $8)"
LOOKS = 5000
# Filters are asked of the newest LOOKS rows behind the cursor; a time bounds the ids, which rise with it.
_BETWEEN = "n.tenant_id = $1 and n.audit_id >= $2::uuid and n.audit_id < $3::uuid"
LAST = UUID(int=2**128 - 1)
LIST = f"""select a.audit_id, a.at, a.actor_kind, a.actor, a.act, a.subject, a.via, a.address, a.detail
  from (select * from trunkline.audit as n where {_BETWEEN} order by n.audit_id desc limit $8) as a
 where ($4::text is null or a.actor = $4) and ($5::text is null or a.act = $5) and ($6::text is null or a.subject = $6)
 order by a.audit_id desc limit $7"""  # noqa: S608 - a constant of ours
STOPPED_AT = f"select n.audit_id from trunkline.audit as n where {_BETWEEN} order by n.audit_id desc offset $4 limit 1"  # noqa: S608


class Noted(NamedTuple):
    """One act: who did what to what, when, through which door, from where. `detail` is JSON text, or None."""

    id: UUID
    at: datetime
    actor_kind: str
    actor: str
    act: str
    subject: str
    via: str
    address: str | None
    detail: str | None


class Asked(NamedTuple):
    """Which rows: those that fit all that is not None. `since` is included, `until` is not."""

    actor: str | None = None
    act: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def note(
    store: Store, tenant_id: int, who: tuple[str, str, str, str | None], act: str, subjects: Sequence[str], detail: str | None
) -> None:
    """Add a row for each subject, in the transaction of `store`. `who`: kind, id, door, address; `detail`: JSON text."""
    kind, name, via, address = who
    await store.fetch(NOTE, tenant_id, kind, name, act, list(subjects), via, address, detail)


async def page(reader: Reader, tenant_id: int, asked: Asked, *, after: UUID | None, limit: int) -> tuple[list[Noted], UUID | None]:
    """Rows behind `after`, newest first, and where to go on; None: there are no more."""
    ends = [id_at(asked.until)] if asked.until is not None else []
    before = min([*ends, *([after] if after is not None else [])], default=LAST)
    where = (tenant_id, UUID(int=0) if asked.since is None else id_at(asked.since), before)
    rows = await reader.fetch(tenant_id, LIST, *where, asked.actor, asked.act, asked.subject, limit + 1, LOOKS)
    found = [Noted(*row) for row in rows[:limit]]
    if len(rows) > limit:
        return found, found[-1].id
    stopped = await reader.fetch(tenant_id, STOPPED_AT, *where, LOOKS - 1)
    return found, stopped[0][0] if stopped else None
