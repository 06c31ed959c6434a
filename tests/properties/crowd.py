"""Processes that do anything at any moment, on connections of their own, and what may be said of the database meanwhile and afterwards.

Always true: each process draws from a generator made of the seed and its number; how their calls overlap is up to the server, so
a seed makes a failure likely again, not certain.
Called by: test_concurrent.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from tests.properties import strategies as some
from tests.properties.model import QUEUES, TTL_S, Fence
from tests.properties.world import DUTY_IS_DUE, World
from trunkline.errors import SessionLost, Unavailable
from trunkline.model import Claimed, NewJob, new_job
from trunkline.store import Store, copy, enqueue, operate, sessions, work

HOMES = """
select j.id, j.options ->> 'dead_letter_of' as source, coalesce((j.options ->> 'retry_limit')::int, k.retry_limit) as retry_limit,
       array_remove(array[case when r.job_id is not null then 'ready' end, case when d.job_id is not null then 'deferred' end,
                          case when l.job_id is not null then 'lease' end,
                          case when o.job_id is not null then (array['completed', 'failed', 'cancelled'])[o.state] end], null) as homes,
       coalesce(r.attempt, d.attempt, l.attempt, o.attempt) as attempt,
       coalesce(r.failures, d.failures, l.failures, (o.detail ->> 'failures')::smallint, 0) as failures
  from trunkline.job as j
  join trunkline.kind as k on k.tenant_id = j.tenant_id and k.kind_id = j.kind_id
  left join trunkline.ready as r on r.tenant_id = j.tenant_id and r.job_id = j.id
  left join trunkline.deferred as d on d.tenant_id = j.tenant_id and d.job_id = j.id
  left join trunkline.lease as l on l.tenant_id = j.tenant_id and l.job_id = j.id
  left join trunkline.outcome as o on o.tenant_id = j.tenant_id and o.job_id = j.id
 where j.tenant_id = $1"""
DEAD_KEYS = """select u.key, u.job_id from trunkline.unique_key as u where u.tenant_id = $1 and u.expires_at is null
   and (exists (select from trunkline.outcome as o where o.tenant_id = $1 and o.job_id = u.job_id)
        or not exists (select from trunkline.job as j where j.tenant_id = $1 and j.id = u.job_id))"""
LOOSE_KEYS = """select i.key, i.job_id from trunkline.idempotency as i where i.tenant_id = $1
   and not exists (select from trunkline.job as j where j.tenant_id = $1 and j.id = i.job_id)"""
TERMINAL = {"completed", "failed", "cancelled"}


class Crowd:
    """One tenant and what its processes were told."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.seed = world, seed
        self.tenant_id, self.queue_ids, _ = world.fresh()
        self.accepted: set[UUID] = set()
        self.claimed: Counter[Fence] = Counter()
        self.completed: set[Fence] = set()
        self.attempts: dict[UUID, int] = {}  # as the watcher saw them last
        self.doing: dict[int, str] = {}
        self.over = asyncio.Event()

    async def rush(self, processes: int, steps: int) -> None:
        """Everybody at once, watched; then one clears up until nothing is left to do."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            lives = [group.create_task(self._live(n, steps)) for n in range(processes)]
            await asyncio.wait(lives)
            self.over.set()
        await self._drain()

    async def _live(self, n: int, steps: int) -> None:
        process = Process(self, n)
        await process.start()
        for _ in range(steps):
            await process.step()

    async def _watch(self) -> None:
        """In any snapshot, whatever runs: one home a job, attempts that never fall, keys that belong to somebody."""
        while not self.over.is_set():
            await self.check()
            await asyncio.sleep(0)

    async def check(self) -> list[Any]:
        """The invariants in one snapshot; its rows."""
        store = self.world.stores[-1]
        async with store.connection() as conn, conn.transaction(isolation="repeatable_read", readonly=True):
            rows = await conn.fetch(store.sql(HOMES), self.tenant_id)
            dead, loose = [await conn.fetch(store.sql(text), self.tenant_id) for text in (DEAD_KEYS, LOOSE_KEYS)]
        assert [] == [(row["id"], row["homes"]) for row in rows if len(row["homes"]) != 1], "a job stands in no place or in two"
        assert [] == [row["id"] for row in rows if row["attempt"] < self.attempts.get(row["id"], 0)], "an attempt fell"
        assert [] == [row["id"] for row in rows if row["failures"] > row["retry_limit"] + (row["homes"][0] in TERMINAL)], (
            "too many failures"
        )
        assert ([], []) == (dead, loose), "a key belongs to an ended job, or to none"
        self.attempts = {row["id"]: row["attempt"] for row in rows}
        return list(rows)

    async def _drain(self) -> None:
        store = self.world.store
        session_id = await sessions.open_session(store, "drain", 1e8)
        for queue in QUEUES:
            await operate.pause_queue(store, self.tenant_id, queue, False)
        for _ in range(50):
            await self.world.clock.forward(8000)
            await store.fetch(DUTY_IS_DUE)
            await sessions.tick(store, session_id, 1e8, [], 0)
            for queue in QUEUES:
                while claimed := await self.claim(store, queue, session_id, 100):
                    await self.complete(store, [(c.job_id, c.attempt) for c in claimed])
            if all(row["homes"][0] in TERMINAL for row in await self.check()):
                return
        raise AssertionError("something stays live for ever")

    async def claim(self, store: Store, queue: str, session_id: int, limit: int) -> list[Claimed]:
        """Claim from the front and remember it."""
        claimed = await work.claim(store, self.tenant_id, self.queue_ids[queue], session_id, limit=limit, floor=0, marks={})
        self.claimed.update((c.job_id, c.attempt) for c in claimed)
        return claimed

    async def complete(self, store: Store, fences: list[Fence]) -> None:
        """Ack and remember what was accepted."""
        job_ids, attempts = map(list, zip(*dict(fences).items(), strict=True))
        stale = await work.ack_completed(store, self.tenant_id, job_ids, attempts, [None] * len(job_ids))
        self.completed |= {fence for fence in zip(job_ids, attempts, strict=True) if fence[0] not in stale}

    async def verify(self) -> None:
        """What was accepted is there; what was told is true."""
        rows = await self.check()
        last = {row["id"]: row["attempt"] for row in rows}
        copies = {row["id"] for row in rows if row["source"] is not None}
        ended = {(row["id"], row["attempt"]) for row in rows if row["homes"] == ["completed"]}
        highest: dict[UUID, int] = {}
        for job_id, attempt in self.claimed:
            highest[job_id] = max(attempt, highest.get(job_id, 0))

        assert [] == [fence for fence, times in self.claimed.items() if times > 1], "an attempt was handed out twice"
        assert self.accepted == set(last) - copies, "a job was lost, or made up"
        assert {job_id: highest.get(job_id, 0) for job_id in last} == last, "an attempt that nobody made"
        assert self.completed == ended, "completed other than told"
        assert self.world.frozen.fingerprint == await self.world.fingerprint(), "another tenant's rows changed"


class Process:
    """One of the crowd: a connection's worth of calls, one after the other."""

    def __init__(self, crowd: Crowd, n: int) -> None:
        self.crowd, self.n = crowd, n
        self.random = Random(crowd.seed * 1000 + n)
        self.store = crowd.world.stores[n % (len(crowd.world.stores) - 1)]
        self.fences: list[Fence] = []
        self.session_id = 0
        self.verbs = {
            self.put: 4, self.put_plain: 2, self.claim: 6, self.complete: 4, self.settle: 6, self.cancel: 2, self.retry: 2, self.redrive: 1,
            self.reprioritize: 1, self.reschedule: 2, self.promote: 1, self.tick: 2, self.pause: 1, self.note: 1, self.restart: 1,
        }  # fmt: skip

    async def start(self) -> None:
        self.session_id = await sessions.open_session(self.store, f"crowd {self.n}", TTL_S)

    async def step(self) -> None:
        """Any verb; a session that was declared dead is replaced."""
        (verb,) = self.random.choices(list(self.verbs), list(self.verbs.values()))
        self.crowd.doing[self.n] = verb.__name__
        try:
            await verb()
        except SessionLost:
            await self.start()
        except Unavailable as error:
            error.add_note(f"process {self.n} in the middle of {self.crowd.doing}")
            raise

    def _jobs(self, most: int = 4) -> list[UUID]:
        known = sorted(self.crowd.accepted)[-60:] or [some.NOBODY]
        return self.random.choices(known, k=self.random.randint(1, most))

    def _fences(self) -> list[Fence]:
        return self.random.sample(self.fences, min(len(self.fences), self.random.randint(1, 5)))

    def _job(self) -> NewJob:
        pick = self.random.choice
        options: dict[str, Any] = {
            "retry_limit": pick((None, 0, 2)),
            "delay": pick((None, None, 100)),
            "idempotency_key": pick((None, None, None, "i", "j")),
        }
        if options["idempotency_key"]:
            options["idempotency_window"] = pick((None, 100.0))
        if self.random.random() < 0.5:
            options |= {"unique_key": pick("uvw"), "unique_for": pick((None, None, 3600.0)), "unique_replace": pick((None, True))}
        return new_job(pick(("patient", "hasty")), {}, queue=pick(QUEUES), priority=pick(some.PRIORITIES), **options)

    # -- verbs ------------------------------------------------------------------------

    async def put(self) -> None:
        jobs = [self._job() for _ in range(self.random.randint(1, 4))]
        for _ in range(self.random.choice((1, 1, 2))):  # sent again: the same answer, nothing new
            answers = await enqueue.jobs(self.store, self.crowd.tenant_id, jobs)
            self.crowd.accepted |= {job_id for job_id, created in answers if created}

    async def put_plain(self) -> None:
        jobs = [new_job("patient", n, queue=self.random.choice(QUEUES)) for n in range(self.random.randint(1, 5))]
        await self.random.choice((enqueue.plain, copy.copy))(self.store, self.crowd.tenant_id, jobs)
        self.crowd.accepted |= {job.id for job in jobs}

    async def claim(self) -> None:
        claimed = await self.crowd.claim(self.store, self.random.choice(QUEUES), self.session_id, self.random.randint(1, 6))
        self.fences = [*self.fences, *((c.job_id, c.attempt) for c in claimed)][-20:]

    async def complete(self) -> None:
        if fences := self._fences():
            await self.crowd.complete(self.store, fences)

    async def settle(self) -> None:
        if fences := self._fences():
            columns = [[self.random.choice(of) for _ in fences] for of in (some.ENDINGS, some.ERRORS, (0.0, 100.0))]
            await work.settle(self.store, self.crowd.tenant_id, [f[0] for f in fences], [f[1] for f in fences], *columns)  # type: ignore[arg-type]

    async def cancel(self) -> None:
        await operate.cancel(self.store, self.crowd.tenant_id, self._jobs(2), "why")

    async def retry(self) -> None:
        await operate.retry(self.store, self.crowd.tenant_id, self._jobs(6))

    async def redrive(self) -> None:
        await operate.redrive(self.store, self.crowd.tenant_id, None, None, 10)

    async def reprioritize(self) -> None:
        await operate.reprioritize(self.store, self.crowd.tenant_id, self._jobs(), self.random.choice(some.PRIORITIES))

    async def reschedule(self) -> None:
        now_s = datetime.now(UTC).timestamp() + self.crowd.world.clock.offset_s
        await operate.reschedule(
            self.store,
            self.crowd.tenant_id,
            self._jobs(1)[0],
            datetime.fromtimestamp(now_s, UTC) + timedelta(seconds=self.random.choice((-100, 100))),
        )

    async def promote(self) -> None:
        await sessions.promote(self.store, self.random.choice((1, 5, 1000)))

    async def tick(self) -> None:
        if self.n == 0:  # one moves the clock: two would replace one function at the same moment
            await self.crowd.world.clock.forward(self.random.choice((100, 400, 3600)))
            await self.store.fetch(DUTY_IS_DUE)
        await sessions.tick(self.store, self.session_id, TTL_S, list(self.crowd.queue_ids.values()), 0)

    async def pause(self) -> None:
        await operate.pause_queue(self.store, self.crowd.tenant_id, self.random.choice(QUEUES), self.random.random() < 0.3)

    async def note(self) -> None:
        if fences := self._fences():
            await work.save_progress(self.store, self.crowd.tenant_id, [f[0] for f in fences], [f[1] for f in fences], ["1"] * len(fences))
            await work.save_checkpoint(self.store, self.crowd.tenant_id, *fences[0], "1")

    async def restart(self) -> None:
        """With a goodbye, or without one: then its leases wait for rescue, and it still reports on them."""
        if self.random.random() < 0.5:
            await sessions.close_session(self.store, self.session_id)
        await self.start()
