"""Every ending but success: where the job goes, what is counted, when it comes back."""

from __future__ import annotations

import pytest

from trunkline.errors import InvalidInput
from trunkline.model import Policy, new_job
from trunkline.store import operate, work


async def delays(queue, clock, policy: Policy, **options) -> list[float]:
    """Fail a job until it ends; seconds before each retry."""
    await work.declare_kind(queue.store, queue.tenant_id, "work", policy)
    job_id = await queue.put(**options)
    waits: list[float] = []
    while await queue.settle(await queue.claim_one(), "failed") == "deferred":
        waits.append(await queue.due_in_s(job_id))
        await clock.forward(waits[-1] + 0.001)
        await queue.tick()
    assert "failed" == await queue.state(job_id)
    return waits


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), [2, 4, 8]),
        (Policy(retry_delay_s=60), [60, 120, 240]),
        (Policy(retry_delay_s=5), [5, 10, 20]),
        (Policy(retry_limit=4, retry_delay_s=7, retry_backoff=False), [7, 7, 7, 7]),
        (Policy(retry_limit=5, retry_delay_s=10, retry_max_delay_s=35), [10, 20, 35, 35, 35]),
        (Policy(retry_limit=2, retry_delay_s=0), [0, 0]),
        (Policy(retry_limit=0), []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "",
)
async def test_retries_wait_as_the_policy_says(queue, clock, policy, expected):
    """Doubled each time where asked, capped, limit + 1 attempts in all."""
    assert expected == pytest.approx(await delays(queue, clock, policy), abs=0.5)


async def test_a_jobs_own_options_win_over_its_kinds_policy(queue, clock):
    """Every field of the policy can be overridden by one job."""
    waits = await delays(
        queue, clock, Policy(retry_limit=9), retry_limit=3, retry_delay=10, retry_backoff=True, retry_max_delay=15, retry_jitter=0
    )

    assert [10, 15, 15] == pytest.approx(waits, abs=0.5)


async def test_jitter_adds_up_to_its_share_and_never_takes_away(queue):
    """So that a thousand jobs that failed together do not come back together."""
    rows = await queue.store.fetch("select trunkline.retry_delay_s(1, 100, true, 3600, 0.5) as s from generate_series(1, 500)")
    waits = [row["s"] for row in rows]

    assert 100 <= min(waits) < 110
    assert 140 < max(waits) <= 150


async def test_the_delay_of_a_very_late_retry_is_still_a_number(queue):
    """Two to the thousandth would not fit; the cap does."""
    assert 3600 == await queue.store.fetchval("select trunkline.retry_delay_s(1000, 2, true, 3600, 0)")


async def test_a_failure_is_counted_and_noted(queue):
    """The attempt keeps its error; the job waits."""
    job_id = await queue.put()
    next_ = await queue.settle(await queue.claim_one(), "failed", error='{"message": "boom"}')
    view = await queue.view(job_id)

    assert ("deferred", "retrying", 1, 1) == (next_, view.state, view.attempt, view.failures)
    assert [(1, "failed")] == await queue.endings(job_id)


async def test_a_timeout_counts_as_a_failure(queue):
    """A job that hangs must end some day."""
    job_id = await queue.put(retry_limit=0)

    assert "failed" == await queue.settle(await queue.claim_one(), "timed_out")
    assert [(1, "timed_out")] == await queue.endings(job_id)


async def test_a_lost_job_goes_back_at_once_and_is_counted(queue):
    """Its worker is gone; nothing says that the job was wrong, but a poison job must end."""
    job_id = await queue.put(retry_limit=1)
    first = await queue.settle(await queue.claim_one(), "lost")
    counted = (await queue.view(job_id)).failures
    second = await queue.settle(await queue.claim_one(), "lost")

    assert ("ready", 1, "failed") == (first, counted, second)
    assert [(1, "lost"), (2, "lost")] == await queue.endings(job_id)


async def test_fatal_ends_the_job_whatever_its_limit(queue):
    """No retry can mend it."""
    job_id = await queue.put(retry_limit=100)
    next_ = await queue.settle(await queue.claim_one(), "fatal", error='{"type": "Fail", "message": "bad address"}')
    view = await queue.view(job_id)

    assert ("failed", "failed", 1, "bad address") == (next_, view.state, view.failures, view.error["message"])


@pytest.mark.parametrize(("ending", "state"), [("snoozed", "scheduled"), ("retry_after", "retrying"), ("no_handler", "no_handler")])
async def test_endings_that_are_nobodys_fault_count_no_failure(queue, ending, state):
    """They may go on for ever: the limit is not touched."""
    job_id = await queue.put(retry_limit=0)
    next_ = await queue.settle(await queue.claim_one(), ending, delay_s=90)
    view = await queue.view(job_id)

    assert ("deferred", state, 0) == (next_, view.state, view.failures)
    assert 90 == pytest.approx(await queue.due_in_s(job_id), abs=1)
    assert [] == await queue.endings(job_id)


async def test_a_released_job_returns_to_its_place_in_line(queue):
    """It was never started, so nobody may have overtaken it."""
    first, second = await queue.put_plain(2)
    claimed = await queue.claim_one()
    next_ = await queue.settle(claimed, "released")
    again = await queue.claim(2)

    assert "ready" == next_
    assert [(first, claimed.ord, 2), (second, again[1].ord, 1)] == [(c.job_id, c.ord, c.attempt) for c in again]
    assert [] == await queue.endings(first)


async def test_a_release_tells_claimers_to_look_again(queue, sessions):
    """Their marks have passed the place."""
    heard: list[str] = []
    listener = await sessions.connect()
    await listener.add_listener("trunkline:signals", lambda *signal: heard.append(signal[3]))
    await queue.put()
    claimed = await queue.claim_one()
    await queue.settle(claimed, "released")
    await listener.execute("select 1")

    assert [f"rewind {queue.queue_id} {claimed.ord}"] == heard


async def test_a_lost_job_goes_to_the_end_of_the_line(queue):
    """Only a job that was not started keeps its place."""
    first, second = await queue.put_plain(2)
    await queue.settle(await queue.claim_one(), "lost")

    assert [second, first] == [c.job_id for c in await queue.claim(2)]


async def test_a_cancelled_attempt_ends_its_job(queue):
    """Cancelled is terminal and kept as an attempt."""
    job_id = await queue.put()

    assert "cancelled" == await queue.settle(await queue.claim_one(), "cancelled")
    assert ("cancelled", [(1, "cancelled")]) == (await queue.state(job_id), await queue.endings(job_id))


@pytest.mark.parametrize("ending", ["failed", "timed_out", "lost", "fatal", "snoozed", "retry_after", "released", "no_handler"])
async def test_once_a_cancel_was_asked_for_every_other_ending_is_cancelled(queue, ending):
    """A job that somebody wants gone does not come back."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await queue.cancel(job_id)

    assert "cancelled" == await queue.settle(claimed, ending, delay_s=1)
    assert ["outcome"] == await queue.homes(job_id)


async def test_success_wins_over_a_cancel_that_came_too_late(queue):
    """The work is done; saying otherwise would be untrue."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await queue.cancel(job_id)

    assert set() == await queue.complete(claimed)
    assert "completed" == await queue.state(job_id)


async def test_a_stale_report_changes_nothing(queue):
    """The fence protects the second attempt."""
    job_id = await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    await queue.claim_one()

    assert None is await queue.settle(first, "fatal")
    assert ("active", []) == (await queue.state(job_id), await queue.endings(job_id))


@pytest.mark.parametrize(
    "ending", ["failed", "timed_out", "lost", "fatal", "cancelled", "snoozed", "retry_after", "no_handler", "released"]
)
async def test_a_repeated_report_is_answered_as_the_first(queue, ending):
    """Its answer was lost and the job was not claimed since: it was written, and saying "lost" would be untrue."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    first = await queue.settle(claimed, ending, delay_s=60)
    homes, endings = await queue.homes(job_id), await queue.endings(job_id)

    assert first == await queue.settle(claimed, ending, delay_s=60)
    assert (homes, endings) == (await queue.homes(job_id), await queue.endings(job_id))


async def test_a_flush_that_names_a_job_twice_settles_it_once(queue):
    """The first report counts; the others of the flush are not harmed."""
    await queue.put_plain(2)
    one, other = await queue.claim(2)
    rows = await work.settle(
        queue.store,
        queue.tenant_id,
        [one.job_id, one.job_id, other.job_id],
        [1, 1, 1],
        ["failed", "failed", "failed"],
        [None] * 3,
        [None] * 3,
    )

    assert {one.job_id, other.job_id} == {row.job_id for row in rows}
    assert 2 == await queue.count("deferred")


async def test_one_flush_settles_every_ending_in_one_statement(queue):
    """Each job goes where its own ending sends it."""
    endings = ["failed", "fatal", "lost", "snoozed", "released", "cancelled", "timed_out", "retry_after", "no_handler"]
    await queue.put_plain(len(endings))
    claimed = await queue.claim(len(endings))
    rows = await work.settle(queue.store, queue.tenant_id, [c.job_id for c in claimed], [1] * 9, endings, ["{}"] * 9, [30.0] * 9)
    by_job = {row.job_id: row.next for row in rows}

    assert ["deferred", "failed", "ready", "deferred", "ready", "cancelled", "deferred", "deferred", "deferred"] == [
        by_job[c.job_id] for c in claimed
    ]


async def test_the_answer_says_when_a_retry_will_run(queue):
    """A gateway tells its worker nextRunAt."""
    await queue.put(retry_delay=50)
    claimed = await queue.claim_one()
    (row,) = await work.settle(queue.store, queue.tenant_id, [claimed.job_id], [1], ["failed"], [None], [None])

    assert row.run_at == (await queue.view(claimed.job_id)).run_at


async def test_an_unknown_ending_is_refused(queue):
    """A misspelt ending must not count as a failure in silence."""
    await queue.put()
    claimed = await queue.claim_one()

    with pytest.raises(InvalidInput):
        await queue.settle(claimed, "exploded")
    assert "active" == await queue.state(claimed.job_id)


@pytest.mark.parametrize("options", [{"retry_limit": 1.5}, {"retry_limit": 2.0}])
def test_a_retry_limit_that_is_no_integer_is_refused_at_the_door(options):
    """It would make every report of the job fail."""
    with pytest.raises(InvalidInput, match="retry_limit"):
        new_job("work", **options)


async def test_snoozing_for_ever_keeps_the_failures_of_before(queue, clock):
    """A failure that was counted stays counted."""
    job_id = await queue.put(retry_limit=1, retry_delay=1)
    await queue.settle(await queue.claim_one(), "failed")
    for _ in range(3):
        await clock.forward(5)
        await queue.tick()
        await queue.settle(await queue.claim_one(), "snoozed", delay_s=1)
    await clock.forward(5)
    await queue.tick()

    assert "failed" == await queue.settle(await queue.claim_one(), "failed")
    assert (5, 2) == ((await queue.view(job_id)).attempt, (await queue.view(job_id)).failures)


async def test_a_dead_letter_copy_is_made_when_the_job_fails_for_good(queue):
    """In the same transaction, with the same body, and it says where it came from."""
    job_id = await queue.put({"n": 1}, dead_letter="graveyard", retry_limit=1, retry_delay=0, user_id="ann")
    await queue.settle(await queue.claim_one(), "failed")
    before = await queue.count("job")
    await queue.tick()
    await queue.settle(await queue.claim_one(), "failed")
    row = await queue.store.fetchrow("select * from trunkline.jobs where queue = 'graveyard'")

    assert 1 == before
    assert ("work", "queued", "ann", '{"n":1}', 0) == (row["kind"], row["state"], row["user_id"], row["payload"], row["attempt"])
    assert str(job_id) in row["options"]


@pytest.mark.parametrize("ending", ["cancelled", "snoozed", "lost"])
async def test_no_other_ending_makes_a_dead_letter(queue, ending):
    """Only a failure for good is a dead letter."""
    await queue.put(dead_letter="graveyard")
    await queue.settle(await queue.claim_one(), ending, delay_s=1)

    assert 1 == await queue.count("job")


async def test_the_kinds_dead_letter_queue_is_used_and_a_copy_that_fails_there_stays(queue):
    """Copies do not breed."""
    await work.declare_kind(queue.store, queue.tenant_id, "work", Policy(dead_letter="graveyard"))
    await queue.put()
    await queue.settle(await queue.claim_one(), "fatal")
    ((_, grave_id, _),) = await work.open_lines(queue.store, queue.tenant_id, ["graveyard"])
    grave = type(queue)(queue.store, queue.tenant_id, grave_id, queue.session_id, "work")
    await grave.settle(await grave.claim_one(), "fatal")

    assert (2, 0, 2) == (await queue.count("job"), await queue.count("ready"), await queue.count("outcome"))


async def test_a_job_cancelled_in_line_keeps_its_failures_and_priority(queue, clock):
    """A retry by hand later starts from what was known."""
    job_id = await queue.put(priority=4)
    await queue.settle(await queue.claim_one(), "failed")
    await operate.cancel(queue.store, queue.tenant_id, [job_id], "no longer wanted")
    view = await queue.view(job_id)

    assert ("cancelled", 1, 1, 4, "no longer wanted") == (view.state, view.attempt, view.failures, view.priority, view.error["message"])
