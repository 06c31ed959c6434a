"""What people do to jobs and queues: cancel, retry by hand, redrive, reschedule, reprioritise, pause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from trunkline.errors import InvalidInput
from trunkline.model import new_job
from trunkline.store import operate, read

# -- cancel ----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"delay": 60}])
async def test_a_job_that_has_not_started_is_cancelled_at_once(queue, options):
    """From the line and from the wait."""
    job_id = await queue.put(**options)

    assert "cancelled" == await queue.cancel(job_id)
    assert ["outcome"] == await queue.homes(job_id)
    assert ("cancelled", None, "test") == ((v := await queue.view(job_id)).state, v.started_at, v.error["message"])


async def test_a_running_job_is_asked_and_stays_active(queue, sessions):
    """Its worker is told by signal and by its next tick."""
    heard: list[str] = []
    listener = await sessions.connect()
    await listener.add_listener("trunkline:signals", lambda *signal: heard.append(signal[3]))
    job_id = await queue.put()
    await queue.claim_one()
    answer = await queue.cancel(job_id)
    tick = await queue.tick()
    await listener.execute("select 1")

    assert ("requested", "active") == (answer, await queue.state(job_id))
    assert [f"{job_id} 1"] == tick.cancels  # what older code reads
    assert [(queue.tenant_id, job_id, 1)] == tick.cancelled
    assert [f"cancel {queue.session_id} {job_id} 1 {queue.tenant_id}"] == heard


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
async def test_cancelling_what_has_ended_changes_nothing(queue, ending):
    """A terminal state is final."""
    job_id = await queue.put()
    await queue.end(job_id, ending)

    assert "terminal" == await queue.cancel(job_id)
    assert ending == await queue.state(job_id)


async def test_cancelling_many_answers_for_each(queue, store):
    """Unknown and foreign jobs are missing from the answer."""
    theirs = await type(queue).open(store, tenant="other")
    foreign, unknown = await theirs.put(), uuid4()
    done, running, waiting = [await queue.put() for _ in range(3)]
    claimed = await queue.claim(2)
    await queue.complete(claimed[0])
    answers = await operate.cancel(store, queue.tenant_id, [foreign, unknown, done, running, waiting, waiting], "why")

    assert {done: "terminal", running: "requested", waiting: "cancelled"} == answers
    assert "queued" == await theirs.state(foreign)


async def test_a_second_cancel_of_a_running_job_does_not_give_it_more_time(queue, clock):
    """The 10 s count from the first."""
    job_id = await queue.put()
    await queue.claim_one()
    await queue.cancel(job_id)
    await clock.forward(8)
    await queue.cancel(job_id)
    await clock.forward(8)
    await queue.rescue()

    assert "cancelled" == await queue.state(job_id)


# -- retry by hand, redrive ------------------------------------------------------------


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
async def test_a_job_that_ended_badly_goes_back_in_line(queue, ending):
    """Same id, failures 0, its outcome set aside as an attempt."""
    job_id = await queue.put({"n": 1}, priority=6)
    await queue.end(job_id, ending)
    went = await queue.retry(job_id)
    view = await queue.view(job_id)

    assert ({job_id}, "queued", 0, 6) == (went, view.state, view.failures, view.priority)
    assert [ending] == [ending for _, ending in await queue.endings(job_id)]
    assert ["ready"] == await queue.homes(job_id)


async def test_the_attempt_goes_on_counting_after_a_retry_by_hand(queue):
    """An attempt number never repeats: the fence outlives the outcome."""
    job_id = await queue.put(retry_limit=1, retry_delay=0)
    await queue.settle(await queue.claim_one(), "failed")
    await queue.tick()
    last = await queue.claim_one()
    await queue.settle(last, "failed")
    await queue.retry(job_id)
    again = await queue.claim_one()

    assert (2, 3, 0) == (last.attempt, again.attempt, again.failures)
    assert {job_id} == await queue.complete(last)
    assert set() == await queue.complete(again)
    assert [(1, "failed"), (2, "failed")] == await queue.endings(job_id)


@pytest.mark.parametrize("state", ["queued", "scheduled", "active", "completed"])
async def test_other_states_are_not_retryable(queue, state):
    """Only what ended failed or cancelled goes back."""
    job_id = await queue.put(**({"delay": 60} if state == "scheduled" else {}))
    if state in ("active", "completed"):
        claimed = await queue.claim_one()
    if state == "completed":
        await queue.complete(claimed)

    assert set() == await queue.retry(job_id)
    assert state == await queue.state(job_id)


async def test_a_job_can_fail_and_be_retried_again_and_again(queue):
    """Each outcome is set aside."""
    job_id = await queue.put(retry_limit=0)
    for _ in range(4):
        await queue.settle(await queue.claim_one(), "failed")
        await queue.retry(job_id)

    assert [(n, "failed") for n in (1, 2, 3, 4)] == await queue.endings(job_id)


async def test_a_queued_job_can_be_cancelled_and_retried_again_and_again(queue):
    """Without any attempt between."""
    job_id = await queue.put()
    for _ in range(3):
        await queue.cancel(job_id)
        assert {job_id} == await queue.retry(job_id)

    assert [(0, "cancelled")] * 3 == await queue.endings(job_id)


async def test_another_tenant_cannot_retry_it(queue, store):
    """The tenant comes first."""
    theirs = await type(queue).open(store, tenant="other")
    job_id = await queue.put()
    await queue.end(job_id, "failed")

    assert set() == await theirs.retry(job_id)
    assert "failed" == await queue.state(job_id)


async def test_redrive_takes_the_oldest_failures_that_fit_its_filter(queue, clock):
    """By queue, by kind, up to a limit; cancelled jobs are no dead letters."""
    made = {}
    for name, options in {"a1": {"queue": "a"}, "b1": {"queue": "b"}, "a2": {"queue": "a"}, "a3": {"queue": "a"}}.items():
        made[name] = await queue.put(**options)
    cancelled = await queue.put(queue="a")
    await queue.cancel(cancelled)
    for name in ("a2", "a1", "b1", "a3"):
        await clock.forward(1)
        await queue.store.fetch("select trunkline.cancel_queued($1, $2, 'x')", queue.tenant_id, [made[name]])
    await queue.store.fetch("update trunkline.outcome set state = 2 where job_id <> $1", cancelled)
    count = await operate.redrive(queue.store, queue.tenant_id, "a", "work", 2)
    states = {name: await queue.state(job_id) for name, job_id in made.items()}

    assert (2, {"a2": "queued", "a1": "queued", "a3": "failed", "b1": "failed"}) == (count, states)
    assert 0 == await operate.redrive(queue.store, queue.tenant_id, "a", "other-kind", 10)
    assert 2 == await operate.redrive(queue.store, queue.tenant_id, None, None, 10)


async def test_redriving_at_most_nothing_is_nothing(queue):
    """A negative limit is no error of the database."""
    await queue.end(await queue.put(), "failed")

    assert [0, 0] == [await operate.redrive(queue.store, queue.tenant_id, None, None, limit) for limit in (0, -1)]


# -- reschedule -----------------------------------------------------------------------


async def test_a_queued_job_can_be_put_off(queue, clock):
    """And comes back when it is due."""
    job_id = await queue.put()
    moved = await operate.reschedule(queue.store, queue.tenant_id, job_id, datetime.now(UTC) + timedelta(seconds=100))
    state = await queue.state(job_id)
    await clock.forward(101)
    await queue.tick()

    assert (True, "scheduled") == (moved, state)
    assert job_id == (await queue.claim_one()).job_id


async def test_a_waiting_job_can_be_brought_forward_to_now(queue):
    """A time that is past means now."""
    job_id = await queue.put(delay=1000)
    moved = await operate.reschedule(queue.store, queue.tenant_id, job_id, datetime.now(UTC) - timedelta(seconds=1))

    assert (True, ["ready"]) == (moved, await queue.homes(job_id))


async def test_rescheduling_to_the_past_leaves_a_queued_job_in_its_place(queue):
    """It was due already."""
    first, second = await queue.put_plain(2)

    assert await operate.reschedule(queue.store, queue.tenant_id, first, datetime.now(UTC))
    assert [first, second] == [c.job_id for c in await queue.claim(2)]


@pytest.mark.parametrize("ending", ["completed", None])
async def test_a_job_that_runs_or_has_ended_is_not_rescheduled(queue, ending):
    """Only what has not started has a time."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    if ending:
        await queue.complete(claimed)

    assert not await operate.reschedule(queue.store, queue.tenant_id, job_id, datetime.now(UTC) + timedelta(hours=1))


async def test_a_job_cannot_be_put_off_for_ever(queue):
    """A null time would leave it to an event that never comes."""
    job_id = await queue.put(delay=5)

    with pytest.raises(InvalidInput, match="run_at"):
        await operate.reschedule(queue.store, queue.tenant_id, job_id, None)
    assert 5 == pytest.approx(await queue.due_in_s(job_id), abs=2)


# -- reprioritise ---------------------------------------------------------------------


async def test_a_new_priority_counts_at_once_and_keeps_the_place_within_it(queue, sessions):
    """Claimers whose marks have passed the place are told."""
    heard: list[str] = []
    listener = await sessions.connect()
    await listener.add_listener("trunkline:signals", lambda *signal: heard.append(signal[3]))
    ids = await queue.put_plain(4)
    first_high = await queue.put(priority=50)
    count = await operate.reprioritize(queue.store, queue.tenant_id, [ids[3], ids[2]], 50)
    await listener.execute("select 1")
    claimed = await queue.claim(10)

    assert (2, [ids[2], ids[3], first_high, ids[0], ids[1]]) == (count, [c.job_id for c in claimed])
    assert [f"rewind {queue.queue_id} {claimed[0].ord}"] == heard


async def test_a_waiting_job_takes_its_new_priority_with_it(queue, clock):
    """The wait does not undo it."""
    low, raised = await queue.put(), await queue.put(delay=10)
    await operate.reprioritize(queue.store, queue.tenant_id, [raised], 9)
    await clock.forward(11)
    await queue.tick()

    assert [raised, low] == [c.job_id for c in await queue.claim(2)]


@pytest.mark.parametrize("priority", [-1, 101])
async def test_a_priority_out_of_range_is_refused(queue, priority):
    """0 to 100, higher first."""
    job_id = await queue.put()

    with pytest.raises(InvalidInput, match="priority"):
        await operate.reprioritize(queue.store, queue.tenant_id, [job_id], priority)


async def test_a_running_job_has_no_priority_to_change(queue):
    """It was served."""
    job_id = await queue.put()
    await queue.claim_one()

    assert 0 == await operate.reprioritize(queue.store, queue.tenant_id, [job_id, uuid4()], 5)


# -- pause ----------------------------------------------------------------------------


async def test_pausing_twice_says_that_it_was_paused(queue):
    """True: it was in the other state."""
    answers = [await operate.pause_queue(queue.store, queue.tenant_id, "work", paused) for paused in (True, True, False, False)]

    assert [True, False, True, False] == answers


async def test_a_paused_queue_still_takes_jobs_and_finishes_what_runs(queue):
    """Only claims stop."""
    await queue.put()
    claimed = await queue.claim_one()
    await operate.pause_queue(queue.store, queue.tenant_id, "work", True)
    waiting = await queue.put()
    tick = await queue.tick()

    assert set() == await queue.complete(claimed)
    assert ("queued", None, []) == (await queue.state(waiting), tick.work, await queue.claim(1))


async def test_resuming_wakes_the_sleepers(queue, sessions):
    """They were not told of what came meanwhile."""
    heard: list[str] = []
    listener = await sessions.connect()
    await listener.add_listener("trunkline:signals", lambda *signal: heard.append(signal[3]))
    await queue.store.fetch("select trunkline.sleep_on($1, $2)", queue.session_id, [queue.queue_id])
    await operate.pause_queue(queue.store, queue.tenant_id, "work", True)
    await operate.pause_queue(queue.store, queue.tenant_id, "work", False)
    await listener.execute("select 1")

    assert [f"wake {queue.queue_id}"] == heard


async def test_a_queue_of_another_tenant_with_the_same_name_goes_on(queue, store):
    """Pausing is the tenant's own affair."""
    theirs = await type(queue).open(store, tenant="other")
    await operate.pause_queue(store, queue.tenant_id, "work", True)
    job_id = await theirs.put()

    assert job_id == (await theirs.claim_one()).job_id


async def test_a_queue_can_be_paused_before_it_is_used(queue):
    """And its name is checked."""
    await operate.pause_queue(queue.store, queue.tenant_id, "new", True)

    assert "new" in {view.name for view in await read.queues(queue.store, queue.tenant_id) if view.paused_at}
    with pytest.raises(InvalidInput):
        await operate.pause_queue(queue.store, queue.tenant_id, "a/b", True)


async def test_the_counts_of_a_queue_are_those_of_its_tables(queue):
    """What `queues` shows."""
    for job in [new_job("work", n) for n in range(6)]:
        await queue.put_jobs([job])
    await queue.put(delay=60)
    claimed = await queue.claim(3)
    await queue.complete(claimed[0])
    await queue.settle(claimed[1], "fatal")
    (view,) = await read.queues(queue.store, queue.tenant_id)

    assert ("work", None, 3, 1, 1, 1) == (view.name, view.paused_at, view.ready, view.deferred, view.active, view.failed)
