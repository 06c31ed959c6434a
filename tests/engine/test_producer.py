"""Putting jobs in from Python: who shares a flush, whose mistake is whose, and what is repeated."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import pytest

from tests.support.proxy import Proxy
from trunkline import Trunkline
from trunkline.engine import producer
from trunkline.errors import BadId, InvalidInput, InvalidPayload, MustEncrypt, QuotaExceeded, Unavailable
from trunkline.model import new_job
from trunkline.settings import Settings
from trunkline.store import copy
from trunkline.store.copy import SLICE


@pytest.fixture
def proxy(trunkline_url: str):
    """A way to the database that can be cut."""
    with Proxy(trunkline_url) as proxy:
        yield proxy


@pytest.fixture
async def far(proxy: Proxy):
    """An application on the other side of it."""
    async with Trunkline(settings=Settings.load({}, database_url=proxy.url, command_timeout_s=10)) as app:
        await app.tenant_id(None)
        yield app


async def test_callers_at_the_same_moment_share_a_flush(app, queue):
    """While one statement is under way the next gathers."""
    await app.tenant_id(None)
    before = app._producer.flushes
    ids = await asyncio.gather(*(app.enqueue("work", {"n": n}, user_id="u") for n in range(200)))

    assert app._producer.flushes - before <= 3
    assert 200 == len(set(ids)) == await queue.count("job")
    assert list(range(200)) == [int(c.payload[5:-1]) for c in await queue.claim(200)]


@pytest.mark.parametrize("bad", [{"id": str(uuid4())}, {"queue": "a/b"}])
async def test_one_callers_mistake_does_not_fail_the_others(app, queue, bad):
    """The flush is taken apart; only the mistaken one hears of it."""
    await app.tenant_id(None)
    calls = [app.enqueue("work", {"n": n}) for n in range(5)]
    calls.insert(2, app.enqueue("work", **bad))
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert isinstance(answers[2], (BadId, InvalidInput))
    assert 5 == len([a for a in answers if not isinstance(a, Exception)]) == await queue.count("job")


async def test_a_caller_with_an_id_that_is_there_already_does_not_fail_the_others(app, queue):
    """It may be repeating itself."""
    there = await app.enqueue("work")
    answers = await asyncio.gather(*(app.enqueue("work", n) for n in range(3)), app.enqueue("work", id=there))

    assert there == answers[3]
    assert 4 == await queue.count("job")


async def test_two_callers_with_one_id_in_one_flush_make_one_job(app, queue):
    """Whichever way their flush goes in."""
    one = new_job("work").id
    answers = await asyncio.gather(*(app.enqueue("work", id=one) for _ in range(3)), app.enqueue("work", id=one, user_id="u"))

    assert {one} == set(answers)
    assert 1 == await queue.count("job")


async def test_tenants_in_one_gathering_stay_apart(app, store):
    """Each goes in under its own tenant."""
    await asyncio.gather(*(app.enqueue("work", n, tenant=f"t{n % 3}") for n in range(30)))
    rows = await store.fetch(
        "select t.name, count(*) as n from trunkline.job as j join trunkline.tenant as t using (tenant_id) group by 1 order by 1"
    )

    assert [("t0", 10), ("t1", 10), ("t2", 10)] == [tuple(row) for row in rows]


@pytest.mark.parametrize("count", [1, 199, 200, 1001, 2500])
@pytest.mark.parametrize("option", [{}, {"user_id": "u"}], ids=["plain", "full"])
async def test_many_jobs_go_in_in_their_order_whichever_way(app, queue, count, option):
    """One by one, in one call, by COPY, in chunks."""
    jobs = [new_job("work", n, **option) for n in range(count)]
    answers = await app.enqueue_many(jobs)

    assert [job.id for job in jobs] == [answer.id for answer in answers]
    assert [job.id for job in jobs] == [c.job_id for c in await queue.claim(10_000)]


async def test_many_of_nothing_is_nothing(app):
    """Not even a statement."""
    assert [] == await app.enqueue_many([])


async def test_a_bulk_of_known_ids_is_a_repeat(app, queue):
    """A program that was restarted in the middle sends its list again."""
    jobs = [new_job("work", n) for n in range(300)]
    await app.enqueue_many(jobs[:150])
    answers = await app.enqueue_many(jobs)

    assert [job.id for job in jobs] == [answer.id for answer in answers]
    assert 300 == await queue.count("job")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("sql", "count", "option"),
    [("enqueue", 1, {}), ("enqueue_jobs", 5, {"unique_key": "u", "unique_replace": True}), ("commit", 300, {})],
    ids=["one", "keyed", "copy"],
)
async def test_a_flush_whose_connection_is_cut_is_repeated_and_exists_once(far, proxy, queue, sql, count, option, when):
    """By the same ids, which changes nothing if it had been committed."""
    proxy.cut(sql if sql != "commit" else "COMMIT", when)
    jobs = [new_job("work", n, **option) for n in range(count)]
    ids = {await far.enqueue("work")} if count == 1 else {answer.id for answer in await far.enqueue_many(jobs)}

    assert ids == {c.job_id for c in await queue.claim(1000)}
    assert len(ids) == await queue.count("job")


async def test_a_database_that_stays_away_is_said_to_be_after_the_time(proxy):
    """The job may or may not exist; the caller may enqueue again with its id."""
    async with Trunkline(settings=Settings.load({}, database_url=proxy.url, command_timeout_s=0.5)) as app:
        await app.tenant_id(None)
        proxy.refuse()
        proxy.cut_all()

        with pytest.raises(Unavailable):
            await app.enqueue("work")
        proxy.refuse(False)


async def test_a_bulk_gives_up_as_well_when_the_database_stays_away(proxy):
    """Nothing was read from the caller yet: it must not try for ever."""
    async with Trunkline(settings=Settings.load({}, database_url=proxy.url, command_timeout_s=0.5)) as app:
        await app.enqueue_many([new_job("work", n) for n in range(300)])
        proxy.refuse()
        proxy.cut_all()

        with pytest.raises(Unavailable):
            await asyncio.wait_for(app.enqueue_many(new_job("work", n) for n in range(300)), 20)
        proxy.refuse(False)


async def test_a_payload_is_refused_before_anybody_waits(app):
    """At the door."""
    with pytest.raises(InvalidPayload):
        await app.enqueue("work", float("nan"))
    assert 0 == app._producer.flushes


async def test_a_caller_that_gives_up_does_not_stop_the_others(app, queue):
    """Its job goes in all the same: nobody can say any more that it did not."""
    await app.tenant_id(None)
    calls = [asyncio.create_task(app.enqueue("work", n)) for n in range(5)]
    await asyncio.sleep(0)
    calls[2].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert [False, False, True, False, False] == [isinstance(a, asyncio.CancelledError) for a in answers]
    assert {a for a in answers if not isinstance(a, BaseException)} <= {c.job_id for c in await queue.claim(10)}


async def test_closing_waits_for_the_flush_under_way(app, queue):
    """What was asked for before is done."""
    await app.tenant_id(None)
    calls = [asyncio.create_task(app.enqueue("work", n)) for n in range(20)]
    await asyncio.sleep(0)
    await app._producer.close()

    assert 20 == len(await asyncio.gather(*calls)) == await queue.count("job")


def test_the_bounds_of_a_flush_are_in_order():
    """A chunk of COPY may be larger than a call; both are larger than where COPY begins to pay."""
    assert producer.COPY_FROM < producer.MAX_FLUSH <= producer.COPY_CHUNK


async def test_a_generator_is_read_while_it_is_written_and_keeps_its_order(app, queue):
    """Plain jobs and others by turns, more than one piece of each, two lines."""

    def jobs():
        for n in range(6000):
            yield new_job("work", n, queue="work" if n % 3 else "other", priority=0, user_id="u" if 2500 <= n < 3700 else None)

    answers = await app.enqueue_many(jobs())
    rows = await queue.store.fetch("select job_id, ord from trunkline.ready order by ord")

    assert 6000 == len(set(answers)) == len(rows)
    assert [answer.id for answer in answers] == [row["job_id"] for row in rows]


async def test_a_generator_that_raises_undoes_its_transaction_and_ends_the_call(app, queue):
    """What the caller's own code raises comes back to the caller."""

    def jobs():
        yield from (new_job("work", n) for n in range(1500))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await app.enqueue_many(jobs())
    assert (0, 0) == (await queue.count("job"), await queue.count("ready"))
    assert 300 == len(await app.enqueue_many(new_job("work", n) for n in range(300)))


class _Stopped(BaseException):
    """What is no `Exception`."""


async def test_what_a_generator_raises_is_not_taken_for_the_databases(app, queue, monkeypatch):
    """A file's OSError, say: read as the end of the jobs, it would be a success with a part of them."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 2000)

    def jobs(behind, error):
        yield from (new_job("work", n) for n in range(behind))
        raise error

    for own in (OSError("its disk"), TimeoutError("its server"), Unavailable("its own"), MustEncrypt("its own"), _Stopped()):
        for behind, kept in ((0, 0), (1500, 0), (2300, 2000)):
            before = await queue.count("job")
            with pytest.raises(type(own)) as raised:
                await app.enqueue_many(jobs(behind, own))
            assert (own, kept) == (raised.value, await queue.count("job") - before)
    assert await queue.count("ready") == await queue.count("job")


async def test_what_a_generator_raises_while_the_jobs_before_are_written_leaves_those(app, queue, monkeypatch):
    """It is read on while a transaction ends; that one does not hear of what comes behind it."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 2000)
    read = 0

    def jobs():
        nonlocal read
        for read in range(1, 2301):
            yield new_job("work", read)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await app.enqueue_many(jobs())
    assert (2300, 2000, 2000) == (read, await queue.count("job"), await queue.count("ready"))


async def test_while_a_transaction_ends_no_more_is_read_than_another_would_take(app, queue, monkeypatch):
    """A source without an end does not fill the memory."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    ahead = 0

    def jobs():
        nonlocal ahead
        for n in range(30_000):
            ahead = max(ahead, n - producer_flushed())
            yield new_job("work", n)

    def producer_flushed() -> int:
        return (app._producer.flushes - 1) * 1000

    assert 30_000 == len(await app.enqueue_many(jobs()))
    assert ahead <= 3 * 1000  # the one under way, the one read ahead, and a piece


async def test_the_end_of_a_transaction_is_written_beside_the_beginning_of_the_next(app, queue, monkeypatch):
    """The first may only end when the second has begun; and it is the first that is committed first."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    second_began, began, ended = asyncio.Event(), 0, []
    jobs, ready = copy._Copying.jobs, copy._Copying.ready

    async def spied_jobs(self) -> None:
        nonlocal began
        began += 1
        if began == 2:
            second_began.set()
        await jobs(self)

    async def spied_ready(self) -> None:
        async with asyncio.timeout(20):
            await second_began.wait()
        await ready(self)
        ended.append(self._jobs[0].payload)

    monkeypatch.setattr(copy._Copying, "jobs", spied_jobs)
    monkeypatch.setattr(copy._Copying, "ready", spied_ready)
    answers = await app.enqueue_many(new_job("work", n) for n in range(2500))

    assert (3, 2500) == (began, len(set(answers)))
    assert ["0", "1000", "2000"] == sorted(ended, key=int)
    assert [answer.id for answer in answers] == [
        row[0] for row in await queue.store.fetch("select job_id from trunkline.ready order by ord")
    ]


async def test_a_quota_counts_the_transaction_before_which_is_not_committed_yet(app, queue, monkeypatch):
    """Two of a bulk are under way at once; neither may take the other's jobs for not there."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    await app.limits.quota(queued=2500)

    with pytest.raises(QuotaExceeded):
        await app.enqueue_many(new_job("work", n) for n in range(6000))
    assert await queue.count("ready") <= 2500 + SLICE


async def test_a_bulk_that_is_given_up_leaves_whole_transactions_from_the_front(app, queue, monkeypatch):
    """Cancelled in its third transaction, whatever the second was at."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    task = None

    def jobs():
        for n in range(6000):
            if n == 2500:
                task.cancel()
            yield new_job("work", n)

    task = asyncio.create_task(app.enqueue_many(jobs()))
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = [int(row[0]) for row in await queue.store.fetch("select payload::text from trunkline.job")]

    assert sorted(kept) in ([], [*range(1000)], [*range(2000)])
    assert len(kept) == await queue.count("ready")


async def test_a_generator_that_raises_behind_an_id_that_is_there_already_still_raises(app, queue):
    """Two things go wrong at once, and only one of them is the database's."""
    await app.enqueue_many([again := new_job("work")])

    def jobs():
        yield from (new_job("work", n) for n in range(1100))
        yield again
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await app.enqueue_many(jobs())
    assert 1 == await queue.count("job")


async def test_a_source_that_is_slower_than_the_database_may_be_loses_nothing(trunkline_url, queue):
    """It blocks the loop for longer than a command may take, in the middle of one."""
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, command_timeout_s=0.5)) as app:
        jobs = (new_job("work", n if n != 1150 else time.sleep(0.8)) for n in range(1500))
        answers = await app.enqueue_many(jobs)
    assert 1500 == len(set(answers)) == await queue.count("job") == await queue.count("ready")


async def test_no_more_is_read_ahead_than_a_piece(app, queue):
    """An endless source must not be read to its end before the first job is written."""
    read = 0

    def jobs():
        nonlocal read
        for read in range(1, 10_001):
            yield new_job("work", user_id="u")
            if read == 2500:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await app.enqueue_many(jobs())
    assert 2000 == await queue.count("job")  # two pieces, each its own transaction


@pytest.mark.parametrize("sql", ["begin_copy", "end_copy", "COMMIT"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_copy_of_a_generator_whose_connection_is_cut_exists_once(far, proxy, queue, sql, when):
    """What was read is kept until it is known to be written; what was not goes on."""
    await far.enqueue_many([new_job("work", user_id="u")])
    rule = proxy.cut(sql, when)
    answers = await far.enqueue_many(new_job("work", n) for n in range(5500))

    assert 1 == rule.times_met
    assert 5500 == len(set(answers))
    assert 5501 == await queue.count("job") == await queue.count("ready")


async def _second_begins_before_the_first_ends(monkeypatch) -> None:
    """The seam of two transactions, always the same: the second has its place in line when the first goes on to its end."""
    began, second = [], asyncio.Event()
    begin, ready = copy._Copying._begin, copy._Copying.ready

    async def spied_begin(self, lines) -> None:
        await begin(self, lines)
        began.append(self)
        if len(began) == 2:
            second.set()

    async def spied_ready(self) -> None:
        async with asyncio.timeout(20):
            await second.wait()
        await ready(self)

    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    monkeypatch.setattr(copy._Copying, "_begin", spied_begin)
    monkeypatch.setattr(copy._Copying, "ready", spied_ready)


@pytest.mark.parametrize("sql", ["end_copy", "COMMIT"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_transaction_that_is_lost_keeps_its_place_before_the_one_that_has_begun(far, proxy, queue, monkeypatch, sql, when):
    """It is said again by id, and would stand behind the next: that one is undone, too, and said again after it."""
    await far.enqueue_many([new_job("work", user_id="u")])
    await queue.claim(1)
    await _second_begins_before_the_first_ends(monkeypatch)
    proxy.cut(sql, when)
    answers = await far.enqueue_many(new_job("work", n) for n in range(4500))

    rows = await queue.store.fetch("select job_id from trunkline.ready order by ord")
    assert [answer.id for answer in answers] == [row["job_id"] for row in rows]


async def test_a_transaction_that_is_lost_with_the_queue_it_made_does_not_wait_for_the_next(far, proxy, queue, monkeypatch):
    """The next makes that queue meanwhile, and waits for the first: neither would ever end, and PostgreSQL sees only half of it."""
    await far.enqueue_many([new_job("work", user_id="u")])
    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    held = proxy.hold("COMMIT", "before", times=1)
    task = asyncio.create_task(far.enqueue_many(new_job("work", n, queue="new") for n in range(2500)))
    await asyncio.to_thread(held.met.wait, 20)
    waiting = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%begin_copy%' and datname = current_database()"
    )
    while not await queue.store.fetch(waiting):  # the second waits for the queue that the first is making
        await asyncio.sleep(0.01)
    making = "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction' and datname = current_database()"
    await queue.store.fetch(making)

    async with asyncio.timeout(5):
        assert (2500, 2501) == (len(set(await task)), await queue.count("job"))
    held.release()


async def test_ids_of_a_repeat_that_stand_in_two_transactions_do_not_wait_for_each_other(app, queue, monkeypatch):
    """The first is said again by id, because one of its ids is there already; the second has one of its others."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 4000)
    jobs = [new_job("work", n) for n in range(4000)]
    twice = jobs[3900:]
    await app.enqueue_many(jobs[:1])
    async with asyncio.timeout(5):
        answers = await app.enqueue_many([*jobs, *twice, *(new_job("work", n) for n in range(100))])

    assert [job.id for job in [*jobs, *twice]] == [answer.id for answer in answers[:4100]]
    assert 4100 == await queue.count("ready")


async def test_a_job_that_is_given_twice_does_not_hide_those_before_it_when_an_answer_is_lost(far, proxy, queue, monkeypatch):
    """What was written is told from what comes next by where it was read, not by its last job."""
    monkeypatch.setattr(producer, "COPY_CHUNK", 1000)
    jobs = [new_job("work", n) for n in range(1500)]
    jobs[1199] = jobs[999]
    await far.enqueue_many([new_job("work", user_id="u")])
    rule = proxy.cut("COPY ", "after")  # of `job`: all of the transaction is read, and the next has not begun
    answers = await far.enqueue_many(jobs)

    assert 1 == rule.times_met
    assert [job.id for job in jobs] == [answer.id for answer in answers]
    assert 1500 == await queue.count("job")  # one of the 1,500 is there twice, and the one before


async def test_what_a_generator_raises_while_the_database_is_lost_comes_back_as_well(far, proxy, queue):
    """Two things fail at once: taken for the database's alone, a part of the jobs would be answered as all."""

    def jobs(behind):
        yield from (new_job("work", n) for n in range(behind))
        proxy.cut_all()
        raise ZeroDivisionError

    for behind in (250, 1500, 1600):
        with pytest.raises(ZeroDivisionError):
            await far.enqueue_many(jobs(behind))
    assert (0, 0) == (await queue.count("job"), await queue.count("ready"))


async def test_what_a_generator_raises_behind_a_lost_transaction_is_raised_where_it_was_called(far, proxy, queue):
    """Not in a task of ours, where a KeyboardInterrupt would end the loop."""

    def jobs():
        yield from (new_job("work", n) for n in range(1000))
        raise _Stopped

    proxy.cut("begin_copy", "before")
    failed = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    with pytest.raises(_Stopped):
        await far.enqueue_many(jobs())
    assert [] == failed
