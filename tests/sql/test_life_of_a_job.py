"""The moves of a job, in SQL alone."""

from __future__ import annotations


async def test_a_job_goes_from_line_to_lease_to_outcome(queue):
    """The plain life: one table at a time."""
    job_id = await queue.put({"n": 1})
    places = [await queue.homes(job_id)]
    claimed = await queue.claim_one()
    places.append(await queue.homes(job_id))
    stale = await queue.complete(claimed, result='{"ok": true}')
    places.append(await queue.homes(job_id))

    assert set() == stale
    assert [["ready"], ["lease"], ["outcome"]] == places
    assert "completed" == await queue.state(job_id)


async def test_a_late_ack_is_refused_after_the_job_was_claimed_again(queue):
    """The fence protects the second attempt from the first."""
    job_id = await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    second = await queue.claim_one()

    assert (1, 2) == (first.attempt, second.attempt)
    assert {job_id} == await queue.complete(first)
    assert "active" == await queue.state(job_id)
    assert set() == await queue.complete(second)
