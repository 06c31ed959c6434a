"""Pages of jobs for people: a tenant's or a user's, by state, kind, time or text in the error. Payloads and results stay text.

A page walks one index from its cursor: of the user, of a live table, of the failed and cancelled by their end, or of all. What
it walks past is bounded, so a filter that fits nothing costs LOOKS rows and says where to go on.
Always true: order is by id (creation), newest first; failed and cancelled jobs of no particular user come by the time of their end.
Called by: engine.records.
"""
# ruff: noqa: S608 - texts are put together of constants and placeholders; values are arguments

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from trunkline.model.job import id_at
from trunkline.store.bound import Bound
from trunkline.store.pool import Store
from trunkline.store.reader import Reader

LOOKS = 5000  # rows that one page walks past at the most
COUNTED = 1000  # rows that a total looks at
LONGEST_RESULT = 8192  # bytes of a result inside a page
_LIVE = ("queued", "scheduled", "retrying", "no_handler", "waiting", "limited")
STATES = (*_LIVE, "active", "completed", "failed", "cancelled")
_ENDED = {"completed": 1, "failed": 2, "cancelled": 3}

_COLUMNS = """j.id, q.name, k.name, j.user_id,
       case when o.job_id is not null then (array['completed', 'failed', 'cancelled'])[o.state]
            when h.job_id is not null then 'active' when r.job_id is not null then 'queued' else d.reason end,
       coalesce(h.priority, r.priority, d.priority, (o.detail ->> 'priority')::smallint), coalesce(o.attempt, h.attempt, r.attempt, d.attempt),
       coalesce((o.detail ->> 'failures')::integer, h.failures, r.failures, d.failures, 0), j.created_at, d.run_at,
       coalesce(o.started_at, h.claimed_at), h.deadline, o.finished_at, o.detail -> 'error', coalesce(h.progress, o.detail -> 'progress')"""
# The view trunkline.jobs once more, for ids `l`, in a form that no statistic can turn around: `ready` is often believed empty, and
# then any of its indexes seems as good as its key. Ordering by the key within a range of one leaves only the key without a sort.
_LIVE_ROW = """left join lateral (select t.* from trunkline.{table} as t
   where t.tenant_id = $1 and t.job_id >= l.job_id and t.job_id <= l.job_id order by t.job_id limit 1) as {name} on true"""
_STANDING = f"""cross join lateral (select t.* from trunkline.job as t where t.tenant_id = $1 and t.id = l.job_id limit 1) as j
  cross join lateral (select t.name from trunkline.queue as t where t.tenant_id = $1 and t.queue_id = j.queue_id limit 1) as q
  cross join lateral (select t.name from trunkline.kind as t where t.tenant_id = $1 and t.kind_id = j.kind_id limit 1) as k
  left join lateral (select t.* from trunkline.outcome as t where t.tenant_id = $1 and t.job_id = l.job_id limit 1) as o on true
  {_LIVE_ROW.format(table="lease", name="h")}
  {_LIVE_ROW.format(table="ready", name="r")}
  {_LIVE_ROW.format(table="deferred", name="d")}
 where coalesce(o.job_id, h.job_id, r.job_id, d.job_id) is not null"""
JOB = f"select {_COLUMNS}, o.result, j.payload, j.options, false from (select $2::uuid as job_id) as l {_STANDING}"
_IN_PAGE = f"""{_COLUMNS}, case when octet_length(o.result::text) <= {LONGEST_RESULT} then o.result end, null, null,
       coalesce(octet_length(o.result::text) > {LONGEST_RESULT}, false)"""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a page is of. None and empty: of everything.

    Attributes:
        states: one of STATES, or several live ones.
        created_after, created_before: by the time inside the id, which is when it was made.
        error: text in the error of a failed or cancelled job, upper and lower case alike.
    """

    states: tuple[str, ...] = ()
    kind: str | None = None
    queue: str | None = None
    user_id: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    error: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it leaves nothing out."""
        return self == Filter()


class Place(NamedTuple):
    """Where a page ended; `at`: the end of a failed or cancelled job, where that is the order."""

    job_id: UUID
    at: datetime | None = None


class JobRow(NamedTuple):
    """A job as a page shows it; error, progress, result and payload are JSON text. `result_omitted`: it is too long for a page."""

    id: UUID
    queue: str
    kind: str
    user_id: str | None
    state: str
    priority: int | None
    attempt: int
    failures: int
    created_at: datetime
    run_at: datetime | None
    started_at: datetime | None
    deadline: datetime | None
    finished_at: datetime | None
    error: str | None
    progress: str | None
    result: str | None
    payload: str | None
    options: str | None
    result_omitted: bool


class Page(NamedTuple):
    """Jobs in order; `next` None: there are no more. `total`: how many of the first COUNTED rows fit; `is_capped`: there are more rows."""

    jobs: list[JobRow]
    next: Place | None
    total: int
    is_capped: bool


class _Query:
    """Text and arguments of one question."""

    def __init__(self, tenant_id: int, wanted: Filter) -> None:
        self.args: list[Any] = [tenant_id]
        self.wanted = wanted
        self.by_end = wanted.user_id is None and wanted.states in (("failed",), ("cancelled",))
        self.has_detail = (
            self.by_end and wanted.error is not None
        )  # the walk brings the error along: it is in the row that the index leads to

    def bind(self, value: Any) -> str:
        """The placeholder of an argument."""
        self.args.append(value)
        return f"${len(self.args)}"

    def source(self, after: Place | None) -> str:
        """Ids in order from `after` on, with what the filter needs of the index."""
        wanted, states = self.wanted, self.wanted.states
        if self.by_end:
            return self._walk("trunkline.outcome", "job_id", after, f"state = {_ENDED[states[0]]}")
        if wanted.user_id is not None or not states:
            owner = "" if wanted.user_id is None else f"user_id = {self.bind(wanted.user_id)}"
            return self._walk("trunkline.job", "id", after, owner)
        if states == ("active",):
            return self._walk("trunkline.lease", "job_id", after)
        if states == ("completed",):
            return self._walk("trunkline.outcome", "job_id", after, "state = 1")
        parts = [self._walk("trunkline.ready", "job_id", after)] if "queued" in states else []
        if reasons := [state for state in states if state != "queued"]:
            reason = "" if len(reasons) == len(_LIVE) - 1 else f"reason = any({self.bind(reasons)}::text[])"
            parts.append(self._walk("trunkline.deferred", "job_id", after, reason))
        either = " union all ".join(f"(select * from ({part} limit {LOOKS}) as p{n})" for n, part in enumerate(parts))
        return f"select * from ({either}) as w order by job_id desc"

    def _walk(self, table: str, column: str, after: Place | None, more: str = "") -> str:
        where = ["s.tenant_id = $1", *([f"s.{more}"] if more else []), *self.bounds(f"s.{column}")]
        if after is not None and not self.by_end:
            where.append(f"s.{column} < {self.bind(after.job_id)}")
        elif after is not None:
            at, job_id = self.bind(after.at), self.bind(after.job_id)
            where.append(f"s.finished_at <= {at} and (s.finished_at, s.job_id) < ({at}, {job_id})")
        order = "s.finished_at desc, s.job_id desc" if self.by_end else f"s.{column} desc"
        at = "s.finished_at" if self.by_end else "null::timestamptz"
        more = ", s.kind_id, s.queue_id" if table == "trunkline.job" and (self.wanted.kind or self.wanted.queue) else ""
        more = ", s.detail" if self.has_detail else more
        return f"select s.{column} as job_id, {at} as at{more} from {table} as s where {' and '.join(where)} order by {order}"

    def bounds(self, column: str) -> list[str]:
        """The times of the filter, as bounds of ids."""
        after, before = self.wanted.created_after, self.wanted.created_before
        found = [] if after is None else [f"{column} >= {self.bind(id_at(after))}"]
        return found if before is None else [*found, f"{column} < {self.bind(id_at(before))}"]

    def filters(self) -> list[str]:
        """What remains to be asked of each row that the index gives, as `l`."""
        wanted, found = self.wanted, []
        body = [f"{row}.{column}_id = {found_by}" for column, found_by, row in self._named()]
        if body and self.is_body:
            found += body
        elif body:
            found.append(f"(select {' and '.join(body)} from trunkline.job as j where j.tenant_id = $1 and j.id = l.job_id limit 1)")
        if wanted.user_id is not None and wanted.states:
            found.append(f"({' or '.join(self.stands(state) for state in wanted.states)})")
        if wanted.error is not None:
            found.append(self._says(wanted.error))
        return found

    def _named(self) -> list[tuple[str, str, str]]:
        """(column, its value, where it stands) of the kind and the queue that are asked for."""
        row = "l" if self.is_body else "j"
        given = (("kind", self.wanted.kind), ("queue", self.wanted.queue))
        return [
            (name, f"(select t.{name}_id from trunkline.{name} as t where t.tenant_id = $1 and t.name = {self.bind(value)})", row)
            for name, value in given
            if value is not None
        ]

    def _says(self, error: str) -> str:
        """Whether the error of a row of the index has this text in it."""
        text, row = self.bind(error), "l" if self.has_detail else "o"
        has = f"strpos(lower(coalesce({row}.detail -> 'error' ->> 'message', {row}.detail ->> 'error')), lower({text})) > 0"
        if self.has_detail:
            return has
        # Asked in the select list: as a condition, another index would seem to fit.
        return f"(select o.state in (2, 3) and {has} from trunkline.outcome as o where o.tenant_id = $1 and o.job_id = l.job_id limit 1)"

    @property
    def is_body(self) -> bool:
        """Whether the index that is walked is of `job`, so that its rows need not be looked up again."""
        return self.wanted.user_id is not None or not self.wanted.states

    def stands(self, state: str) -> str:
        """Whether a row of the index, `l`, is in a state."""
        if state in ("failed", "cancelled"):  # by the index outcome_ended_job alone: completed rows, most of all, are not read for it
            what, table, where = "true", "outcome", f"t.state = {_ENDED[state]} and t.job_id = l.job_id limit 1"
        elif state == "completed":
            what, table, where = "t.state = 1", "outcome", "t.job_id = l.job_id limit 1"
        else:
            what = f"t.reason = {self.bind(state)}" if state not in ("queued", "active") else "true"
            table = {"queued": "ready", "active": "lease"}.get(state, "deferred")
            where = "t.job_id >= l.job_id and t.job_id <= l.job_id order by t.job_id limit 1"
        return f"coalesce((select {what} from trunkline.{table} as t where t.tenant_id = $1 and {where}), false)"


async def job(reader: Reader, tenant_id: int, job_id: UUID) -> JobRow | None:
    """One job with its payload, or None when this tenant has no such job."""
    rows = await reader.fetch(tenant_id, JOB, tenant_id, job_id)
    return JobRow(*rows[0]) if rows else None


class JobStands(NamedTuple):
    """A job in short."""

    kind: str
    user_id: str | None
    state: str
    created_at: datetime


STANDS = "select j.kind, j.user_id, j.state, j.created_at from trunkline.jobs as j where j.tenant_id = $1 and j.id = $2"


async def stands(store: Store, tenant_id: int, job_id: UUID) -> JobStands | None:
    """A job in short, within the transaction of `store`; None: no such job."""
    row = await store.fetchrow(STANDS, tenant_id, job_id)
    return None if row is None else JobStands(*row)


async def page(reader: Reader, tenant_id: int, wanted: Filter, *, limit: int, after: Place | None = None, offset: int = 0) -> Page:
    """Up to `limit` jobs behind `after`, or behind the first `offset`. Fewer with a `next`: the rest is further on."""
    order = "l.at desc, l.job_id desc" if _Query(tenant_id, wanted).by_end else "l.job_id desc"
    text, args = _page(tenant_id, wanted, after, order, limit, offset)
    counting, counted_args = _count(tenant_id, wanted)
    async with reader.within(tenant_id) as bound:
        rows, counted = await bound.fetch(text, *args), await bound.fetch(counting, *counted_args)
        jobs, places = [JobRow(*row[:-1]) for row in rows[:limit]], [Place(row[0], row[-1]) for row in rows]
        following = places[limit - 1] if len(rows) > limit else await _stopped_at(bound, tenant_id, wanted, after)
    return Page(jobs, following, int(counted[0][0]), counted[0][1] >= COUNTED)


async def ids(reader: Reader, tenant_id: int, wanted: Filter, *, limit: int) -> list[UUID]:
    """The ids of up to `limit` jobs that fit, in the order of pages, among the first LOOKS rows."""
    query = _Query(tenant_id, wanted)
    order = "l.at desc, l.job_id desc" if query.by_end else "l.job_id desc"
    text = f"select l.job_id from ({query.source(None)} limit {LOOKS}) as l{_where(query)} order by {order} limit {query.bind(limit)}"
    return [row[0] for row in await reader.fetch(tenant_id, text, *query.args)]


async def fitting(reader: Reader, tenant_id: int, job_ids: list[UUID], wanted: Filter) -> list[UUID]:
    """Those of these jobs that fit a filter."""
    query = _Query(tenant_id, wanted)
    query.has_detail = False  # nothing is walked
    where = [*query.bounds("l.job_id"), *query.filters()]
    if wanted.user_id is not None:
        where.append(
            f"(select true from trunkline.job as j where j.tenant_id = $1 and j.id = l.job_id and j.user_id = {query.bind(wanted.user_id)} limit 1)"
        )
    elif wanted.states:
        where.append(f"({' or '.join(query.stands(state) for state in wanted.states)})")
    given = query.bind(job_ids)
    text = f"""select l.job_id from (
    select u.job_id, j.kind_id, j.queue_id from (select distinct unnest({given}::uuid[]) as job_id) as u
     cross join lateral (select t.kind_id, t.queue_id from trunkline.job as t where t.tenant_id = $1 and t.id = u.job_id limit 1) as j) as l
 where {" and ".join(["true", *where])}"""
    return [row[0] for row in await reader.fetch(tenant_id, text, *query.args)]


def _page(tenant_id: int, wanted: Filter, after: Place | None, order: str, limit: int, offset: int) -> tuple[str, tuple[Any, ...]]:
    query = _Query(tenant_id, wanted)
    inner = f"select l.job_id, l.at from ({query.source(after)} limit {LOOKS}) as l{_where(query)} order by {order}"
    inner += f" limit {query.bind(limit + 1)} offset {query.bind(offset)}"
    text = f"select {_IN_PAGE}, l.at from ({inner}) as l {_STANDING} order by {order}"
    return text, tuple(query.args)


def _count(tenant_id: int, wanted: Filter) -> tuple[str, tuple[Any, ...]]:
    query = _Query(tenant_id, wanted)
    source, filters = query.source(None), query.filters()
    fits = f"count(*) filter (where {' and '.join(filters)})" if filters else "count(*)"
    text = f"select {fits}, count(*) from ({source} limit {COUNTED}) as l"
    return text, tuple(query.args)


async def _stopped_at(bound: Bound, tenant_id: int, wanted: Filter, after: Place | None) -> Place | None:
    """Where a page stopped looking before it was full; None: at the end."""
    if not _Query(tenant_id, wanted).filters():
        return None
    query = _Query(tenant_id, wanted)
    query.has_detail = False
    text = f"select l.job_id, l.at from ({query.source(after)} limit {LOOKS}) as l offset {LOOKS - 1}"
    rows = await bound.fetch(text, *query.args)
    return Place(rows[0][0], rows[0][1]) if rows else None


def _where(query: _Query) -> str:
    filters = query.filters()
    return f" where {' and '.join(filters)}" if filters else ""


PARENTS = "select count(*) from (select from trunkline.dependency where tenant_id = $1 and child_id = $2 limit 1000) as d"


async def parents(reader: Reader, tenant_id: int, job_id: UUID) -> int:
    """For how many jobs this one waits."""
    return int((await reader.fetch(tenant_id, PARENTS, tenant_id, job_id))[0][0])


MOST = 10_000  # where counts of queues stop
_LINE = "(select count(*) from (select from trunkline.{table} as t where t.tenant_id = q.tenant_id and t.queue_id = q.queue_id limit {most}) as c)"
QUEUES = f"""select q.name, q.paused_at, {", ".join(_LINE.format(table=table, most=MOST) for table in ("ready", "deferred", "lease"))}
  from trunkline.queue as q where q.tenant_id = $1 order by q.name limit 1000"""
_ALL = "(select count(*) from (select from trunkline.{table} where tenant_id = $1 limit {most}) as c)"
HEALTH = f"""select {_ALL.format(table="ready", most=MOST)} + {_ALL.format(table="deferred", most=MOST)}, {_ALL.format(table="lease", most=MOST)},
       (select count(*) from (select from trunkline.outcome where tenant_id = $1 and state = 2 limit {MOST}) as c),
       count(*), count(*) filter (where l.state = 2), max(l.finished_at),
       (select max(extract(epoch from clock_timestamp())::float8 - f.ord::float8 / 4096 / 1000000 - 1735689600)
          from (select * from trunkline.queue where tenant_id = $1 and paused_at is null and gates & 2 = 0 limit 1000) as q
         cross join lateral unnest(q.priorities) as p (priority)
         cross join lateral (select r.ord from trunkline.ready as r where r.tenant_id = $1 and r.queue_id = q.queue_id and r.priority = p.priority
                              order by r.ord limit 1) as f),
       (select count(*) from trunkline.alert where tenant_id = $1 and resolved_at is null),
       (select count(*) from trunkline.alert where tenant_id = $1 and resolved_at is null and name = 'stalled')
  from (select o.state, o.finished_at from trunkline.outcome as o where o.tenant_id = $1 order by o.job_id desc limit 100) as l"""


class QueueRow(NamedTuple):
    """A queue; each count stops at MOST."""

    name: str
    paused_at: datetime | None
    ready: int
    deferred: int
    active: int


class Standing(NamedTuple):
    """Counts of a tenant, up to MOST; `recent`: the newest 100 jobs that ended. `waited_s`: how long the first job of a queue that is not
    paused has stood in line; None: there is none. `alerts`: that are raised, `stalled` of them because nothing starts or ends."""

    queued: int
    active: int
    failed: int
    recent: int
    recently_failed: int
    last_ended_at: datetime | None
    waited_s: float | None
    alerts: int
    stalled: int


async def queues(reader: Reader, tenant_id: int) -> list[QueueRow]:
    """The tenant's queues by name, at most 1,000."""
    return [QueueRow(*row) for row in await reader.fetch(tenant_id, QUEUES, tenant_id)]


async def health(reader: Reader, tenant_id: int) -> Standing:
    """Counts of a tenant."""
    return Standing(*(await reader.fetch(tenant_id, HEALTH, tenant_id))[0])
