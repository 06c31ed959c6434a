"""Workers that die, sleep or are told to go, while they hold jobs."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.sender import Sender
from tests.support.until import until
from trunkline import Trunkline
from trunkline.settings import Settings
from trunkline.store import sessions

RECOVERY_S = 40.0  # promised are 10 s; the rest is for a busy machine
ENDS_WITHIN_S = 40.0  # of a process whose database is away: three steps of 5 s, and a busy machine


async def test_jobs_of_a_killed_worker_run_again_elsewhere(sender, children, journal, gate, trunkline_url, verdict):
    """kill -9 in the middle of jobs costs time, not jobs."""
    victim = await children.worker(trunkline_url, concurrency=20).is_up()
    held = await sender.send_each("gated", 20, {"gate": str(gate)})
    await journal.wait_for("started", 20, who=victim.name)
    await children.worker(trunkline_url, concurrency=20).is_up()
    await sender.send_each("noop", 300)
    victim.kill()
    await journal.wait_for("started", 20, attempt=2, within_s=RECOVERY_S)
    gate.touch()
    states = [await sender.see(job_id) for job_id in held]
    final = await verdict()

    assert {"completed"} == set(states)
    assert 320 == final.count("completed")


async def test_jobs_survive_the_death_of_every_worker(sender, children, journal, gate, trunkline_url, verdict):
    """Nobody is left to notice; the next worker that starts does."""
    victims = [await children.worker(trunkline_url, concurrency=10).is_up() for _ in range(2)]
    held = await sender.send_each("gated", 15, {"gate": str(gate)})
    await journal.wait_for("started", 15)
    for victim in victims:
        victim.kill()
    await sender.send_each("effect", 200)
    await children.worker(trunkline_url, concurrency=20).is_up()
    await journal.wait_for("started", 15, attempt=2, within_s=RECOVERY_S)
    gate.touch()
    final = await verdict()

    assert {2} == {final.jobs[job_id].attempt for job_id in held}
    assert 215 == final.count("completed")


async def test_a_worker_that_slept_past_its_lease_is_refused_when_it_reports(sender, children, journal, gate, trunkline_url, verdict):
    """The fence decides: what the sleeper finished late changes nothing, and it is told so."""
    sleeper = await children.worker(trunkline_url, concurrency=10).is_up()
    held = await sender.send_each("gated", 10, {"gate": str(gate)})
    await journal.wait_for("started", 10, who=sleeper.name)
    sleeper.pause()
    rescuer = await children.worker(trunkline_url, concurrency=20).is_up()
    await journal.wait_for("started", 10, attempt=2, who=rescuer.name, within_s=RECOVERY_S)
    gate.touch()
    await journal.wait_for("acked", 10, what="completed", attempt=2)
    sleeper.wake()
    await journal.wait_for("acked", 10, who=sleeper.name, attempt=1)
    rescuer.kill()
    await sender.send_each("noop", 100)
    await journal.wait_for("acked", 100, what="completed", who=sleeper.name)  # it works again, under a new session
    final = await verdict()

    assert {2} == {final.jobs[job_id].attempt for job_id in held}
    assert {"lost"} == {fact.more["what"] for fact in journal.of("acked", who=sleeper.name, attempt=1) if fact.job in held}


async def test_a_sleeper_starts_nothing_from_before_its_sleep(sender, children, journal, trunkline_url, verdict):
    """Jobs that were claimed ahead and not started belong to others when their process wakes up."""
    sleeper = await children.worker(trunkline_url, concurrency=1).is_up()
    await sender.send_each("noop", 4000, at_once=400)
    await journal.wait_for("started", 500, who=sleeper.name)
    sleeper.pause()
    await children.worker(trunkline_url, concurrency=50).is_up()
    await wait_until_nothing_is_leased_to(sender, sleeper.session_id)
    sleeper.wake()
    final = await verdict(pauses=1)

    assert 4000 == final.count("completed")


async def test_a_graceful_shutdown_under_load_fails_no_job(sender, children, journal, trunkline_url, verdict):
    """What did not start is handed back; jobs that may not be retried even once show that no failure was counted."""
    await sender.send_each("noop", 1500, at_once=200, retry_limit=0)
    await sender.send_each("slow", 40, {"seconds": 0.2}, retry_limit=0)
    leaver = await children.worker(trunkline_url, concurrency=10, shutdown_timeout=5).is_up()
    await journal.wait_for("acked", 300)
    await leaver.terminate()
    (stopped,) = journal.of("stopped", who=leaver.name)
    await children.worker(trunkline_url, concurrency=50).is_up()
    final = await verdict()

    assert 0 == stopped.more["unflushed"]
    assert 1540 == final.count("completed")
    assert {1} == set(final.attempts().values())


async def test_a_shutdown_in_the_middle_of_a_claim_hands_the_claimed_jobs_back(
    sender, worker_through_proxy, proxy, children, journal, trunkline_url, verdict
):
    """The database has given jobs that the worker never saw: they are not counted as failed, and nobody waits for them."""
    await worker_through_proxy.start_worker(concurrency=50)
    held = proxy.hold(sql="trunkline.claim(", when="after")
    await sender.send_each("noop", 30, retry_limit=0)
    await asyncio.to_thread(held.met.wait, 30)
    stopping = asyncio.create_task(worker_through_proxy.stop_worker(1.0))
    await asyncio.sleep(0)
    held.release()
    await stopping
    await worker_through_proxy.close()
    await children.worker(trunkline_url).is_up()
    final = await verdict()

    assert 30 == final.count("completed")


async def test_a_worker_whose_session_ended_is_woken_by_signals_again(sender, worker_through_proxy):
    """Its new session must say on what it sleeps, or every later job waits for the poll."""
    worker = await worker_through_proxy.start_worker()
    first = worker._heart.session_id
    await until_asleep(sender, first)
    await sessions.close_session(sender.app.store, first)

    assert await until_asleep(sender, first, other_than=True) != first


async def test_a_cancel_outlives_the_worker_it_was_sent_to(sender, children, journal, gate, trunkline_url, verdict):
    """Jobs whose worker dies after somebody cancelled them end cancelled and never run again."""
    victim = await children.worker(trunkline_url, concurrency=10).is_up()
    held = await sender.send_each("gated", 10, {"gate": str(gate)})
    await journal.wait_for("started", 10)
    victim.pause()
    for job_id in held:
        assert await sender.app.cancel(job_id)
    victim.kill()
    await children.worker(trunkline_url, concurrency=10).is_up()
    states = [await sender.see(job_id) for job_id in held]
    final = await verdict()

    assert ["cancelled"] * 10 == states
    assert {1} == set(final.attempts().values())


@pytest.mark.private_server
async def test_a_worker_that_is_told_to_go_while_the_database_is_away_goes(server, children, journal, gate, server_verdict):
    """Its reports cannot be written: it says so and ends in time, and the jobs run again."""
    async with Trunkline(settings=Settings.load({}, database_url=server.url)) as app:
        sender = Sender(app, journal)
        leaver = await children.worker(server.url, concurrency=10, shutdown_timeout=1).is_up()
        held = await sender.send_each("gated", 10, {"gate": str(gate)}, retry_limit=1)
        await journal.wait_for("started", 10)
        await server.crash()
        gate.touch()
        await journal.wait_for("done", 10)
        await leaver.terminate(within_s=ENDS_WITHIN_S)
        await server.start()
        await children.worker(server.url, concurrency=10).is_up()
        final = await server_verdict()
    (stopped,) = journal.of("stopped", who=leaver.name)

    assert 10 == stopped.more["unflushed"]
    assert {2} == {final.jobs[job_id].attempt for job_id in held}


async def test_a_worker_that_is_told_to_go_while_the_network_is_frozen_goes(sender, proxy, children, journal, gate, trunkline_url, verdict):
    """Nothing answers and nothing closes: every step of the shutdown has its bound."""
    leaver = await children.worker(proxy.url, concurrency=10, shutdown_timeout=1).is_up()
    held = await sender.send_each("gated", 10, {"gate": str(gate)}, retry_limit=1)
    await journal.wait_for("started", 10)
    proxy.freeze()
    gate.touch()
    await journal.wait_for("done", 10)
    await leaver.terminate(within_s=ENDS_WITHIN_S)
    await children.worker(trunkline_url, concurrency=10).is_up()
    final = await verdict()

    assert {2} == {final.jobs[job_id].attempt for job_id in held}


async def wait_until_nothing_is_leased_to(sender, session_id):
    async def gone():
        return await sender.app.store.fetchval("select not exists (select from trunkline.lease where session_id = $1)", session_id)

    await until(gone, f"no lease of session {session_id}", within_s=RECOVERY_S)


async def until_asleep(sender, session_id, *, other_than=False):
    async def asleep():
        return await sender.app.store.fetchval(
            "select session_id from trunkline.session where (session_id = $1) <> $2 and asleep_on <> '{}' and dead_at is null",
            session_id,
            other_than,
        )

    return await until(asleep, "a session that says on what it sleeps")
