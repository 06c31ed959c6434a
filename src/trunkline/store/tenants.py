"""Tenants: who is there, and what share of shared workers each gets.

Called by: engine.tenants, engine.worker.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from trunkline.store.pool import Store

MOST = 10_000  # where the counts of a list stop
WEIGHTS = "select tenant_id, weight from trunkline.tenant where weight <> 1"
SET_WEIGHT = "select trunkline.set_weight($1, $2)"
LIST = f"""select t.name, t.weight, t.created_at,
       (select count(*) from (select from trunkline.ready as r where r.tenant_id = t.tenant_id limit {MOST}) as x),
       (select count(*) from (select from trunkline.deferred as d where d.tenant_id = t.tenant_id limit {MOST}) as x),
       (select count(*) from (select from trunkline.lease as l where l.tenant_id = t.tenant_id limit {MOST}) as x)
  from trunkline.tenant as t where t.tenant_id <> 0 order by t.name limit 1000"""  # noqa: S608 - a constant of ours


class TenantView(NamedTuple):
    """A tenant with its live counts, each of which stops at MOST."""

    name: str
    weight: int
    created_at: datetime
    ready: int
    deferred: int
    active: int


async def weights(store: Store) -> dict[int, int]:
    """Tenants with a weight other than 1."""
    return {row[0]: row[1] for row in await store.fetch(WEIGHTS)}


async def set_weight(store: Store, tenant_id: int, weight: int) -> int:
    """Set a tenant's weight, 1 to 1000; what it was."""
    return int(await store.fetchval(SET_WEIGHT, tenant_id, weight))


async def views(store: Store) -> list[TenantView]:
    """The tenants by name, at most 1,000."""
    return [TenantView(*row) for row in await store.fetch(LIST)]
