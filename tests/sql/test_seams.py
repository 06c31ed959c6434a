"""Where features meet: batches, parents, limits, ordering keys, unique keys, pauses, quotas and dead letters on the same jobs.

The first test does anything at any moment from several processes and looks at every snapshot; the others are what it and
reading found, each as small as it gets."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any
from uuid import UUID

import pytest

from tests.support import limited
from tests.support.crowd import live_together
from tests.support.limited import bound
from tests.support.queue import Queue
from tests.support.seams import wrongs
from trunkline.errors import InvalidInput, NotFound, QuotaExceeded, SessionLost, Unavailable
from trunkline.model import Claimed, NewJob, Policy, new_job
from trunkline.model.job import new_id
from trunkline.settings import Settings
from trunkline.store import Store, batches, copy, enqueue, limits, operate, work
from trunkline.testing import DatabaseClock

QUEUES = ("work", "play")
ENDINGS = ("failed", "fatal", "fatal", "snoozed", "retry_after", "blocked", "released", "no_handler", "lost", "cancelled")
COLLISIONS: list[str] = []


class Life:
    """One process: its own connections, what it holds, and the dice."""

    def __init__(self, store: Store, clock: DatabaseClock, turn: asyncio.Lock, chance: Random) -> None:
        self.store, self.clock, self.turn, self.chance = store, clock, turn, chance
        self.held: list[Claimed] = []
        self.known: list[UUID] = []
        self.batches: list[UUID] = []

    async def start(self) -> Life:
        """Open both queues with a session of its own, one that can run out."""
        policy = Policy(retry_delay_s=1, retry_jitter=0, retry_limit=1, dead_letter="dead")
        self.queues = [await Queue.open(self.store, kind=kind, policy=policy) for kind in QUEUES]
        self.tenant_id = self.queues[0].tenant_id
        await self.sessions()
        return self

    async def sessions(self) -> None:
        """Begin again, as a process does whose session is over."""
        self.held.clear()
        for queue in self.queues:
            queue.session_id = await queue.session(40)

    async def step(self) -> None:
        """Anything; what collides with others is tried again another time."""
        deeds = (self.put, self.send, self.claim, self.report, self.fail, self.meddle, self.batch, self.pause, self.time)
        try:
            await self.chance.choices(deeds, (5, 3, 7, 5, 5, 4, 3, 2, 2))[0]()
        except (InvalidInput, NotFound):
            pass  # a batch that is done takes no more
        except Unavailable as error:
            COLLISIONS.append(str(error))
        except SessionLost:
            await self.sessions()

    def _jobs(self, count: int, batch: UUID | None) -> list[NewJob]:
        jobs: list[NewJob] = []
        for _ in range(count):
            parents = self.known[-12:] + [job.id for job in jobs]
            one = self.chance.choice
            options: dict[str, Any] = {
                "limit_key": one(("one", "two", "rated", None)),
                "ordering_key": one(("x", "y", None)),
                "unique_key": one(("u", "v", None, None, None)),
                "priority": one((0, 0, 5)),
                "delay": one((None, None, None, 3.0)),
                "batch_id": batch,
            }
            if options["unique_key"]:
                options["unique_replace"] = one((True, False))
            if parents and self.chance.random() < 0.5:
                options["depends_on"] = self.chance.sample(parents, min(len(parents), one((1, 1, 2))))
                options["on_parent_failure"] = one(("cancel", "fail", "run"))
            jobs.append(new_job(one(QUEUES), queue=one(QUEUES), **options))
        self.chance.shuffle(jobs)  # parents behind their children, too
        return jobs

    async def put(self) -> None:
        """Some jobs with everything, sometimes into an open batch."""
        batch = self.chance.choice(self.batches) if self.batches and self.chance.random() < 0.4 else None
        self.known += [
            job_id for job_id, _ in await enqueue.jobs(self.store, self.tenant_id, self._jobs(self.chance.randrange(1, 5), batch))
        ]

    async def send(self) -> None:
        """A batch in one call, or one that stays open for a while."""
        batch_id = new_id()
        done = '{"kind": "work", "queue": "play", "priority": 0, "payload": {}, "user_id": null, "options": {"ordering_key": "x", "limit_key": "one"}}'
        if self.chance.random() < 0.4:
            await batches.open_batch(self.store, self.tenant_id, batch_id, None, None, done)
        else:
            jobs = self._jobs(self.chance.randrange(0, 6), batch_id)
            self.known += [job_id for job_id, _ in await batches.send(self.store, self.tenant_id, batch_id, "b", done, done, jobs)]
        self.batches.append(batch_id)

    async def claim(self) -> None:
        """A few."""
        self.held += await self.chance.choice(self.queues).claim(self.chance.randrange(1, 6))

    def _some(self) -> list[Claimed]:
        self.chance.shuffle(self.held)
        taken, self.held = self.held[:3], self.held[3:]
        return taken

    async def report(self) -> None:
        """Complete up to three."""
        if some := self._some():
            await self.queues[0].complete(*some)

    async def fail(self) -> None:
        """End up to three otherwise, in one flush."""
        if some := self._some():
            endings = [self.chance.choice(ENDINGS) for _ in some]
            ids, attempts = [c.job_id for c in some], [c.attempt for c in some]
            await work.settle(self.store, self.tenant_id, ids, attempts, endings, ["{}"] * len(some), [1.0] * len(some))

    async def meddle(self) -> None:
        """What people do to jobs."""
        some = self.chance.sample(self.known, min(4, len(self.known)))
        match self.chance.randrange(6):
            case 0:
                await operate.cancel(self.store, self.tenant_id, some, "test")
            case 1:
                await operate.retry(self.store, self.tenant_id, some)
            case 2:
                await operate.reprioritize(self.store, self.tenant_id, some, self.chance.choice((0, 7)))
            case 3:
                for job_id in some[:2]:
                    now = await self.store.fetchval("select trunkline.now() + make_interval(secs => $1)", self.chance.choice((-1.0, 2.0)))
                    await operate.reschedule(self.store, self.tenant_id, job_id, now)
            case 4:
                for job_id in some:
                    await limits.skip_ordered(self.store, self.tenant_id, job_id)
            case 5:
                await operate.redrive(self.store, self.tenant_id, None, None, 3)

    async def batch(self) -> None:
        """Seal one, or cancel what is left of it."""
        if self.batches:
            chosen = self.chance.choice(self.batches)
            if self.chance.random() < 0.6:
                await batches.seal(self.store, self.tenant_id, chosen)
            else:
                after, _, _ = await batches.cancel(self.store, self.tenant_id, chosen, "test", None, 2)
                while after is not None:
                    after, _, _ = await batches.cancel(self.store, self.tenant_id, chosen, "test", after, 2)

    async def pause(self) -> None:
        """Shut and open."""
        scope, name = self.chance.choice((("key", "two"), ("kind", "work"), ("queue", "play"), ("tenant", None)))
        await limits.pause(self.store, self.tenant_id, scope, name, self.chance.random() < 0.4)  # type: ignore[arg-type]

    async def time(self) -> None:
        """It passes; sometimes so much that sessions run out."""
        async with self.turn:  # two cannot replace one function at once
            await self.clock.forward(self.chance.choice((0.3, 1.0, 1.0, 6.0, 20.0)))
        await self.store.fetch(limited.BUSY_DUTIES)
        await self.queues[0].tick(ttl_s=40)


async def drain(life: Life) -> None:
    """Everybody else is quiet: run what there is until nothing lives."""
    for batch_id in life.batches:
        await batches.seal(life.store, life.tenant_id, batch_id)
    await limited.drain(life.clock, [*life.queues, await Queue.open(life.store, kind="dead")])


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_processes_do_to_jobs_with_everything_all_of_it_adds_up_and_ends(trunkline_url, seed):
    """Three processes, each with connections of its own, and one that only watches."""
    stores = [await Store.connect(Settings.load({}, database_url=trunkline_url, pool_max=2)) for _ in range(4)]
    try:
        clock, turn = DatabaseClock(stores[0]), asyncio.Lock()
        lives = [await Life(store, clock, turn, Random(seed * 100 + n)).start() for n, store in enumerate(stores[:3])]
        for key, bounds in {"one": {"concurrency": 1}, "two": {"concurrency": 2}, "rated": {"rate": 2.0, "burst": 1}}.items():
            await bound(lives[0].queues[0], name=key, **bounds)
        await bound(lives[0].queues[0], "queue", "play", concurrency=4)
        for life in lives[1:]:
            life.known, life.batches = lives[0].known, lives[0].batches
        await live_together(lives, 50, lambda: wrongs(stores[3]))
        await drain(lives[0])
        open_batches = await stores[0].fetchval("select count(*) from trunkline.batch where done_at is null")
        assert (0, 0, 0) == (
            await stores[0].fetchval("select count(*) from trunkline.slot"),
            await stores[0].fetchval("select count(*) from trunkline.ordering"),
            open_batches,
        )
    finally:
        for store in stores:
            await store.close()


async def test_a_failing_child_of_a_batch_locks_its_limiter_before_its_batch(queue, sessions):
    """As one that completes does. The other way round they waited for each other, with the limiter shut to everybody."""
    await bound(queue, concurrency=2)
    batch_id = new_id()
    jobs = [new_job("work", limit_key="k", batch_id=batch_id) for _ in range(2)]
    await batches.send(queue.store, queue.tenant_id, batch_id, None, None, None, jobs)
    claimed = await queue.claim_one()
    other, failing = await sessions.connect(), await sessions.connect()
    async with other.transaction():
        await other.execute("select from trunkline.limiter for update")
        report = sessions.start(failing.fetch(work.SETTLE, queue.tenant_id, [claimed.job_id], [claimed.attempt], ["fatal"], ["{}"], [0.0]))
        await sessions.blocked(failing)
        await other.execute("select from trunkline.batch for update nowait")
    await report
    assert [] == await wrongs(queue.store)


async def quota(queue, **bounds):
    """Give the tenant one."""
    await limits.set_quota(queue.store, queue.tenant_id, **{"queued": None, "rate": None, "per_s": 1.0, "burst": 0, **bounds})


async def test_a_batch_is_let_in_by_a_rate_as_a_whole(queue):
    """It goes in by slices, and to SQL job by job. Refused in its middle, it would be refused whenever it is sent again."""
    await quota(queue, rate=1, per_s=1)
    batch_id = new_id()
    sent = await batches.send(
        queue.store, queue.tenant_id, batch_id, None, None, None, [new_job("work", batch_id=batch_id) for _ in range(501)]
    )
    with pytest.raises(QuotaExceeded) as refused:
        await queue.put()

    assert 501 == len(sent)
    assert refused.value.retry_after_s == pytest.approx(501, abs=5)


async def test_a_batch_from_sql_is_let_in_by_a_rate_as_a_whole(queue):
    """Each of its jobs is an enqueue of its own."""
    await quota(queue, rate=1, per_s=1)
    await queue.store.fetch("""select trunkline.batch('[{"kind": "work"}, {"kind": "work"}, {"kind": "work"}]')""")
    with pytest.raises(QuotaExceeded):
        await queue.store.fetch("""select trunkline.batch('[{"kind": "work"}]')""")

    assert 3 == await queue.count("ready")


async def test_a_repeat_of_what_was_accepted_is_answered_also_when_the_tenant_is_over_its_quota(queue):
    """Its answer was lost, and the quota was lowered meanwhile: nothing is new."""
    jobs = [new_job("work", user_id="u") for _ in range(3)]
    await quota(queue, queued=3)
    first = await queue.put_jobs(jobs)
    await quota(queue, queued=1)

    assert first == await queue.put_jobs(jobs)


CALLBACK = '{"kind": "work", "queue": "work", "priority": 0, "payload": {}, "user_id": null, "options": null}'


@pytest.mark.parametrize("bounds", [{"queued": 1}, {"rate": 1, "per_s": 1000}])
async def test_a_callback_was_accepted_with_its_batch(queue, bounds):
    """A tenant that is over its quota can cancel a batch, and its last child can report."""
    one, two = new_id(), new_id()
    for batch_id in (one, two):
        await batches.send(queue.store, queue.tenant_id, batch_id, None, None, CALLBACK, [new_job("work", batch_id=batch_id)])
    await queue.put_plain(3)
    claimed = await queue.claim_one()
    await quota(queue, **bounds)
    if "rate" in bounds:
        await queue.put()
    await queue.complete(claimed)
    await batches.cancel(queue.store, queue.tenant_id, two, "test", None, 10)
    await batches.cancel(queue.store, queue.tenant_id, two, "test", UUID(int=0), 10)

    assert ["completed", "cancelled"] == [await child_state(queue, batch_id) for batch_id in (one, two)]
    assert 2 == await queue.store.fetchval("select count(*) from trunkline.batch where done_at is not null and complete_job is not null")
    assert [] == await wrongs(queue.store)


async def child_state(queue, batch_id):
    """Of the only child."""
    return await queue.state(await queue.store.fetchval("select job_id from trunkline.batch_job where batch_id = $1", batch_id))


async def test_a_flush_whose_ordered_child_stands_before_its_parent_comes_to_an_end(queue):
    """The child waits for the parent, so it must not stand before it in their ordering key."""
    child, parent = new_id(), new_id()
    jobs = [
        new_job("work", id=child, ordering_key="o", depends_on=[parent]),
        new_job("work", id=new_id(), ordering_key="o"),
        new_job("work", id=parent, ordering_key="o"),
    ]
    await queue.put_jobs(jobs)
    done = []
    while claimed := await queue.claim(10):
        done += [c.job_id for c in claimed]
        await queue.complete(*claimed)

    assert [jobs[1].id, parent, child] == done


@pytest.mark.parametrize("queued", [2300, 2299])
async def test_a_copy_is_counted_to_the_last_job_and_owed_once(queue, queued):
    """Refused in its middle, it leaves neither jobs nor a debt."""
    await quota(queue, queued=queued, rate=1, per_s=1, burst=10)
    jobs = [new_job("work", n) for n in range(2300)]
    if queued < len(jobs):
        with pytest.raises(QuotaExceeded, match="2299 jobs"):
            await copy.copy(queue.store, queue.tenant_id, jobs)
    else:
        await copy.copy(queue.store, queue.tenant_id, jobs)
    owed_s = await queue.store.fetchval("select extract(epoch from tat - trunkline.now())::float8 from trunkline.quota")

    assert (len(jobs) if queued == len(jobs) else 0) == await queue.count("ready")
    assert owed_s is None if queued < len(jobs) else owed_s == pytest.approx(2300, abs=10)


async def test_a_line_behind_a_failed_job_goes_on_when_retention_forgets_it(queue, clock):
    """It held up the line until somebody saw to it; now nobody can any more."""
    head, behind = await queue.put(ordering_key="o"), await queue.put(ordering_key="o")
    await queue.settle(await queue.claim_one(), "fatal")
    assert [] == await queue.claim(5)
    await queue.store.fetch("""select trunkline.set_retention($1, 'work', '{"failed": 60}')""", queue.tenant_id)
    await clock.forward(7200)
    await queue.store.fetch("select trunkline.sweep(1e9, 1000)")
    await queue.store.fetch(limited.BUSY_DUTIES)
    await queue.tick(ttl_s=1e9)

    assert None is await queue.state(head)
    assert [behind] == [claimed.job_id for claimed in await queue.claim(5)]
    assert [] == await wrongs(queue.store)
