"""What a running handler writes: progress, checkpoints, log lines, and the fence before each."""

from __future__ import annotations

from uuid import uuid4

from trunkline.store import read, work


async def log(queue, claimed, *messages: str, attempt: int | None = None) -> None:
    """Add lines as one flush of the reporter does."""
    n = len(messages)
    attempts = [claimed.attempt if attempt is None else attempt] * n
    await work.add_log(queue.store, queue.tenant_id, [claimed.job_id] * n, attempts, ["info"] * n, messages, [None] * n)


async def messages(queue, job_id) -> list[str]:
    """The log of a job."""
    return [row["message"] for row in await read.log(queue.store, queue.tenant_id, job_id)]


async def test_progress_is_kept_while_the_lease_holds(queue):
    """Of many jobs in one statement, the latest of each."""
    await queue.put_plain(3)
    claimed = await queue.claim(3)
    ids = [c.job_id for c in claimed]
    for percent in (10, 20):
        held = await work.save_progress(queue.store, queue.tenant_id, ids, [1, 1, 1], [f'{{"percentage": {percent}}}'] * 3)

    assert set(ids) == held
    assert [{"percentage": 20}] * 3 == [(await queue.view(job_id)).progress for job_id in ids]


async def test_progress_never_moves_a_deadline(queue):
    """A job that only says that it is alive still ends at its deadline."""
    job_id = await queue.put()
    await queue.claim_one()
    before = (await queue.view(job_id)).deadline
    await work.save_progress(queue.store, queue.tenant_id, [job_id], [1], ["{}"])

    assert before == (await queue.view(job_id)).deadline


async def test_progress_of_a_lost_attempt_changes_nothing(queue):
    """It is answered as not held."""
    job_id = await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    await queue.claim_one()
    held = await work.save_progress(queue.store, queue.tenant_id, [job_id, uuid4()], [1, 1], ['{"percentage": 99}'] * 2)

    assert (set(), None) == (held, (await queue.view(job_id)).progress)


async def test_a_new_attempt_starts_without_the_progress_of_the_last(queue):
    """Progress is of an attempt."""
    job_id = await queue.put()
    first = await queue.claim_one()
    await work.save_progress(queue.store, queue.tenant_id, [job_id], [1], ['{"percentage": 99}'])
    await queue.settle(first, "released")
    await queue.claim_one()

    assert None is (await queue.view(job_id)).progress


async def test_the_progress_of_a_failed_job_is_kept_in_its_outcome(queue):
    """How far did it come?"""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await work.save_progress(queue.store, queue.tenant_id, [job_id], [1], ['{"percentage": 60}'])
    await queue.settle(claimed, "fatal")

    assert {"percentage": 60} == (await queue.view(job_id)).progress


async def test_a_checkpoint_is_read_by_the_next_attempt(queue):
    """The last one counts."""
    job_id = await queue.put()
    first = await queue.claim_one()
    saved = [await work.save_checkpoint(queue.store, queue.tenant_id, job_id, 1, value) for value in ('{"row": 1}', '{"row": 2}')]
    await queue.settle(first, "lost")
    await queue.claim_one()

    assert [True, True] == saved
    assert '{"row": 2}' == await work.checkpoint(queue.store, queue.tenant_id, job_id)


async def test_a_checkpoint_of_a_lost_attempt_is_refused(queue):
    """A late writer must not move its successor back."""
    job_id = await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    await queue.claim_one()

    assert not await work.save_checkpoint(queue.store, queue.tenant_id, job_id, 1, "1")
    assert not await work.save_checkpoint(queue.store, queue.tenant_id, job_id, 3, "1")
    assert None is await work.checkpoint(queue.store, queue.tenant_id, job_id)


async def test_a_checkpoint_waits_for_a_rescue_that_is_just_taking_the_lease(queue, sessions):
    """Whoever has the row decides; the loser is told."""
    job_id = await queue.put()
    await queue.claim_one()
    rescuing, saving = await sessions.connect(), await sessions.connect()
    transaction = rescuing.transaction()
    await transaction.start()
    await rescuing.fetch("select * from trunkline.settle($1, $2, '{1}', '{lost}', array[null]::json[], '{0}')", queue.tenant_id, [job_id])
    save = sessions.start(saving.fetchval("select trunkline.save_checkpoint($1, $2, 1, '1')", queue.tenant_id, job_id))
    await sessions.blocked(saving)
    await transaction.commit()

    assert False is await save


async def test_log_lines_are_kept_in_their_order(queue):
    """With their attempt, level and fields."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await work.add_log(queue.store, queue.tenant_id, [job_id] * 2, [1, 1], ["info", "error"], ["first", "x" * 20_000], ['{"n": 1}', None])
    await queue.complete(claimed)
    rows = await read.log(queue.store, queue.tenant_id, job_id)

    assert [(1, "info", "first", {"n": 1}), (1, "error", "x" * 10_000, None)] == [
        (row["attempt"], row["level"], row["message"], row["fields"]) for row in rows
    ]


async def test_a_line_that_waited_in_a_buffer_while_its_attempt_ended_is_kept(queue):
    """It says which attempt wrote it, and overwrites nothing."""
    job_id = await queue.put()
    first = await queue.claim_one()
    await queue.settle(first, "released")
    second = await queue.claim_one()
    await log(queue, first, "late")
    await queue.complete(second)
    await log(queue, second, "later")

    assert ["late", "later"] == await messages(queue, job_id)


async def test_a_line_of_an_attempt_that_never_was_is_dropped(queue):
    """Nobody writes into the log of a job before its turn, or of no job at all."""
    job_id = await queue.put()
    claimed = await queue.claim_one()
    await log(queue, claimed, "forged", attempt=2)
    await log(queue, claimed, "forged", attempt=0)
    await log(queue, claimed._replace(job_id=uuid4()), "forged")

    assert [] == await messages(queue, job_id)
    assert 0 == await queue.count("job_log")


async def test_a_job_keeps_its_first_thousand_lines(queue):
    """In one flush or in many; the others of the flush are not harmed."""
    await queue.put_plain(2)
    loud, quiet = await queue.claim(2)
    await log(queue, loud, *(f"line {n}" for n in range(700)))
    both = [loud] * 700 + [quiet]
    await work.add_log(
        queue.store, queue.tenant_id, [c.job_id for c in both], [1] * 701, ["info"] * 701, [f"more {n}" for n in range(701)], [None] * 701
    )
    kept = await messages(queue, loud.job_id)

    assert (1000, "line 0", "more 299") == (len(kept), kept[0], kept[-1])
    assert ["more 700"] == await messages(queue, quiet.job_id)
