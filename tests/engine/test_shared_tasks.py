"""Jobs that never wait share asyncio tasks; nothing of that may be seen from inside a handler."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar

import pytest

from tests.support.until import until
from trunkline import Trunkline
from trunkline.engine import current_job
from trunkline.engine.runner import FILL_S

mine: ContextVar[int | None] = ContextVar("mine", default=None)


async def drain(app: Trunkline, jobs: int, *, concurrency: int = 100) -> None:
    """Put jobs in together, so that they are claimed together, and run them."""
    await app.enqueue_many(app.new_job("k", {"n": n}) for n in range(jobs))
    worker = await app.start_worker(concurrency=concurrency)
    await until(lambda: worker.counts.total("completed") + worker.counts.total("failed") == jobs, "all have ended")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("concurrency", [1, 100])
async def test_what_a_handler_sets_in_its_context_no_other_sees(app, waits, concurrency):
    """Also where a job is started because another one ended."""
    seen = []

    @app.job("k")
    async def handler(n: int) -> None:
        seen.append(mine.get())
        mine.set(n)
        if waits:
            await asyncio.sleep(0)

    await drain(app, 50, concurrency=concurrency)
    assert seen == [None] * 50


async def test_each_handler_is_told_its_own_job(app):
    """Before and after it waited, and in tasks that outlive it."""
    wrong, late = [], []

    async def later(n: int) -> None:
        await asyncio.sleep(0.01)
        late.append(current_job.get().payload["n"] == n)

    @app.job("k")
    async def handler(n: int) -> None:
        if n % 7 == 0:
            tasks.append(asyncio.create_task(later(n)))
        if n % 3 == 0:
            await asyncio.sleep(0)
        if current_job.get().payload["n"] != n:
            wrong.append(n)

    tasks: list[asyncio.Task[None]] = []
    await drain(app, 100)
    await asyncio.gather(*tasks)
    assert not wrong and late == [True] * 15


async def test_they_begin_in_their_order_and_never_more_than_there_is_room_for(app):
    """Whether they wait or not."""
    begun, inside, most = [], 0, 0

    @app.job("k")
    async def handler(n: int) -> None:
        nonlocal inside, most
        begun.append(n)
        inside += 1
        most = max(most, inside)
        if n % 2:
            await asyncio.sleep(0.001)
        inside -= 1

    await drain(app, 200, concurrency=5)
    assert begun == list(range(200)) and most == 5


async def test_a_timeout_inside_one_handler_hits_no_other(app):
    """It remembers the task in which it was opened."""
    timed_out, passed = [], []

    @app.job("k", retry_limit=0)
    async def handler(n: int) -> None:
        if n % 10:
            async with asyncio.timeout(60):
                passed.append(n)
            return
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            timed_out.append(n)

    await drain(app, 50)
    assert sorted(timed_out) == [0, 10, 20, 30, 40] and len(passed) == 45


async def test_a_handler_that_cancels_its_own_task_hits_no_other(app):
    """A cancel that its task could not deliver to it any more is not delivered to the next job."""
    passed = []

    @app.job("k", retry_limit=0)
    async def handler(n: int) -> None:
        if n == 3:
            asyncio.current_task().cancel()
            return
        await asyncio.sleep(0 if n % 2 else 0.001)
        passed.append(n)

    await drain(app, 20)
    assert sorted(passed) == [n for n in range(20) if n != 3]


async def test_cancelling_a_job_leaves_those_alone_that_ran_in_its_task_before(app):
    """Those had ended; and those that come after have another task."""
    waiting = asyncio.Event()

    @app.job("k")
    async def handler(n: int) -> None:
        if n == 5:
            waiting.set()
            await asyncio.Event().wait()

    ids = [each.id for each in await app.enqueue_many([app.new_job("k", {"n": n}) for n in range(10)])]
    worker = await app.start_worker(concurrency=100)
    await waiting.wait()
    await app.cancel(ids[5])

    assert (await app.wait_ended(ids[5], timeout=20)).state == "cancelled"
    await until(lambda: worker.counts.total("completed") == 9, "the others have completed")


async def test_handlers_that_never_wait_let_the_loop_have_its_turn(app):
    """A heartbeat among them is not held up by more than one long handler."""
    turn, turns = 0, []
    loop = asyncio.get_running_loop()

    def count() -> None:
        nonlocal turn
        turn += 1
        if len(turns) < 20:
            loop.call_soon(count)

    @app.job("k")
    async def handler() -> None:
        if not turns:
            count()
        turns.append(turn)
        until_at = time.monotonic() + FILL_S * 1.5
        while time.monotonic() < until_at:
            pass

    await app.enqueue_many(app.new_job("k") for _ in range(20))
    worker = await app.start_worker(concurrency=100)
    await until(lambda: worker.counts.total("completed") == 20, "all have ended")
    assert len(set(turns)) == 20
