"""Limits under processes that do anything at any moment: what always holds of limiters holds in every snapshot, and nothing is
stranded: once everybody is quiet, whatever waits can be run to its end."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any
from uuid import UUID

import pytest

from tests.support import limited
from tests.support.crowd import live_together
from tests.support.limited import bound, wrongs
from tests.support.queue import Queue
from trunkline.errors import SessionLost, Unavailable
from trunkline.model import Claimed, Policy, new_job
from trunkline.settings import Settings
from trunkline.store import Store, limits, operate, work
from trunkline.testing import DatabaseClock

KEYS = ("one", "two", "five", "rated", "free", "kinds", None, None)
ENDINGS = ("failed", "fatal", "snoozed", "retry_after", "blocked", "released", "no_handler", "lost", "cancelled")


class Life:
    """One process: its own connections, what it holds, and the dice."""

    def __init__(self, store: Store, clock: DatabaseClock, turn: asyncio.Lock, seed: int) -> None:
        self.store, self.clock, self.turn, self.chance = store, clock, turn, Random(seed)
        self.held: list[tuple[Queue, Claimed]] = []
        self.known: list[UUID] = []

    async def start(self) -> Life:
        """Open both queues with a session of its own, one that can run out."""
        self.queues = [await Queue.open(self.store, kind=kind, policy=POLICY) for kind in ("work", "play")]
        for queue in self.queues:
            queue.session_id = await queue.session(40)
        return self

    async def step(self) -> None:
        """Anything; what collides with others is tried again another time."""
        what = self.chance.choices(
            (self.put, self.claim, self.report, self.fail, self.meddle, self.pause, self.time), (5, 6, 6, 4, 3, 2, 2)
        )[0]
        try:
            await what(self.chance.choice(self.queues))
        except Unavailable:
            pass
        except SessionLost:
            self.held.clear()
            for queue in self.queues:
                queue.session_id = await queue.session(40)

    async def put(self, queue: Queue) -> None:
        """Some jobs with some keys."""
        jobs = []
        for _ in range(self.chance.randrange(1, 6)):
            options: dict[str, Any] = {
                "limit_key": self.chance.choice(KEYS),
                "ordering_key": self.chance.choice(("x", "y", None, None, None)),
            }
            options |= {"priority": self.chance.choice((0, 0, 5)), "delay": self.chance.choice((None, None, 3.0))}
            jobs.append(new_job(queue.kind, queue=self.chance.choice(("work", "play")), retry_limit=2, **options))
        self.known += [job_id for job_id, _ in await queue.put_jobs(jobs)]

    async def claim(self, queue: Queue) -> None:
        """A few."""
        self.held += [(queue, claimed) for claimed in await queue.claim(self.chance.randrange(1, 6))]

    def _some(self) -> tuple[Queue, list[Claimed]]:
        self.chance.shuffle(self.held)
        taken, self.held = self.held[:3], self.held[3:]
        return self.queues[0], [claimed for _, claimed in taken]

    async def report(self, _: Queue) -> None:
        """Complete up to three, sometimes twice."""
        queue, some = self._some()
        for _ in range(self.chance.choice((1, 1, 2)) if some else 0):
            await queue.complete(*some)

    async def fail(self, _: Queue) -> None:
        """End up to three otherwise, in one flush."""
        queue, some = self._some()
        if some:
            endings = [self.chance.choice(ENDINGS) for _ in some]
            await work.settle(
                self.store,
                queue.tenant_id,
                [c.job_id for c in some],
                [c.attempt for c in some],
                endings,
                ["{}"] * len(some),
                [1.0] * len(some),
            )

    async def meddle(self, queue: Queue) -> None:
        """What people do to jobs."""
        some = self.chance.sample(self.known, min(4, len(self.known)))
        match self.chance.randrange(5):
            case 0:
                await operate.cancel(self.store, queue.tenant_id, some, "test")
            case 1:
                await operate.retry(self.store, queue.tenant_id, some)
            case 2:
                await operate.reprioritize(self.store, queue.tenant_id, some, self.chance.choice((0, 7)))
            case 3:
                for job_id in some[:2]:
                    now = await self.store.fetchval("select trunkline.now() + make_interval(secs => $1)", self.chance.choice((-1.0, 2.0)))
                    await operate.reschedule(self.store, queue.tenant_id, job_id, now)
            case 4:
                for job_id in some:
                    await limits.skip_ordered(self.store, queue.tenant_id, job_id)

    async def pause(self, queue: Queue) -> None:
        """Shut and open."""
        scope, name = self.chance.choice((("key", "two"), ("kind", "work"), ("queue", "play"), ("tenant", None), ("key", "rated")))
        if self.chance.random() < 0.3:
            await limits.block_key(self.store, queue.tenant_id, "five", self.chance.choice((None, 2.0)))
        else:
            await limits.pause(self.store, queue.tenant_id, scope, name, self.chance.random() < 0.4)  # type: ignore[arg-type]

    async def time(self, queue: Queue) -> None:
        """It passes; sometimes so much that sessions run out."""
        async with self.turn:  # two cannot replace one function at once
            await self.clock.forward(self.chance.choice((0.3, 1.0, 1.0, 6.0, 20.0)))
        await self.store.fetch(limited.BUSY_DUTIES)
        await queue.tick(ttl_s=40)


POLICY = Policy(retry_delay_s=1, retry_jitter=0, key_concurrency=None)


async def prepare(queue: Queue) -> None:
    """The bounds: by key, by queue, by kind, by kind and key."""
    for key, bounds in {
        "one": {"concurrency": 1},
        "two": {"concurrency": 2},
        "five": {"concurrency": 5},
        "rated": {"rate": 2.0, "burst": 1},
    }.items():
        await bound(queue, name=key, **bounds)
    await bound(queue, "queue", "play", concurrency=6)
    await bound(queue, "kind", "play", concurrency=4, rate=20.0, burst=10)


async def drain(life: Life) -> None:
    """Everybody else is quiet: run what there is until nothing lives."""
    await limited.drain(life.clock, life.queues)


@pytest.mark.parametrize("seed", range(3))
async def test_limits_hold_and_strand_nobody_whatever_processes_do(trunkline_url, seed):
    """Four processes, each with connections of its own, and one that only watches."""
    stores = [await Store.connect(Settings.load({}, database_url=trunkline_url, pool_max=2)) for _ in range(5)]
    try:
        clock, turn = DatabaseClock(stores[0]), asyncio.Lock()
        lives = [await Life(store, clock, turn, seed * 100 + n).start() for n, store in enumerate(stores[:4])]
        await prepare(lives[0].queues[0])
        await live_together(lives, 60, lambda: wrongs(stores[4]))
        await drain(lives[0])
        assert 0 == await stores[0].fetchval("select (select count(*) from trunkline.slot) + (select count(*) from trunkline.ordering)")
    finally:
        for store in stores:
            await store.close()
