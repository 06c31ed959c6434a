"""A blocking reading speaks to its job on the loop, and stops when the job does."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.jobtypes.support import RecordingJob
from trunkline.errors import LeaseLost
from trunkline.jobtypes.schema.bridge import Bridge, Stopped


async def test_progress_arrives_on_the_loop_and_in_order(job: RecordingJob) -> None:
    threads = set()
    job.on_progress = lambda _: threads.add(threading.get_ident())
    bridge = Bridge(job)

    def work() -> int:
        for number in range(1, 6):
            bridge.report(number, "step", current=number, total=5)
        return threading.get_ident()

    worker = await bridge.run(work)

    assert [1, 2, 3, 4, 5] == [percent for percent, *_ in job.said]
    assert {threading.get_ident()} == threads
    assert worker not in threads


async def test_the_loop_goes_on_while_the_thread_works(job: RecordingJob) -> None:
    """The thread waits here for something only the loop can do."""
    turn = threading.Event()
    asyncio.get_running_loop().call_soon(turn.set)

    assert await Bridge(job).run(lambda: turn.wait(20))


async def test_a_cancelled_flag_ends_the_reading_at_its_next_report(job: RecordingJob) -> None:
    bridge = Bridge(job)
    job.on_progress = lambda it: setattr(it, "cancelled", True)
    after = []

    def work() -> None:
        bridge.report(1, "one", current=1, total=2)
        bridge.report(2, "two", current=2, total=2)
        after.append("not reached")

    with pytest.raises(asyncio.CancelledError):
        await bridge.run(work)

    assert ([1], []) == ([percent for percent, *_ in job.said], after)


async def test_a_cancelled_task_ends_at_once_and_its_thread_at_the_next_report(job: RecordingJob) -> None:
    """Nobody waits for a server that hangs."""
    bridge = Bridge(job)
    reading, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        reading.set()
        go_on.wait(20)
        try:
            bridge.report(1, "one", current=1, total=1)
        except Stopped:
            ended.set()
            raise

    task = asyncio.create_task(bridge.run(work))
    await asyncio.to_thread(reading.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()

    assert await asyncio.to_thread(ended.wait, 20)
    assert [] == job.said


async def test_what_the_thread_raises_is_raised(job: RecordingJob) -> None:
    def work() -> None:
        raise ZeroDivisionError("in the thread")

    with pytest.raises(ZeroDivisionError, match="in the thread"):
        await Bridge(job).run(work)


async def test_a_lost_lease_ends_the_reading(job: RecordingJob) -> None:
    """`progress` says so on the loop; the thread hears it and the handler raises it."""

    def lost(_: object) -> None:
        raise LeaseLost("no longer yours")

    job.on_progress = lost
    bridge = Bridge(job)

    with pytest.raises(LeaseLost, match="no longer yours"):
        await bridge.run(lambda: bridge.report(1, "one", current=1, total=1))


async def test_a_reading_is_no_obstacle_to_the_end_of_the_process(job: RecordingJob) -> None:
    """Its thread is a daemon: a server that hangs cannot hold the process."""
    assert await Bridge(job).run(lambda: threading.current_thread().daemon)
