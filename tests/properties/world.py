"""A database for a property test: several stores on one event loop, what stands in it, and a tenant that must never change.

Always true: `fresh` leaves no live job, key or session of an earlier example behind and sets the clock to the start of a time slot,
so that an example means the same whenever it runs.
Called by: the properties.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from tests.properties.model import POLICIES, QUEUES
from trunkline.model import Claimed, new_job
from trunkline.settings import Settings
from trunkline.store import Store, enqueue, operate, sessions, work
from trunkline.testing import DatabaseClock

SLOT_S = 7200  # examples begin at a multiple of it; every slot in use divides it
LIVE = ("ready", "deferred", "lease", "unique_key", "idempotency")
T = TypeVar("T")

STANDS = """
select 'ready' as home, job_id, queue_id, attempt, failures, priority, ord, null::float8 as at_s, null::text as word, null::text as progress, 0 as session_id
  from trunkline.ready where tenant_id = $1
union all
select 'deferred', job_id, queue_id, attempt, failures, priority, null, extract(epoch from run_at)::float8, reason, null, 0
  from trunkline.deferred where tenant_id = $1
union all
select 'lease', job_id, queue_id, attempt, failures, priority, ord, extract(epoch from deadline)::float8,
       case when cancel_requested_at is not null then 'cancel' end, progress::text, session_id
  from trunkline.lease where tenant_id = $1
union all
select 'outcome', o.job_id, j.queue_id, o.attempt, coalesce((o.detail ->> 'failures')::smallint, 0), (o.detail ->> 'priority')::smallint, null, null,
       (array['completed', 'failed', 'cancelled'])[o.state], o.detail ->> 'progress', 0
  from trunkline.outcome as o join trunkline.job as j on j.tenant_id = o.tenant_id and j.id = o.job_id where o.tenant_id = $1"""
JOBS = "select id, options ->> 'dead_letter_of' as source from trunkline.job where tenant_id = $1"
NOTES = "select job_id, attempt, ending from trunkline.attempt where tenant_id = $1 order by job_id, attempt, ended_at"
UNIQUE = "select queue_id, key, job_id, expires_at is not null as is_slot from trunkline.unique_key where tenant_id = $1"
IDEMPOTENCY = """select k.name, i.key, i.job_id from trunkline.idempotency as i
  join trunkline.kind as k on k.tenant_id = i.tenant_id and k.kind_id = i.kind_id where i.tenant_id = $1"""
CHECKPOINTS = "select job_id, value::text as value from trunkline.checkpoint where tenant_id = $1"
# Rows with the transaction that wrote them: an update that changes nothing is a change as well.
_TABLES = ("queue", "kind", "job", "ready", "deferred", "lease", "outcome", "attempt", "idempotency", "unique_key", "checkpoint", "job_log")
FINGERPRINT = "select md5(string_agg(x, '|' order by x)) from ({}) as t (x)".format(
    " union all ".join(f"select '{t} ' || x.xmin::text || x::text from trunkline.{t} as x where x.tenant_id = $1" for t in _TABLES)
)
# Rescue has one performer a second and is patient after a pause; here every call is the one that does it.
DUTY_IS_DUE = """with patience as (delete from trunkline.duty where name = 'patience')
update trunkline.duty set next_run_at = '-infinity', last_run_at = null where name in ('rescue', 'deadlines')"""


class Frozen(NamedTuple):
    """The tenant that nobody touches: jobs in every state, with keys, a checkpoint and a log."""

    tenant_id: int
    job_ids: list[UUID]
    fingerprint: str


class World:
    """Connections of `stores` processes to one database."""

    def __init__(self, url: str, stores: int = 3) -> None:
        self.runner = asyncio.Runner()
        settings = Settings.load({}, database_url=url, pool_max=4)
        self.stores = [self.run(Store.connect(settings)) for _ in range(stores)]
        self.store = self.stores[0]
        self.clock = DatabaseClock(self.store)
        self.frozen = self.run(_freeze(self.store))
        self.examples = 0

    def run(self, work: Awaitable[T]) -> T:
        """Wait for it."""

        async def waited() -> T:
            return await work

        return self.runner.run(waited())

    def close(self) -> None:
        """Close every connection and the loop."""
        for store in self.stores:
            self.run(store.close())
        self.runner.close()

    def fresh(self) -> tuple[int, dict[str, int], int]:
        """A new tenant in an otherwise quiet database: its id, its queues' ids, and the second the clock begins at."""
        return self.run(self._fresh())

    async def _fresh(self) -> tuple[int, dict[str, int], int]:
        self.examples += 1
        for table in LIVE:
            await self.store.fetch(f"delete from trunkline.{table} where tenant_id <> $1", self.frozen.tenant_id)
        await self.store.fetch("delete from trunkline.session where name <> 'frozen'")
        now_s = time.time() + 1
        origin = int(now_s // SLOT_S + 1) * SLOT_S
        await self.clock.forward(origin - time.time() + 0.5 - self.clock.offset_s)
        tenant_id = await sessions.tenant_id(self.store, f"example-{self.examples}")
        for name, policy in POLICIES.items():
            await work.declare_kind(self.store, tenant_id, name, policy)
        lines = await work.open_lines(self.store, tenant_id, QUEUES)
        return tenant_id, {name: queue_id for _, queue_id, name in lines}, origin

    async def standing(self, tenant_id: int) -> dict[str, Any]:
        """Every row that matters of one tenant, by statement."""
        texts = {"stands": STANDS, "jobs": JOBS, "notes": NOTES, "unique": UNIQUE, "idempotency": IDEMPOTENCY, "checkpoints": CHECKPOINTS}
        return {name: await self.store.fetch(text, tenant_id) for name, text in texts.items()}

    async def fingerprint(self) -> str:
        """Changes when any row of the frozen tenant does."""
        return str(await self.store.fetchval(FINGERPRINT, self.frozen.tenant_id))

    async def claim_while_another_claims(
        self, one: tuple[Any, ...], other: tuple[Any, ...], *, commits: bool
    ) -> tuple[list[Claimed], list[Claimed]]:
        """The second claims while the transaction of the first is open; then that one commits, or rolls back."""
        first, second = self.stores[0], self.stores[1]
        async with first.connection() as conn:
            transaction = conn.transaction()
            await transaction.start()
            rows = await conn.fetch(first.sql(work.CLAIM), *one)
            beside = [Claimed._make(row) for row in await second.fetch(work.CLAIM, *other)]
            await (transaction.commit() if commits else transaction.rollback())
        return [Claimed._make(row) for row in rows], beside


async def _freeze(store: Store) -> Frozen:
    """Put one job into every state, under the names and keys that the examples use."""
    tenant_id = await sessions.tenant_id(store, "frozen")
    session_id = await sessions.open_session(store, "frozen", 1e9)
    for name, policy in POLICIES.items():
        await work.declare_kind(store, tenant_id, name, policy)
    ((_, queue_id, _), *_) = await work.open_lines(store, tenant_id, ["alpha"])
    far = {"timeout": 30 * 86400.0, "retry_delay": 3e7, "retry_max_delay": 3e7, "retry_limit": 5}
    endings = ["completed", "active", "failed", "fatal", "snoozed", "no_handler", "cancelled"]
    jobs = [new_job("patient", n, queue="alpha", unique_key=f"frozen-{n}", **far) for n in range(len(endings))]
    await enqueue.jobs(store, tenant_id, jobs)
    claimed = await work.claim(store, tenant_id, queue_id, session_id, limit=10, floor=0, marks={})
    for ending, held in zip(endings, claimed, strict=True):
        fence: Any = tenant_id, [held.job_id], [held.attempt]
        await work.save_progress(store, *fence, ["1"])
        await work.save_checkpoint(store, tenant_id, held.job_id, 1, '"kept"')
        await work.add_log(store, *fence, ["info"], ["a line"], [None])
        if ending == "completed":
            await work.ack_completed(store, *fence, ["1"])
        elif ending != "active":
            await work.settle(store, *fence, [ending], ['{"n": 1}'], [3e7])
    more = [
        new_job("patient", queue="alpha", unique_key="u", idempotency_key="i"),
        new_job("patient", queue="alpha", unique_key="v", unique_for=3600.0),
        new_job("patient", queue="alpha", delay=3e8, priority=100),
        new_job("patient", queue="alpha"),
    ]
    await enqueue.jobs(store, tenant_id, more)
    await operate.cancel(store, tenant_id, [more[3].id], "frozen")
    job_ids = [job.id for job in (*jobs, *more)]
    return Frozen(tenant_id, job_ids, str(await store.fetchval(FINGERPRINT, tenant_id)))
