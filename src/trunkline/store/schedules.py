"""Schedules in the database: one function per SQL function (sql/functions/37_schedules.sql, 37_firing.sql).

Called by: engine.schedules, engine.scheduler, cli (doctor).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from trunkline.model import Rule, ScheduleView
from trunkline.model.payload import decode
from trunkline.store.pool import Store

SAVE = "select trunkline.save_schedule($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
DELETE = "select trunkline.delete_schedule($1, $2)"
PAUSE = "select trunkline.pause_schedule($1, $2, $3)"
PRUNE = "select trunkline.prune_schedules($1, $2)"
RUN = "select id, created from trunkline.run_schedule($1, $2)"
DUE = "select * from trunkline.due_schedules($1)"
PLAN = "select trunkline.plan_schedule($1, $2, $3, $4, $5)"
# What it fires is read beside it, for the count of jobs that this process put in.
FIRE = """select trunkline.fire($1, $2, $3, $4, $5) as made, coalesce(s.kind, t.kind) as kind, coalesce(s.options ->> 'queue', t.options ->> 'queue') as queue
  from trunkline.schedule as s left join trunkline.template as t on t.tenant_id = s.tenant_id and t.name = s.template
 where s.tenant_id = $1 and s.schedule_id = $2"""
NOW = "select trunkline.now()"
_COLUMNS = """select name, kind, template, payload, options, cron, every_s, run_at, starts_at, time_zone, missed, missed_limit, state,
       next_run_at, last_run_at, paused_at, error, declared_by_code, revision, created_at, updated_at
  from trunkline.schedules where tenant_id = $1"""
GET = f"{_COLUMNS} and name = $2"
LIST = f"{_COLUMNS} order by name limit 1000"
FIRINGS = """select f.due_at, f.fired_at, f.job_id, f.is_new, f.by_hand from trunkline.firing as f
  join trunkline.schedule as s on s.tenant_id = f.tenant_id and s.schedule_id = f.schedule_id
 where f.tenant_id = $1 and s.name = $2 order by f.due_at desc limit $3"""
TROUBLE = """select t.name, s.name, s.error, extract(epoch from trunkline.now() - s.next_run_at)::float8
  from (select * from trunkline.schedules limit 10000) as s join trunkline.tenant as t on t.tenant_id = s.tenant_id
 where s.error is not null or s.next_run_at < trunkline.now() - interval '1 minute' order by 1, 2 limit 20"""
COUNT = "select count(*) from (select from trunkline.schedule limit 10000) as s"


class Due(NamedTuple):
    """A schedule that needs somebody: columns of sql due_schedules(), in their order. `next_run_at` None: to be planned."""

    now: datetime
    tenant_id: int
    schedule_id: int
    revision: int
    name: str
    cron: str | None
    every_s: float | None
    at: datetime | None
    starts_at: datetime
    time_zone: str
    missed: str
    missed_limit: int
    plan_from: datetime
    next_run_at: datetime | None

    @property
    def rule(self) -> Rule:
        """When it is due."""
        return Rule(self.cron, self.every_s, self.at, self.time_zone, self.starts_at if self.every_s is not None else None)


class Firing(NamedTuple):
    """One due time and its job; `is_new` False: a live job held the unique key, and this is that job's id."""

    due_at: datetime
    fired_at: datetime
    job_id: UUID
    is_new: bool
    by_hand: bool


async def save(
    store: Store,
    tenant_id: int,
    name: str,
    *,
    kind: str | None,
    template: str | None,
    payload: str | None,
    options: str,
    rule: Rule,
    missed: str,
    missed_limit: int,
    declared: bool,
    revision: int | None = None,
) -> str:
    """Make or change a schedule: created, changed, unchanged; `moved` where `revision` is not its revision any more."""
    work = (kind, template, payload, options)
    when = (rule.cron, rule.every_s, rule.at, rule.starts_at, rule.time_zone, missed, missed_limit)
    return str(await store.fetchval(SAVE, tenant_id, name, *work, *when, declared, revision))


async def delete(store: Store, tenant_id: int, name: str) -> bool:
    """False: there was none."""
    return bool(await store.fetchval(DELETE, tenant_id, name))


async def pause(store: Store, tenant_id: int, name: str, paused: bool) -> bool:
    """Pause or resume; True when it was in the other state. NotFound without one."""
    return bool(await store.fetchval(PAUSE, tenant_id, name, paused))


async def prune(store: Store, tenant_id: int, keep: Sequence[str]) -> list[str]:
    """Take away what code declared and is not in `keep`; the names."""
    return [row[0] for row in await store.fetch(PRUNE, tenant_id, keep)]


async def run(store: Store, tenant_id: int, name: str) -> tuple[UUID, bool]:
    """Fire by hand: (job, whether it is new). NotFound without one."""
    row = await store.fetchrow(RUN, tenant_id, name)
    assert row is not None
    return row[0], row[1]


async def due(store: Store, limit: int) -> list[Due]:
    """Schedules to plan or to fire now, longest due first."""
    return [Due(*row) for row in await store.fetch(DUE, limit)]


async def plan(store: Store, one: Due, next_run_at: datetime | None, error: str | None = None) -> bool:
    """Note when it is due next, without firing; False: it changed meanwhile."""
    return bool(await store.fetchval(PLAN, one.tenant_id, one.schedule_id, one.revision, next_run_at, error))


async def fire(store: Store, one: Due, due_ats: Sequence[datetime], next_run_at: datetime | None) -> int | None:
    """One job for each due time that has none, and move on; how many jobs are new, None: it changed meanwhile."""
    row = await store.fetchrow(FIRE, one.tenant_id, one.schedule_id, one.revision, due_ats, next_run_at)
    if row is None or row["made"] is None:
        return None
    if row["made"] and row["kind"] is not None:
        store.counts.fired(one.tenant_id, row["kind"], row["queue"] or row["kind"], row["made"])
    return int(row["made"])


async def now(store: Store) -> datetime:
    """The clock that schedules follow."""
    found: datetime = await store.fetchval(NOW)
    return found


async def get(store: Store, tenant_id: int, name: str) -> ScheduleView | None:
    """One schedule, or None."""
    row = await store.fetchrow(GET, tenant_id, name)
    return None if row is None else _view(row)


async def schedules(store: Store, tenant_id: int) -> list[ScheduleView]:
    """The tenant's schedules by name, at most 1,000."""
    return [_view(row) for row in await store.fetch(LIST, tenant_id)]


async def firings(store: Store, tenant_id: int, name: str, limit: int) -> list[Firing]:
    """What it fired, newest due time first."""
    return [Firing(*row) for row in await store.fetch(FIRINGS, tenant_id, name, limit)]


async def trouble(store: Store) -> tuple[int, list[tuple[str, str, str | None, float | None]]]:
    """(schedules there are, [(tenant, name, error, seconds overdue) of those that fail or that nobody fires])."""
    found = [(row[0], row[1], row[2], row[3]) for row in await store.fetch(TROUBLE)]
    return int(await store.fetchval(COUNT)), found


def _view(row: asyncpg.Record) -> ScheduleView:
    cron, every_s, at, starts_at, zone = row[5:10]
    return ScheduleView(
        name=row[0],
        kind=row[1],
        template=row[2],
        payload=None if row[3] is None else decode(row[3]),
        options=decode(row[4]),
        rule=Rule(cron, every_s, at, zone, starts_at if every_s is not None else None),
        **{name: row[name] for name in _view_columns},
    )


_view_columns = (
    "missed",
    "missed_limit",
    "state",
    "next_run_at",
    "last_run_at",
    "paused_at",
    "error",
    "declared_by_code",
    "revision",
    "created_at",
    "updated_at",
)
