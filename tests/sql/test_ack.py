"""Reporting success: the fence, repeats, and what an outcome keeps."""

from __future__ import annotations

from uuid import uuid4

import pytest

from trunkline.store import work


async def test_a_repeated_ack_is_answered_as_the_first(queue):
    """The answer was lost, the outcome is there, by the same attempt: it was accepted."""
    await queue.put()
    claimed = await queue.claim_one()
    answers = [await queue.complete(claimed, result='{"n": 1}'), await queue.complete(claimed, result='{"n": 2}')]

    assert [set(), set()] == answers
    assert {"n": 1} == (await queue.view(claimed.job_id)).result
    assert 1 == await queue.count("outcome")


async def test_an_ack_by_an_attempt_that_never_was_is_refused(queue):
    """Guessing the next attempt does not help."""
    await queue.put()
    claimed = await queue.claim_one()

    assert {claimed.job_id} == await queue.complete(claimed._replace(attempt=2))
    assert "active" == await queue.state(claimed.job_id)


async def test_an_ack_of_a_job_that_does_not_exist_is_refused(queue):
    """An unknown id is as stale as a lost lease."""
    unknown = uuid4()

    assert {unknown} == await work.ack_completed(queue.store, queue.tenant_id, [unknown], [1], [None])


async def test_an_ack_of_another_tenants_job_is_refused(queue, store):
    """The tenant is part of the fence."""
    await queue.put()
    claimed = await queue.claim_one()
    theirs = await type(queue).open(store, tenant="other")

    assert {claimed.job_id} == await theirs.complete(claimed)
    assert "active" == await queue.state(claimed.job_id)


async def test_an_ack_of_a_job_that_ended_otherwise_is_refused(queue):
    """Completed is recorded by the attempt that won, or not at all."""
    await queue.put()
    claimed = await queue.claim_one()
    await queue.settle(claimed, "fatal")

    assert {claimed.job_id} == await queue.complete(claimed)
    assert "failed" == await queue.state(claimed.job_id)


async def test_one_flush_tells_the_stale_from_the_good(queue):
    """A stale report among good ones is named, and the good ones count."""
    await queue.put_plain(5)
    claimed = await queue.claim(5)
    await queue.settle(claimed[2], "released")
    stale = await queue.complete(*claimed)

    assert {claimed[2].job_id} == stale
    assert 4 == await queue.count("outcome")
    assert ["ready"] == await queue.homes(claimed[2].job_id)


async def test_a_flush_that_names_a_job_twice_records_it_once(queue):
    """A worker that says everything twice does no harm to the others of its flush."""
    await queue.put_plain(2)
    claimed = await queue.claim(2)
    stale = await queue.complete(*claimed, *claimed)

    assert set() == stale
    assert 2 == await queue.count("outcome")


async def test_a_flush_with_an_old_and_the_current_attempt_of_a_job_keeps_the_current_one(queue):
    """Both reports of one job in one statement: the fence tells them apart."""
    await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    second = await queue.claim_one()
    stale = await work.ack_completed(
        queue.store, queue.tenant_id, [first.job_id, second.job_id], [first.attempt, second.attempt], ['"old"', '"new"']
    )

    assert {first.job_id} == stale
    assert "new" == (await queue.view(first.job_id)).result


async def test_an_ack_after_the_deadline_but_before_rescue_succeeds(queue, clock):
    """Time decides who may take a lease away; the row decides who did."""
    await queue.put(timeout=5)
    claimed = await queue.claim_one()
    await clock.forward(60)

    assert set() == await queue.complete(claimed)
    assert "completed" == await queue.state(claimed.job_id)


async def test_the_outcome_keeps_result_times_and_the_last_progress(queue, clock):
    """What people ask about a finished job."""
    await queue.put()
    claimed = await queue.claim_one()
    await work.save_progress(queue.store, queue.tenant_id, [claimed.job_id], [1], ['{"percentage": 80}'])
    await clock.forward(10)
    await queue.complete(claimed, result='["a", null]')
    view = await queue.view(claimed.job_id)

    assert ("completed", ["a", None], {"percentage": 80}, 1) == (view.state, view.result, view.progress, view.attempt)
    assert 10 == pytest.approx((view.finished_at - view.started_at).total_seconds(), abs=2)


async def test_ending_thousands_of_watched_jobs_in_one_flush_stays_under_the_limit_of_a_signal(queue, sessions):
    """A signal carries at most 8,000 bytes; ids are spread over several."""
    listener = await sessions.connect()
    heard: list[str] = []
    await listener.add_listener("trunkline:signals", lambda *signal: heard.append(signal[3]))
    await queue.store.fetch("select trunkline.watch($1, $2)", queue.session_id, [queue.tenant_id])
    await queue.put_plain(400)
    await queue.complete(*await queue.claim(400))
    await listener.execute("select 1")

    assert 400 == sum(len(signal.split(" ")) - 2 for signal in heard)
    assert max(len(signal) for signal in heard) < 8000
