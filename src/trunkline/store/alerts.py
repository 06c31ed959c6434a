"""What ended lately, and the alerts that follow from it. One function per SQL function.

Called by: engine.tallies, engine.alerts, engine.gauges, cli.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from trunkline.store.pool import Store

_COLUMNS = """a.tenant_id, nullif(t.name, '0') as tenant, a.name, a.subject, a.value, a.threshold, a.raised_at, a.resolved_at, a.news, a.telling_until"""
NOTE = "select trunkline.note_tallies($1, $2, $3, $4, $5, $6)"
WATCH = f"""select {_COLUMNS} from trunkline.watch_alerts($1, $2, $3::jsonb) as a
  join trunkline.tenant as t on t.tenant_id = a.tenant_id"""  # noqa: S608 - constants only
NEWS = f"""select {_COLUMNS} from trunkline.alert_news($1) as a join trunkline.tenant as t on t.tenant_id = a.tenant_id
 order by coalesce(a.resolved_at, a.raised_at)"""  # noqa: S608 - constants only
TOLD = "select trunkline.alert_told($1, $2, $3, $4)"
LIST = f"""select {_COLUMNS} from trunkline.alert as a join trunkline.tenant as t on t.tenant_id = a.tenant_id
 where ($1::bigint is null or a.tenant_id = $1) and (not $2 or a.resolved_at is null)
 order by a.resolved_at is not null, coalesce(a.resolved_at, a.raised_at) desc limit $3"""  # noqa: S608 - constants only
ACTIVE = "select a.name, count(*) from trunkline.alert as a where a.resolved_at is null group by 1"
STATES = "select * from trunkline.monitor_states()"
TAKE_DUTY = "select trunkline.take_duty($1, $2, $3)"


class AlertRow(NamedTuple):
    """An alert. `tenant` None: of the installation. `news`: what handlers are to be told, 1 raised, 2 resolved."""

    tenant_id: int
    tenant: str | None
    name: str
    subject: str
    value: float
    threshold: float
    raised_at: datetime
    resolved_at: datetime | None
    news: int
    telling_until: datetime | None


class Tally(NamedTuple):
    """What ended of one queue: jobs completed and failed, attempts that run again, seconds of the completed ones."""

    tenant_id: int
    queue: str
    completed: int
    failed: int
    retried: int
    busy_s: float


class StateRow(NamedTuple):
    """A queue for `monitor-states`; what ended is of the last five minutes."""

    tenant: str
    queue: str
    created: int
    retry: int
    active: int
    completed: int
    failed: int
    retried: int
    busy_s: float


async def note(store: Store, tallies: Sequence[Tally]) -> None:
    """Add counts, one row a queue."""
    await store.fetch(NOTE, *zip(*tallies, strict=True))


async def watch(store: Store, session_id: int, every_s: float, limits: Mapping[str, float]) -> list[AlertRow]:
    """The interval's round; what began and what is over. Nothing where somebody else did it."""
    return [AlertRow(*row) for row in await store.fetch(WATCH, session_id, every_s, json.dumps(dict(limits)))]


async def news(store: Store, limit: int = 100) -> list[AlertRow]:
    """What handlers are to be told, taken for a minute; oldest first."""
    return [AlertRow(*row) for row in await store.fetch(NEWS, limit)]


async def told(store: Store, row: AlertRow) -> bool:
    """They were; False: it took too long."""
    return bool(await store.fetchval(TOLD, row.tenant_id, row.name, row.subject, row.telling_until))


async def alerts(store: Store, tenant_id: int | None, *, only_active: bool, limit: int = 1000) -> list[AlertRow]:
    """Those that are raised, newest first, then those resolved within a day; of one tenant, or (None) of all and the installation."""
    return [AlertRow(*row) for row in await store.fetch(LIST, tenant_id, only_active, limit)]


async def active(store: Store) -> dict[str, int]:
    """How many are raised, by name; none: not there."""
    return {row[0]: row[1] for row in await store.fetch(ACTIVE)}


async def is_monitor(store: Store, session_id: int, every_s: float) -> bool:
    """Whether this process is the one to tell `monitor-states` now."""
    return bool(await store.fetchval(TAKE_DUTY, "monitor", every_s, session_id))


async def states(store: Store) -> list[StateRow]:
    """How queues stand, the fullest first, at most 1,000."""
    return [StateRow(*row) for row in await store.fetch(STATES)]
