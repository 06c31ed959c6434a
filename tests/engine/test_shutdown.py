"""Stopping a worker: what runs may end, what waits is handed back, and what could not be said is counted."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.support.proxy import Proxy
from tests.support.until import until
from trunkline import Trunkline
from trunkline.errors import InvalidInput
from trunkline.settings import Settings


@pytest.fixture
def gate() -> asyncio.Event:
    """Lets the handlers end."""
    return asyncio.Event()


@pytest.fixture
async def slow(app: Trunkline, gate: asyncio.Event):
    """An application whose handlers wait for the gate."""

    @app.job("work")
    async def work(n: int = 0) -> int:
        await gate.wait()
        return n

    yield app
    gate.set()


async def test_a_running_job_finishes_and_is_reported(slow, gate, queue):
    """In the time that it is given."""
    worker = await slow.start_worker()
    job_id = await slow.enqueue("work", {"n": 7})
    await until(lambda: worker.running == 1, "it runs")
    stopping = asyncio.create_task(slow.stop_worker(30))
    await until(lambda: worker._tasks[0].done(), "it claims no more")
    gate.set()
    stopped = await stopping

    assert (1, 0, 0) == (stopped.finished, stopped.released, stopped.unflushed)
    assert ("completed", 7) == ((view := await queue.view(job_id)).state, view.result)


async def test_a_job_that_runs_on_is_handed_back_to_its_place(slow, queue):
    """No failure is counted: nothing was wrong with it."""
    worker = await slow.start_worker()
    job_id = await slow.enqueue("work")
    await until(lambda: worker.running == 1, "it runs")
    stopped = await slow.stop_worker(0)
    view = await queue.view(job_id)

    assert (0, 1, 0) == (stopped.finished, stopped.released, stopped.unflushed)
    assert ("queued", 1, 0) == (view.state, view.attempt, view.failures)
    assert [] == await queue.endings(job_id)


async def test_a_worker_that_never_had_a_job_stops_at_once(slow):
    """Nothing to say."""
    await slow.start_worker()
    stopped = await slow.stop_worker(30)

    assert (0, 0, 0) == (stopped.finished, stopped.released, stopped.unflushed)


async def test_stopping_twice_is_stopping_once(slow):
    """The second is told the same."""
    worker = await slow.start_worker()
    first, second = await worker.stop(1), await worker.stop(1)

    assert first is second
    assert 0 == (await slow.stop_worker()).finished


async def test_stopping_what_was_not_started_is_nothing(slow):
    """Before a worker, and after it."""
    assert 0 == (await slow.stop_worker()).finished


async def test_a_worker_can_be_started_again_after_a_stop(slow, gate):
    """In the same process."""
    await slow.start_worker()
    await slow.stop_worker()
    gate.set()
    await slow.start_worker()

    assert 3 == await slow.wait(await slow.enqueue("work", {"n": 3}), 30)


async def test_a_second_worker_in_one_application_is_refused(slow):
    """One is enough."""
    await slow.start_worker()

    with pytest.raises(InvalidInput, match="runs a worker already"):
        await slow.start_worker()


async def test_a_worker_without_handlers_is_refused(app):
    """It could only send jobs away."""
    with pytest.raises(InvalidInput, match="no handler"):
        await app.start_worker()


async def test_a_handler_that_will_not_be_cancelled_is_left_behind(app, queue):
    """The job is handed back; what the handler does afterwards is dropped."""
    held = asyncio.Event()

    @app.job("work")
    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await held.wait()
        return "too late"

    worker = await app.start_worker()
    job_id = await app.enqueue("work")
    await until(lambda: worker.running == 1, "it runs")
    await app.stop_worker(0)
    await app.close()
    held.set()
    await until(lambda: queue.state(job_id), "the state can be read")

    assert "queued" == await queue.state(job_id)


async def test_a_thread_that_runs_on_does_not_keep_the_worker(app, queue):
    """It cannot be stopped; its job is handed back."""
    begun, over = threading.Event(), threading.Event()

    @app.job("work")
    def thread() -> None:
        begun.set()
        over.wait(60)

    await app.start_worker()
    job_id = await app.enqueue("work")
    await until(begun.is_set, "the thread runs")
    stopped = await app.stop_worker(0)
    over.set()

    assert 1 == stopped.released
    assert "queued" == await queue.state(job_id)


async def test_reports_that_could_not_be_written_are_counted(trunkline_url, queue):
    """Their jobs will run again, and the shutdown says so."""
    gate = asyncio.Event()
    with Proxy(trunkline_url) as proxy:
        async with Trunkline(settings=Settings.load({}, database_url=proxy.url, command_timeout_s=1)) as app:

            @app.job("work")
            async def work() -> None:
                await gate.wait()

            worker = await app.start_worker()
            job_id = await app.enqueue("work")
            await until(lambda: worker.running == 1, "it runs")
            proxy.refuse()
            proxy.cut_all()
            gate.set()
            stopped = await app.stop_worker(5)

            assert 1 == stopped.unflushed
            assert "active" == await queue.state(job_id)


async def test_closing_the_application_stops_its_worker(slow, gate, queue):
    """And its session is over: what it held is offered again at once."""
    worker = await slow.start_worker()
    await slow.enqueue("work")
    await until(lambda: worker.running == 1, "it runs")
    gate.set()
    await slow.close()

    assert 1 == await queue.store.fetchval("select count(*) from trunkline.session where dead_at is not null")
    assert 0 == await queue.count("lease")
