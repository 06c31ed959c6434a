"""Read-only questions about the health of an installation and about why one job stands where it stands.

Always true: nothing here writes a row or waits for a lock; each count stops at a bound, so a question costs milliseconds whatever
is queued; a question about the server alone works without our schema.
Called by: cli (doctor, jobs show). Reads the catalog and the tables of schema trunkline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID, uuid4

import asyncpg

from trunkline import sql
from trunkline.store.pool import Store
from trunkline.store.sqlstate import translated

MOST = 10_000  # where counts stop: beyond it, "how many" is not the question any more
LIVE_TABLES = ("ready", "deferred", "lease", "session", "duty")

SERVER = """select current_setting('server_version_num')::int / 10000, current_setting('server_version'), current_database()::text,
       current_user::text, pg_has_role(current_user, 'pg_read_all_stats', 'member'), pg_backend_pid(),
       clock_timestamp() - pg_postmaster_start_time()"""
NOTIFY = "select pg_notify($1, $2)"
SETTINGS = "select name, setting from pg_settings where name = any($1)"
CONNECTIONS = """select count(*) filter (where datname = current_database() and application_name like 'trunkline%'), count(*)
  from pg_stat_activity where backend_type = 'client backend'"""
# Whatever pins old row versions here, oldest first: open transactions and prepared ones of this database (those of others
# pin their own), transactions of replicas, replication slots.
PINS = """select what, who, age, seconds from (
  select 'transaction' as what,
         format('pid %s, %s, user %s, %s', pid, coalesce(nullif(application_name, ''), 'unnamed'), usename, coalesce(state, backend_type)) as who,
         age(backend_xmin) as age, extract(epoch from clock_timestamp() - coalesce(xact_start, backend_start))::float8 as seconds
    from pg_stat_activity where backend_xmin is not null and pid <> pg_backend_pid() and backend_type <> 'autovacuum worker'
     and (datname = current_database() or datname is null)
  union all
  select 'prepared', gid, age(transaction), extract(epoch from clock_timestamp() - prepared)::float8 from pg_prepared_xacts
   where database = current_database()
  union all
  select 'slot', format('%s (%s)', slot_name, case when active then 'active' else 'inactive' end), greatest(age(xmin), age(catalog_xmin)), null
    from pg_replication_slots where xmin is not null or catalog_xmin is not null
) as p where what = $1 order by age desc limit 1"""
TABLES = """select relname::text, n_live_tup, n_dead_tup, pg_table_size(relid), greatest(last_autovacuum, last_vacuum)
  from pg_stat_all_tables where schemaname = $1 and relname = any($2) order by array_position($2, relname::text)"""
CLOCKS = "select clock_timestamp(), trunkline.now()"
ROLES = "select rolname::text from pg_roles where rolname = any($1)"
FUNCTION_FILES = "select name, checksum from trunkline.function_file"
PARTITIONS_END = """select min(t.until) from (
  select max(trunkline.id_time((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([0-9a-f-]+)''\\)'))[1]::uuid)) as until
    from unnest(array['trunkline.job'::regclass, 'trunkline.outcome'::regclass, 'trunkline.attempt'::regclass]) as p (parent)
    left join pg_inherits as i on i.inhparent = p.parent left join pg_class as c on c.oid = i.inhrelid group by p.parent) as t"""
NO_HANDLER = f"""select t.name, k.name, count(*) from (select tenant_id, job_id from trunkline.deferred where reason = 'no_handler' limit {MOST}) as d
  join trunkline.job as j on j.tenant_id = d.tenant_id and j.id = d.job_id
  join trunkline.kind as k on k.tenant_id = j.tenant_id and k.kind_id = j.kind_id
  join trunkline.tenant as t on t.tenant_id = j.tenant_id group by 1, 2 order by 3 desc limit 20"""  # noqa: S608 - constants only
# A handler that serves every tenant declares its kind under tenant 0.
_DECLARED = """(k.declared_at is not null or exists (
         select from trunkline.kind as z where z.tenant_id = 0 and z.name = k.name and z.declared_at is not null))"""
UNDECLARED = f"""select t.name, k.name, count(*) from (
    (select tenant_id, job_id from trunkline.ready limit {MOST}) union all (select tenant_id, job_id from trunkline.deferred limit {MOST})) as w
  join trunkline.job as j on j.tenant_id = w.tenant_id and j.id = w.job_id
  join trunkline.kind as k on k.tenant_id = j.tenant_id and k.kind_id = j.kind_id
  join trunkline.tenant as t on t.tenant_id = j.tenant_id
 where not {_DECLARED} group by 1, 2 order by 3 desc limit 20"""  # noqa: S608 - constants only
DECLARED_KINDS = "select name from trunkline.kind where tenant_id in (0, $1) and declared_at is not null order by name limit 1000"
SESSIONS = """select s.name, s.dead_at is null and s.expires_at > trunkline.now(), s.started_at > clock_timestamp() + interval '2 seconds',
       (select count(*) from trunkline.lease as l where l.session_id = s.session_id)
  from trunkline.session as s order by s.session_id desc limit 1000"""
PAUSED = f"""select t.name, q.name, q.paused_at,
       (select count(*) from (select from trunkline.ready as r where r.tenant_id = q.tenant_id and r.queue_id = q.queue_id limit {MOST}) as w)
  from trunkline.queue as q join trunkline.tenant as t on t.tenant_id = q.tenant_id where q.paused_at is not null order by 4 desc limit 20"""  # noqa: S608 - constants only
PAUSED_BESIDE_QUEUES = f"""select t.name, 'everything', '', (select count(*) from (select from trunkline.ready as r where r.tenant_id = t.tenant_id limit {MOST}) as w)
  from trunkline.tenant as t where t.gates & 2 <> 0
union all
select t.name, l.scope, coalesce(l.kind, l.key), l.waiting from trunkline.limits as l join trunkline.tenant as t on t.tenant_id = l.tenant_id
 where l.paused_at is not null and l.scope in ('kind', 'key')
 order by 4 desc limit 20"""  # noqa: S608 - constants only
HAS_READY = "select exists (select from trunkline.ready)"
DEAD_LETTERS = f"""select count(*), min(finished_at) from (select o.finished_at from trunkline.outcome as o join trunkline.tenant as t
  on t.tenant_id = o.tenant_id and o.state = 2 limit {MOST}) as w"""  # noqa: S608 - constants only
TENANTS = "select name, tenant_id from trunkline.tenant where tenant_id <> 0 order by tenant_id limit 1000"
STANDING = f"""select q.paused_at, {_DECLARED}, r.job_id is not null,
       (select count(*) from (select from trunkline.ready as a where a.tenant_id = r.tenant_id and a.queue_id = r.queue_id
          and (a.priority > r.priority or a.priority = r.priority and a.ord < r.ord) limit {MOST}) as w),
       (select count(*) from (select from trunkline.lease as a where a.tenant_id = q.tenant_id and a.queue_id = q.queue_id limit {MOST}) as w),
       exists (select from trunkline.session as s where s.dead_at is null and s.expires_at > trunkline.now() and q.queue_id = any (s.asleep_on)),
       (select count(*) from trunkline.session as s where s.dead_at is null and s.expires_at > trunkline.now()),
       s.name, s.dead_at is null and s.expires_at > trunkline.now(), l.cancel_requested_at, q.gates & 2 <> 0
  from trunkline.job as j
  join trunkline.queue as q on q.tenant_id = j.tenant_id and q.queue_id = j.queue_id
  join trunkline.kind as k on k.tenant_id = j.tenant_id and k.kind_id = j.kind_id
  left join trunkline.ready as r on r.tenant_id = j.tenant_id and r.job_id = j.id
  left join trunkline.lease as l on l.tenant_id = j.tenant_id and l.job_id = j.id
  left join trunkline.session as s on s.session_id = l.session_id
 where j.tenant_id = $1 and j.id = $2"""  # noqa: S608 - constants only


class Server(NamedTuple):
    """Who answers, and as whom we ask. `sees_all`: whether other users' transactions are visible to us."""

    major: int
    version: str
    database: str
    role: str
    sees_all: bool
    backend_pid: int
    up_for: timedelta
    is_behind_pooler: bool


class Pin(NamedTuple):
    """What keeps old row versions: `age` in transactions, `seconds` None where nobody knows."""

    what: str
    who: str
    age: int
    seconds: float | None


class TableHealth(NamedTuple):
    """A live table; sizes in bytes, counts as the statistics have them."""

    name: str
    live: int
    dead: int
    bytes: int
    vacuumed_at: datetime | None


class SessionHealth(NamedTuple):
    """A process's session and the leases it holds; `is_ahead`: it began in this database's future."""

    name: str
    is_alive: bool
    is_ahead: bool
    leases: int


class Standing(NamedTuple):
    """What surrounds one job. `ahead`, `running` stop at MOST; `worker` None: it has no lease."""

    paused_at: datetime | None
    is_declared: bool
    is_ready: bool
    ahead: int
    running: int
    has_sleeper: bool  # a worker of this queue sleeps and is about to be woken
    processes: int
    worker: str | None
    worker_is_alive: bool | None
    cancel_requested_at: datetime | None
    is_tenant_paused: bool = False


async def server(store: Store) -> Server:
    """The server behind the pool."""
    async with store.connection() as conn:
        row = await conn.fetchrow(SERVER)
        # A pooler answers the handshake with a process number of its own.
        return Server._make((*row, conn.get_server_pid() != row[5]))


async def round_trip_s(store: Store) -> float:
    """How long the shortest question takes: the median of five, on one connection."""
    took: list[float] = []
    async with store.connection() as conn:
        for _ in range(6):  # the first one also prepares the statement
            began = time.perf_counter()
            await conn.fetchval("select 1")
            took.append(time.perf_counter() - began)
    return sorted(took[1:])[2]


async def clock_ahead_s(store: Store) -> float:
    """How far the server's clock is ahead of this machine's, good to half a round trip."""
    async with store.connection() as conn:
        await conn.fetchval("select clock_timestamp()")
        before = time.time()
        there = await conn.fetchval("select clock_timestamp()")
        return float(there.timestamp() - (before + time.time()) / 2)


async def hear_itself(store: Store, *, within_s: float = 2.0) -> float | None:
    """Seconds from a NOTIFY through the pool to a LISTEN on the signal connection; None: it did not come."""
    url = store.settings.listen_url or store.settings.database_url
    channel, token = f"{store.schema}:doctor", uuid4().hex
    heard = asyncio.Event()
    with translated():
        conn = await asyncpg.connect(url, timeout=10, command_timeout=10, server_settings={"application_name": "trunkline-doctor"})
        try:
            await conn.add_listener(channel, lambda _, __, ___, said: heard.set() if said == token else None)
            began = time.perf_counter()
            await store.fetch(NOTIFY, channel, token)
            async with asyncio.timeout(within_s):
                await heard.wait()
            return time.perf_counter() - began
        except TimeoutError:
            return None
        finally:
            conn.terminate()


async def settings(store: Store, names: Sequence[str]) -> dict[str, str]:
    """PostgreSQL settings by name, in their own units."""
    return {row[0]: row[1] for row in await store.fetch(SETTINGS, list(names))}


async def connections(store: Store) -> tuple[int, int]:
    """(ours to this database, everybody's to the server)."""
    row = await store.fetchrow(CONNECTIONS)
    assert row is not None
    return row[0], row[1]


async def oldest_pin(store: Store, what: Literal["transaction", "prepared", "slot"]) -> Pin | None:
    """The oldest of its sort; None: there is none."""
    row = await store.fetchrow(PINS, what)
    return None if row is None else Pin(*row)


async def roles(store: Store, names: Sequence[str]) -> set[str]:
    """Which of these roles exist."""
    return {row[0] for row in await store.fetch(ROLES, list(names))}


async def tables(store: Store) -> list[TableHealth]:
    """The live tables, those that grow and shrink with the work."""
    return [TableHealth(*row) for row in await store.fetch(TABLES, store.schema, list(LIVE_TABLES))]


async def clocks(store: Store) -> tuple[datetime, datetime]:
    """(the server's clock, the clock our functions ask)."""
    row = await store.fetchrow(CLOCKS)
    assert row is not None
    return row[0], row[1]


async def outdated_functions(store: Store) -> list[str]:
    """Function files whose text here is not the one in the database."""
    applied = {row[0]: row[1] for row in await store.fetch(FUNCTION_FILES)}
    return [file.name for file in sql.functions() if applied.get(file.name) != file.checksum]


async def partitions_end(store: Store) -> datetime | None:
    """Up to when there is a partition for new jobs; None: there are none."""
    found: datetime | None = await store.fetchval(PARTITIONS_END)
    return found


async def no_handler(store: Store) -> list[tuple[str, str, int]]:
    """(tenant, kind, jobs) that a worker took and had no handler for."""
    return [(row[0], row[1], row[2]) for row in await store.fetch(NO_HANDLER)]


async def undeclared(store: Store) -> list[tuple[str, str, int]]:
    """(tenant, kind, waiting jobs) of kinds that no worker ever declared."""
    return [(row[0], row[1], row[2]) for row in await store.fetch(UNDECLARED)]


async def declared_kinds(store: Store, tenant_id: int) -> list[str]:
    """Kinds for which a worker of this tenant, or of all, once said that it has a handler."""
    return [row[0] for row in await store.fetch(DECLARED_KINDS, tenant_id)]


async def sessions(store: Store) -> list[SessionHealth]:
    """Processes that work or wait, and those that went away within the last minute; the newest 1,000."""
    return [SessionHealth(*row) for row in await store.fetch(SESSIONS)]


async def has_ready(store: Store) -> bool:
    """Whether any job is in line."""
    return bool(await store.fetchval(HAS_READY))


async def paused(store: Store) -> list[tuple[str, str, datetime, int]]:
    """(tenant, queue, since, jobs in line) of paused queues."""
    return [(row[0], row[1], row[2], row[3]) for row in await store.fetch(PAUSED)]


async def paused_beside_queues(store: Store) -> list[tuple[str, str, str, int]]:
    """(tenant, `everything`, `kind` or `key`, its name, jobs held back) of pauses that are not of a queue."""
    return [(row[0], row[1], row[2], row[3]) for row in await store.fetch(PAUSED_BESIDE_QUEUES)]


async def dead_letters(store: Store) -> tuple[int, datetime | None]:
    """(failed jobs that are kept, when the oldest ended)."""
    row = await store.fetchrow(DEAD_LETTERS)
    assert row is not None
    return row[0], row[1]


async def tenants(store: Store) -> dict[str, int]:
    """Tenants by name, the oldest 1,000."""
    return {row[0]: row[1] for row in await store.fetch(TENANTS)}


async def standing(store: Store, tenant_id: int, job_id: UUID) -> Standing | None:
    """What surrounds a job; None for an unknown one."""
    row = await store.fetchrow(STANDING, tenant_id, job_id)
    return None if row is None else Standing(*row)
