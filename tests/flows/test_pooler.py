"""Behind PgBouncer in transaction mode, where no two statements need see the same server connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.handlers import declare, noting_acks
from tests.support.pooler import BINARY, Pooler
from tests.support.sender import Sender
from trunkline import Trunkline, new_job
from trunkline.settings import Settings

pytestmark = pytest.mark.skipif(BINARY is None, reason="this host has no pgbouncer; .ci/run installs it")


@pytest.fixture
def pooler(trunkline_url: str) -> Iterator[Pooler]:
    """In front of this test's database."""
    pooler = Pooler(trunkline_url)
    pooler.start()
    yield pooler
    pooler.stop()


@pytest.fixture
async def pooled(pooler, trunkline_url, journal):
    """An application with all handlers, through the pooler but for LISTEN."""
    settings = Settings.load({}, database_url=pooler.url, listen_url=trunkline_url, shutdown_timeout_s=5)
    with noting_acks(journal):
        async with Trunkline(settings=settings) as app:
            declare(app, journal)
            yield app


async def test_every_way_in_and_out_works_behind_a_transaction_pooler(pooled, journal, verdict):
    """One by one, in bulk by COPY, with options; completed, retried, snoozed by a delay, with progress; waited for."""
    sender = Sender(pooled, journal)
    await pooled.start_worker(concurrency=20)

    await sender.send_each("noop", 100)
    await sender.send_many([new_job("noop") for _ in range(2000)])
    await sender.send("flaky", {"fails": 2})
    last = await sender.send("slow", {"seconds": 0}, priority=9, idempotency_key="once")

    assert {"attempt": 1} == await pooled.wait(last, timeout=30)
    assert last == (await pooled.enqueue_checked("slow", {"seconds": 0}, idempotency_key="once")).id
    await verdict()


async def test_a_pooler_that_is_killed_under_load_costs_nothing(pooled, pooler, journal, verdict):
    """Every connection is cut, some in the middle of a COMMIT: jobs are sent and run on as soon as it is back."""
    sender = Sender(pooled, journal)
    await pooled.start_worker(concurrency=20)
    sending = asyncio.create_task(sender.send_each("noop", 600, at_once=20))
    await asyncio.wait([sending, asyncio.create_task(sender.send("noop"))], return_when=asyncio.FIRST_COMPLETED)

    assert not sending.done()
    pooler.kill()
    pooler.start()

    assert 600 == len(await sending)
    await verdict()
