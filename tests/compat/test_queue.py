"""The verbs and statuses of the older queue, over this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from trunkline import Trunkline
from trunkline.compat import CompatQueue, QueueFactory
from trunkline.errors import InvalidInput, LeaseLost, NotRetryable
from trunkline.testing import DatabaseClock


@pytest.fixture
async def queue(app: Trunkline) -> AsyncIterator[CompatQueue]:
    yield QueueFactory.get_queue(app)
    await QueueFactory.close()


async def test_the_documented_example_runs_as_it_is_written(queue: CompatQueue, clock: DatabaseClock) -> None:
    """`scheduledFor: new Date(Date.now() + 60000)`, and the second call with its key returns null."""
    options = {
        "priority": 5,  # 0-10, higher = more urgent
        "idempotency_key": "unique_key_123",  # Prevents duplicates
        "max_attempts": 3,  # Retry up to 3 times
        "scheduled_for": datetime.now(UTC) + timedelta(seconds=60),  # Delay 1 minute
    }
    payload = {"conversationId": "conv_123", "messageId": "msg_456", "companyId": "comp_789"}

    first = await QueueFactory.get_queue().add_job("ai_generation", payload, **options)
    second = await QueueFactory.get_queue().add_job("ai_generation", payload, idempotency_key="unique_key_123")
    other = await QueueFactory.get_queue().add_job("crm_sync", payload, idempotency_key="unique_key_123")
    too_early = await queue.get_next_job(["ai_generation"])
    await clock.forward(61)
    job = await queue.get_next_job(["ai_generation"], timeout=10)

    assert first is not None
    assert (None, True, None) == (second, other is not None, too_early)
    assert job is not None
    assert (first.id, "ai_generation", payload, "PROCESSING", 5, 1) == (
        job.id,
        job.type,
        job.payload,
        job.status,
        job.priority,
        job.attempts,
    )
    assert "PENDING" == first.status


async def test_a_job_lives_through_the_documented_statuses(queue: CompatQueue, clock: DatabaseClock) -> None:
    """PENDING → PROCESSING → (retry after 2 s, 4 s) → DEAD_LETTER, and COMPLETED for the one that works."""
    bad = await queue.add_job("crm_sync", {"n": 1}, max_attempts=3)
    good = await queue.add_job("lead_import", {"n": 2})
    assert bad is not None and good is not None
    seen = [(await queue.get_job(bad.id)).status]
    for wait_s in (0, 2, 4):
        await clock.forward(wait_s - 0.5 if wait_s else 0)
        seen.append("too early" if wait_s and await queue.get_next_job(["crm_sync"]) else "")
        await clock.forward(0.6)
        job = await queue.get_next_job(["crm_sync"], timeout=10)
        assert job is not None
        seen += [(await queue.get_job(bad.id)).status, await queue.fail_job(job.id, ValueError("provider said no"))]
        assert "provider said no" == (await queue.get_job(bad.id)).last_error
    taken = await queue.get_next_job(["lead_import"])
    assert taken is not None
    await queue.complete_job(taken.id, {"imported": 7})

    dead, done = await queue.get_job(bad.id), await queue.get_job(good.id)
    await queue.retry_job(bad.id)
    assert ["PENDING", *["", "PROCESSING", "PENDING"] * 2, "", "PROCESSING", "DEAD_LETTER"] == seen
    assert ("DEAD_LETTER", 3, "provider said no") == (dead.status, dead.attempts, dead.last_error)
    assert ("COMPLETED", {"imported": 7}) == (done.status, done.result)
    assert done.completed_at is not None
    assert "PENDING" == (await queue.get_job(bad.id)).status
    with pytest.raises(NotRetryable):
        await queue.retry_job(good.id)


async def test_the_most_urgent_comes_first_whatever_its_type(queue: CompatQueue) -> None:
    added = [await queue.add_job(kind, {"n": n}, priority=p) for n, (kind, p) in enumerate([("a_a", 0), ("b", 9), ("a_a", 10), ("b", 0)])]

    taken = [await queue.get_next_job() for _ in range(5)]

    assert [2, 1, 0, 3, None] == [job and job.payload["n"] for job in taken]
    assert {job.id for job in added if job} == {job.id for job in taken if job}


async def test_a_report_is_taken_once_and_only_from_whoever_holds_the_job(queue: CompatQueue, app: Trunkline) -> None:
    await queue.add_job("crm_sync")
    job = await queue.get_next_job()
    assert job is not None
    other = CompatQueue(app)
    with pytest.raises(LeaseLost, match="not held"):
        await other.complete_job(job.id)
    await queue.complete_job(job.id)
    with pytest.raises(LeaseLost):
        await queue.fail_job(job.id, "late")


async def test_what_was_taken_and_not_finished_is_handed_back_at_the_end(app: Trunkline) -> None:
    queue, next_one = CompatQueue(app), CompatQueue(app)
    await queue.add_job("crm_sync", {"n": 1})
    first = await queue.get_next_job()
    assert await next_one.get_next_job() is None
    await queue.close()
    again = await next_one.get_next_job(timeout=10)
    await next_one.close()

    assert first is not None and again is not None
    assert first.id == again.id


async def test_ordinary_workers_and_old_code_share_one_queue(queue: CompatQueue, app: Trunkline) -> None:
    """The way out: one type after another becomes a handler."""

    @app.job("ai_generation")
    async def generate(conversationId: str) -> dict[str, str]:
        return {"for": conversationId}

    await app.start_worker()
    job = await queue.add_job("ai_generation", {"conversationId": "c1"})
    assert job is not None

    assert {"for": "c1"} == await app.wait(job.id, 30)
    assert "COMPLETED" == (await queue.get_job(job.id)).status


@pytest.mark.parametrize("options", [{"priority": 11}, {"priority": -1}, {"priority": True}, {"max_attempts": 0}])
async def test_numbers_out_of_range_are_named(app_offline: Trunkline, options: dict[str, int]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(options))):
        await CompatQueue(app_offline).add_job("crm_sync", {}, **options)
