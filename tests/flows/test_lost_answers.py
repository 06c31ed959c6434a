"""Statements that were done and whose answer never came, or that never arrived: the caller cannot know which."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.flows.conftest import statements
from tests.support.until import until
from trunkline import Job, Trunkline, new_job
from trunkline.errors import Unavailable
from trunkline.settings import Settings

CUTS = ["before", "during", "after"]


@pytest.mark.parametrize("when", CUTS)
async def test_a_single_enqueue_that_is_cut_exists_once(sender_through_proxy, children, proxy, journal, trunkline_url, verdict, when):
    """Repeating by id changes nothing if the first try was committed."""
    sender = sender_through_proxy
    await sender.send("noop")
    rule = proxy.cut(sql="trunkline.enqueue_plain", when=when, times=2)
    await sender.send_each("noop", 300, at_once=100)
    await children.worker(trunkline_url, concurrency=50).is_up()
    final = await verdict()

    assert 2 == rule.times_met
    assert 301 == final.count("completed")
    assert {1} == set(final.attempts().values())


@pytest.mark.parametrize("when", CUTS)
async def test_a_bulk_enqueue_that_is_cut_at_its_commit_exists_once(
    sender_through_proxy, children, proxy, journal, trunkline_url, verdict, when
):
    """COPY is one transaction: all of it or nothing, and a repeat does not double it."""
    rule = proxy.cut(sql="COMMIT", when=when)
    await sender_through_proxy.send_many([new_job("noop", {"n": n}) for n in range(1000)])
    await children.worker(trunkline_url, concurrency=50).is_up()
    final = await verdict()

    assert 1 == rule.times_met
    assert 1000 == final.count("completed")
    assert {1} == set(final.attempts().values())


async def test_a_bulk_enqueue_that_the_server_does_not_finish_is_given_up_in_time(trunkline_url):
    """The server takes the rows and then says nothing more; the caller is told so after its command timeout."""
    await statements(
        trunkline_url,
        "create function public.slow() returns trigger language plpgsql as $$ begin perform pg_sleep(300); return null; end $$",
        "create trigger slow before insert on trunkline.job for each statement execute function public.slow()",
    )
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, command_timeout_s=1)) as app, asyncio.timeout(60):
        with pytest.raises(Unavailable):
            await app.enqueue_many([new_job("noop") for _ in range(500)])


@pytest.mark.parametrize("when", CUTS)
@pytest.mark.parametrize("option", [{"idempotency_key": "k"}, {"unique_key": "k"}, {"unique_key": "k", "unique_replace": True}])
async def test_a_keyed_enqueue_that_is_cut_while_its_job_runs_at_once_leaves_no_trace_behind(
    sender_through_proxy, children, proxy, journal, trunkline_url, verdict, when, option
):
    """The job may have ended before its enqueue is repeated: the repeat takes no key for it and replaces nobody."""
    sender = sender_through_proxy
    await children.worker(trunkline_url).is_up()
    rule = proxy.cut(sql="trunkline.enqueue_jobs", when=when, times=3)
    job_id = await sender.send("noop", **option)
    await sender.see(job_id)
    final = await verdict()

    assert 3 == rule.times_met
    assert {job_id} == final.jobs.keys()
    assert "completed" == final.jobs[job_id].state


@pytest.mark.parametrize("when", CUTS)
async def test_an_ack_that_is_cut_is_repeated_and_answered_truthfully(
    sender, worker_through_proxy, proxy, journal, trunkline_url, verdict, when
):
    """Done is done, whether or not the first answer came."""
    await worker_through_proxy.start_worker(concurrency=50)
    rule = proxy.cut(sql="trunkline.ack_completed", when=when, times=3)
    await sender.send_each("noop", 500, at_once=100)
    await journal.wait_for("acked", 500)
    final = await verdict()

    assert 3 == rule.times_met
    assert {"completed"} == {fact.more["what"] for fact in journal.of("acked")}
    assert 500 == final.count("completed")
    assert {1} == set(final.attempts().values())


@pytest.mark.parametrize("when", CUTS)
async def test_a_report_of_failure_that_is_cut_counts_one_failure(
    sender, worker_through_proxy, proxy, journal, trunkline_url, verdict, when
):
    """A repeated report must not use up the next attempt, and is not called lost."""
    await worker_through_proxy.start_worker(concurrency=50)
    rule = proxy.cut(sql="trunkline.settle", when=when, times=3)
    await sender.send_each("flaky", 200, {"fails": 2}, at_once=100, retry_limit=2)
    final = await verdict()

    assert 3 == rule.times_met
    assert set() == {fact.more["what"] for fact in journal.of("acked")} & {"lost", "failed"}
    assert 200 == final.count("completed")
    assert {3} == set(final.attempts().values())


@pytest.mark.parametrize("when", CUTS)
async def test_jobs_of_a_claim_that_is_cut_run_again_soon_and_count_no_failure(
    sender, worker_through_proxy, proxy, journal, trunkline_url, verdict, when
):
    """The database leased them to a worker that never heard of it and that lives on: nobody's death will free them."""
    await worker_through_proxy.start_worker(concurrency=10)
    rule = proxy.cut(sql="trunkline.claim(", when=when, times=4)
    await sender.send_each("noop", 100, at_once=50, retry_limit=0)
    await until(lambda: rule.left == 0, "four claims met the fault")
    final = await verdict()

    assert 100 == final.count("completed")


async def test_jobs_that_were_claimed_when_the_database_went_away_are_not_forgotten(
    sender, worker_through_proxy, proxy, journal, trunkline_url, verdict
):
    """The first job of a kind that a worker did not know at its start makes it ask for the name, after the claim: that question may fail."""
    rule = proxy.cut(sql="from trunkline.kind where kind_id", when="before", times=2)
    worker = await worker_through_proxy.start_worker(concurrency=10)
    worker._fetcher._kinds.clear()
    await sender.send_each("noop", 20, retry_limit=0)
    await until(lambda: rule.left == 0, "two questions met the fault")
    final = await verdict()

    assert 20 == final.count("completed")


@pytest.mark.parametrize("when", CUTS)
async def test_a_goodbye_that_is_cut_keeps_nobody_waiting(sender, worker_through_proxy, children, proxy, trunkline_url, verdict, when):
    """A session that could not be closed ends by itself."""
    await worker_through_proxy.start_worker(concurrency=10)
    rule = proxy.cut(sql="trunkline.close_session", when=when)
    await worker_through_proxy.close()
    await sender.send_each("noop", 50)
    await children.worker(trunkline_url).is_up()
    final = await verdict()

    assert 1 == rule.times_met
    assert 50 == final.count("completed")


async def test_a_sender_that_is_killed_leaves_whole_jobs_or_none(children, journal, trunkline_url, verdict):
    """What was accepted is there; what was under way is there entirely or not at all."""
    victim = await children.sender(trunkline_url, count=100_000, at_once=200, kind="effect").is_up()
    await journal.wait_for("accepted", 300, who=victim.name)
    victim.kill()
    await children.worker(trunkline_url, concurrency=50).is_up()
    final = await verdict()

    assert len(journal.of("accepted")) <= final.count("completed") <= len(journal.of("sent"))


@pytest.mark.parametrize("when", CUTS)
async def test_a_transaction_of_a_handler_that_is_cut_at_its_commit_takes_effect_once(
    sender, worker_through_proxy, proxy, journal, trunkline_url, verdict, when
):
    """Effect and completion commit together: the effect is there once for every job, whatever the handler was told."""
    await statements(trunkline_url, "create table public.effect (job_id uuid, attempt integer)")

    @worker_through_proxy.job("transactional", retry_delay=0.05, retry_backoff=False)
    async def transactional(job: Job) -> None:
        journal.note("started", job.id, job.attempt)
        conn = await asyncpg.connect(proxy.url)
        try:
            async with conn.transaction():
                await conn.execute("insert into public.effect values ($1, $2)", job.id, job.attempt)
                await job.complete(connection=conn)
                journal.note("done", job.id, job.attempt, ending="completed")
        finally:
            conn.terminate()

    rule = proxy.cut(sql="COMMIT", when=when, times=5)
    await worker_through_proxy.start_worker(concurrency=5)
    ids = await sender.send_each("transactional", 20)
    await until(lambda: sender.app.store.fetchval("select count(*) = 20 from trunkline.outcome"), "twenty jobs have ended")
    effects = [row[0] for row in await sender.app.store.fetch("select job_id from public.effect")]

    assert 5 == rule.times_met
    assert sorted(ids) == sorted(effects)


async def test_a_worker_with_the_smallest_pool_does_all_its_work(sender, children, trunkline_url, verdict):
    """Two connections for claims, acks, progress and names of a hundred jobs at once."""
    await children.worker(trunkline_url, concurrency=100, pool_max=2).is_up()
    await sender.send_each("flaky", 300, {"fails": 1}, at_once=100)
    await sender.send_each("effect", 300, at_once=100)
    final = await verdict()

    assert 600 == final.count("completed")
