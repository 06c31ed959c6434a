"""Signals only save time: without any of them work flows by looking, and waits return."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.support.sender import Sender
from tests.support.until import until
from trunkline import Trunkline
from trunkline.settings import Settings

WATCHED = "select exists (select from trunkline.session where watches <> '{}' and dead_at is null)"
NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"


@pytest.fixture
async def deaf_sender(proxy, journal):
    """A sender that waits for endings through a proxy that swallows notifications."""
    proxy.mute()
    async with Trunkline(settings=Settings.load({}, database_url=proxy.url)) as app:
        yield Sender(app, journal)


async def test_work_flows_and_waits_return_when_every_notification_is_lost(deaf_sender, children, proxy, journal, trunkline_url, verdict):
    """Both ends listen, and nothing ever comes."""
    await children.worker(proxy.url, concurrency=10).is_up()
    states = []
    for _ in range(3):  # one after another: each finds a worker that has gone to sleep again
        states.append(await deaf_sender.see(await deaf_sender.send("noop")))
    ids = await deaf_sender.send_each("flaky", 40, {"fails": 1})
    states += await asyncio.gather(*(deaf_sender.see(job_id) for job_id in ids))
    final = await verdict()

    assert ["completed"] * 43 == states
    assert 43 == final.count("completed")


async def test_work_flows_when_nobody_can_listen(sender, children, trunkline_url, verdict):
    """The LISTEN connection cannot be made at all, and everything else can."""
    await children.worker(trunkline_url, concurrency=10, listen_url=NOBODY).is_up()
    for _ in range(3):
        await sender.see(await sender.send("noop"))
    await sender.send_each("noop", 200)
    final = await verdict()

    assert 203 == final.count("completed")


async def test_a_cancel_reaches_its_job_when_the_signal_is_lost(deaf_sender, children, proxy, journal, gate, trunkline_url, verdict):
    """The tick brings what the notification should have brought."""
    await children.worker(proxy.url, concurrency=10).is_up()
    job_id = await deaf_sender.send("gated", {"gate": str(gate)})
    await journal.wait_for("started")
    await deaf_sender.app.cancel(job_id)
    state = await deaf_sender.see(job_id)
    final = await verdict()

    assert "cancelled" == state
    assert {job_id: 1} == final.attempts()


async def test_an_old_snapshot_held_for_the_whole_run_stops_nothing(sender, children, journal, trunkline_url, verdict):
    """Vacuum can clean nothing behind it: claims start behind their marks, and late commits are still found."""
    conn = await asyncpg.connect(trunkline_url)
    try:
        async with conn.transaction(isolation="repeatable_read"):
            await conn.fetchval("select count(*) from trunkline.job")
            await conn.fetchval("select pg_current_xact_id()")  # a writer's: it holds back the safe mark too
            for _ in range(2):
                await children.worker(trunkline_url, concurrency=50).is_up()
            await sender.send_each("noop", 1500, at_once=200)
            await sender.send_each("flaky", 50, {"fails": 2})
            await journal.wait_for("acked", 1500)
            final = await verdict()
    finally:
        await conn.close()

    assert 1550 == final.count("completed")


async def test_a_job_that_commits_long_after_its_place_was_taken_is_found(sender, children, journal, trunkline_url, verdict):
    """Its place in line is behind every mark when it appears; no signal says so."""
    await children.worker(trunkline_url, concurrency=10).is_up()
    conn = await asyncpg.connect(trunkline_url)
    try:
        transaction = conn.transaction()
        await transaction.start()
        late = await sender.send("noop", connection=conn)
        await sender.send_each("noop", 300, at_once=20)
        await journal.wait_for("acked", 300)
        await until(lambda: has_slept(sender), "the worker sleeps")
        await transaction.commit()
    finally:
        await conn.close()
    state = await sender.see(late)
    await verdict()

    assert "completed" == state


async def test_a_waiter_whose_session_ended_hears_of_the_ending(sender, children, journal, gate, trunkline_url, verdict):
    """What it watched is forgotten with its session; it says it again, and looks by itself meanwhile."""
    await children.worker(trunkline_url, concurrency=10).is_up()
    job_id = await sender.send("gated", {"gate": str(gate)})
    watching = asyncio.create_task(sender.see(job_id))
    await until(lambda: sender.app.store.fetchval(WATCHED), "the waiter's session watches its tenant")
    await sender.app.store.fetch("update trunkline.session set dead_at = clock_timestamp(), watches = '{}' where watches <> '{}'")
    await until(lambda: sender.app.store.fetchval(WATCHED), "a new session watches it")
    gate.touch()
    state = await watching
    await verdict()

    assert "completed" == state


async def has_slept(sender):
    return await sender.app.store.fetchval("select exists (select from trunkline.session where asleep_on <> '{}')")
