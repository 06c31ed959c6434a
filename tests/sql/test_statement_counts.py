"""How many statements things cost: counted on the connection, because counts do not drift."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.until import until
from trunkline import Trunkline
from trunkline.engine import Heart
from trunkline.engine.scheduler import Scheduler
from trunkline.model import new_job
from trunkline.settings import Settings
from trunkline.store import Store, copy, work
from trunkline.store import schedules as store_schedules
from trunkline.store import sessions as store_sessions
from trunkline.testing import DatabaseClock


class Counted(Store):
    """A store that notes each statement its connections execute, transaction control included."""

    statements: list[str]
    _known: set[int]

    @classmethod
    async def counting(cls, url: str) -> Counted:
        """Open it."""
        store = await cls.connect(Settings.load({}, database_url=url))
        store.statements, store._known = [], set()
        return store

    async def _take(self, pool):
        conn = await super()._take(pool)
        if (pid := conn.get_server_pid()) not in self._known:
            self._known.add(pid)
            conn.add_query_logger(lambda query: self.statements.append(query.query))
        return conn


@pytest.fixture
async def counted(trunkline_url: str):
    """A store whose connections' statements are counted."""
    store = await Counted.counting(trunkline_url)
    yield store
    await store.close()


async def test_each_flush_is_one_statement(counted, queue):
    """Enqueue, claim, ack and settle: one round trip for a hundred jobs."""
    mine = type(queue)(counted, queue.tenant_id, queue.queue_id, queue.session_id, "work")
    for _ in range(2):  # the driver asks once a connection for each type that it does not know; one is kept in hand for claims
        await flushes(mine)
    counted.statements.clear()
    await flushes(mine)

    functions = ["enqueue_plain", "enqueue_jobs", "claim", "ack_completed", "settle"]
    assert len(functions) == len(counted.statements)
    assert all(name in text for name, text in zip(functions, counted.statements, strict=True))


async def flushes(mine) -> None:
    """One of each, of a hundred jobs."""
    await mine.put_plain(100)
    await mine.put_jobs([new_job("work", n, unique_key=f"u{n}", idempotency_key=f"i{uuid4()}", delay=n % 2) for n in range(100)])
    claimed = await mine.claim(100)
    await mine.complete(*claimed[:50])
    rest = claimed[50:]
    await work.settle(mine.store, mine.tenant_id, [c.job_id for c in rest], [1] * 50, ["failed"] * 50, ["{}"] * 50, [None] * 50)


async def test_a_copy_is_four_statements_and_two_copies(counted, queue):
    """begin, begin_copy, wake, commit; COPYs are not queries to the logger."""
    await copy.copy(counted, queue.tenant_id, [new_job("work")])
    for count in (300, 3000):
        counted.statements.clear()
        await copy.copy(counted, queue.tenant_id, [new_job("work", n) for n in range(count)])

        assert 4 == len(counted.statements), counted.statements


async def test_a_session_that_is_already_asleep_writes_nothing_when_it_is_told_again(queue):
    """Sleeping is a row of its session, written when it changes."""
    version = "select xmin::text from trunkline.session where session_id = $1"
    await store_sessions.sleep_on(queue.store, queue.session_id, [queue.queue_id])
    before = await queue.store.fetchval(version, queue.session_id)
    await store_sessions.sleep_on(queue.store, queue.session_id, [queue.queue_id])
    await store_sessions.watch(queue.store, queue.session_id, [])

    assert before == await queue.store.fetchval(version, queue.session_id)


def noting(said: list[str], fetch):
    """A method of the store that notes the text it executes."""

    async def noted(text, *arguments, **how):
        said.append(text)
        return await fetch(text, *arguments, **how)

    return noted


async def test_an_idle_worker_makes_one_query_a_tick_and_nothing_else(trunkline_url):
    """Idle is quiet. Counted between ticks, not by the clock: once asleep, a statement is a tick or it is too many."""
    said: list[str] = []
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as app:

        @app.job("work")
        async def handle() -> None: ...

        for name in ("fetch", "fetch_held", "fetch_kept", "fetch_apart"):
            setattr(app.store, name, noting(said, getattr(app.store, name)))
        worker = await app.start_worker()
        await until(lambda: any("sleep_on" in text for text in said), "the worker sleeps")
        ticks = store_sessions.TICK
        seen = said.count(ticks)
        await until(lambda: said.count(ticks) >= seen + 2, "its last look is over")
        said.clear()
        for n in range(1, 6):
            worker._heart.tick_soon()
            await until(lambda n=n: said.count(ticks) >= n, f"tick {n}")

    between = said[: len(said) - said[::-1].index(ticks)]
    assert {ticks} == set(between)


async def test_a_schedule_costs_two_statements_when_it_is_due_and_none_before(trunkline_url):
    """One asks which, one fires; the tick that says so is made anyway."""
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url)) as app:
        duty, clock = Scheduler(app.store, Heart(app.store)), DatabaseClock(app.store)
        await app.schedules.create("s", "work", every=60)
        await duty.round()
        await clock.forward(61)
        said: list[str] = []
        app.store.fetch = noting(said, app.store.fetch)
        await duty.round()

    assert [store_schedules.DUE, store_schedules.FIRE] == said
