"""Handlers on another machine: how they end, how they are stopped, and what the gateway hears of it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import pytest

from tests.client.conftest import working
from tests.support.until import until
from trunkline.client import Fail, RetryAfter, Snooze
from trunkline.client import job as job_module
from trunkline.errors import InvalidInput, JobCancelled, JobFailed


@dataclasses.dataclass
class Picture:
    """A payload with a type."""

    path: str
    width: int = 100


async def state_of(app, job_id):
    return (await app.get(job_id, tenant="customer-001")).state


async def test_handlers_may_be_coroutines_or_plain_functions_with_typed_arguments(join):
    """Filled from the payload as a local handler's are; plain ones run in threads and just call progress."""
    client = await join()

    @client.worker("typed")
    async def typed(picture: Picture):
        return [picture.path, picture.width]

    @client.worker("plain", concurrency=2)
    def plain(job, n: int = 5):
        job.progress(30, "in a thread")
        return [n, threading.current_thread() is threading.main_thread(), job.attempt, job.kind, job.payload]

    ids = await client.send_many([("typed", {"path": "a", "width": "7"}), ("plain", {}), ("plain", {"n": "x"})])
    async with working(client):
        assert ["a", 7] == await client.wait(ids[0])
        assert [5, False, 1, "plain", {}] == await client.wait(ids[1])
        with pytest.raises(JobFailed, match="valid integer"):
            await client.wait(ids[2])
    assert {"percentage": 30.0, "message": "in a thread"} == (await client.get(ids[1])).progress


async def test_every_end_of_a_handler_is_reported_as_a_local_one_would_be(app, join):
    """An exception is a failure by the policy, Fail is for good, RetryAfter and Snooze count as none, returned or raised."""
    client = await join()
    seen = []

    @client.worker("ends", concurrency=5)
    async def ends(job, how: str):
        seen.append(how)
        if how in ("raise", "last"):
            raise OSError("disk full \x00")
        if how == "fail":
            raise Fail("for good")
        if how == "later":
            raise RetryAfter(3600, "slow down")
        if how == "snooze":
            return Snooze(3600)
        if how == "wrong":
            return {"x": float("nan")}
        if how == "large":
            return "x" * 1_040_000 + "\U0001f600" * 4_000
        return None

    names = ("raise", "last", "fail", "later", "snooze", "wrong", "large", "nothing")
    jobs_to_send = [("ends", {"how": n}, {"retry_delay": 3600, "retry_limit": 0 if n == "last" else 3}) for n in names]
    ids = dict(zip(names, await client.send_many(jobs_to_send), strict=True))
    async with working(client):
        await until(lambda: len(seen) == len(names), "all were called")

        async def settled():
            return not [n for n in names if await state_of(app, ids[n]) in ("active", "queued")]

        await until(settled, "all have ended")
    jobs = {name: await app.get(job_id, tenant="customer-001") for name, job_id in ids.items()}

    assert {
        "raise": ("retrying", 1),
        "last": ("failed", 1),
        "fail": ("failed", 1),
        "later": ("retrying", 0),
        "snooze": ("retrying", 0),
        "wrong": ("failed", 1),
        "large": ("failed", 1),
        "nothing": ("completed", 0),
    } == {name: (job.state, job.failures) for name, job in jobs.items()}
    assert ("OSError", "disk full \ufffd") == (jobs["last"].error["type"], jobs["last"].error["message"])
    assert "test_working.py" in jobs["last"].error["traceback"] and "traceback" not in jobs["fail"].error


async def test_concurrency_is_what_was_declared(join):
    """Never more at once, and as many as there are places."""
    client = await join()
    most = running = 0
    go = asyncio.Event()

    @client.worker("many", concurrency=3)
    async def many():
        nonlocal most, running
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    ids = await client.send_many([("many", {})] * 10)
    async with working(client):
        await until(lambda: running == 3, "three run")
        go.set()
        for job_id in ids:
            await client.wait(job_id)

    assert 3 == most


async def test_progress_leaves_a_few_times_a_second_with_the_last_one_always(join, monkeypatch):
    """A handler may say it as often as it likes."""
    monkeypatch.setattr(job_module, "PROGRESS_EVERY_S", 3600.0)
    client = await join()
    sent = []

    @client.worker("chatty")
    async def chatty(job):
        submit = job._submit
        job._submit = lambda call: sent.append(call.call) or submit(call)
        for n in range(101):
            await job.progress(n, f"step {n}")

    job_id = await client.send("chatty")
    async with working(client):
        await client.wait(job_id)

    assert ["job_progress", "job_progress"] == sent  # the first and the last; the end itself goes another way
    assert {"percentage": 100.0, "message": "step 100"} == (await client.get(job_id)).progress


async def test_a_cancel_stops_the_handler(app, join):
    """A coroutine is cancelled; a thread sees `job.cancelled`. Either ends cancelled, and its place is free."""
    client = await join()
    stopped = []

    @client.worker("forever")
    async def forever(job):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(job.stop_reason)

    @client.worker("thread")
    def thread(job):
        done = threading.Event()
        while not job.cancelled:
            done.wait(0.01)
        stopped.append(job.stop_reason)
        raise RuntimeError("stopped")

    async with working(client):
        for name in ("forever", "thread", "forever", "thread"):
            job_id = await client.send(name)
            await until(lambda job_id=job_id: is_active(client, job_id), "it runs")
            assert await client.cancel(job_id)
            with pytest.raises(JobCancelled):
                await client.wait(job_id)

    assert ["cancelled"] * 4 == stopped


async def is_active(client, job_id):
    return (await client.get(job_id)).state == "active"


async def test_an_attempt_that_takes_too_long_is_stopped(app, join):
    """By the gateway; its result would be refused."""
    client = await join()
    reasons = []

    @client.worker("long")
    async def long(job):
        try:
            await asyncio.Event().wait()
        finally:
            reasons.append(job.cancelled)

    job_id = await client.send("long", timeout=0.3, retry_limit=0)
    async with working(client):
        with pytest.raises(JobFailed, match=r"timeout|timed out"):
            await client.wait(job_id)
        await until(lambda: reasons, "it was stopped")

    assert [True] == reasons


async def test_stopping_takes_no_more_and_finishes_what_is_started(app, join):
    """What is still running at the end of its time is handed back, which counts as no failure."""
    client = await join(stop_timeout=0.2)
    ends, started = asyncio.Event(), []

    @client.worker("quick", concurrency=2)
    async def quick(n: int):
        started.append(n)
        if n:
            await asyncio.Event().wait()
        await ends.wait()
        return "in time"

    ids = await client.send_many([("quick", {"n": n}) for n in range(4)])
    work = asyncio.create_task(client.work(signals=False))
    await until(lambda: len(started) == 2, "both places are taken")
    client.stop()
    ends.set()
    await asyncio.wait_for(work, 20)
    jobs = [await app.get(job_id, tenant="customer-001") for job_id in ids]

    assert [0, 1] == started
    assert [("completed", 0), ("retrying", 0), ("queued", 0), ("queued", 0)] == [(job.state, job.failures) for job in jobs]


async def test_closing_or_cancelling_hands_back_what_runs(app, server, join):
    """At once, without a failure; nothing more is sent to a client in which nobody works."""
    client, sender = await join(stop_timeout=0.1), await join()
    started = []

    @client.worker("hold", concurrency=2)
    async def hold(job):
        started.append(job)
        await asyncio.Event().wait()

    async def handed_back(job_id):
        job = await app.get(job_id, tenant="customer-001")
        return (job.state, job.failures) == ("retrying", 0) and not server.gateway.dispatcher.running

    job_id = await sender.send("hold")
    for how in ("cancel", "close"):
        work = asyncio.create_task(client.work(signals=False))
        count = len(started)
        await until(lambda count=count: len(started) > count, "it runs")
        if how == "cancel":
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        else:
            await client.close()
        await until(lambda job_id=job_id: handed_back(job_id), f"it is handed back after {how}")
        assert not any(connection.seats for connection in server.gateway._in.values())
    await asyncio.gather(work, return_exceptions=True)


async def test_a_worker_can_start_again(join):
    """After it was stopped; two at once in one client are refused, and so is one without handlers."""
    client = await join()
    with pytest.raises(InvalidInput, match="no handler"):
        await client.work()

    @client.worker("echo")
    async def echo(payload):
        return payload

    with pytest.raises(InvalidInput, match="already"):
        client.worker("echo")(echo)
    with pytest.raises(InvalidInput, match="concurrency"):
        client.worker("other", concurrency=0)(echo)
    for n in range(2):
        async with working(client):
            assert n == await client.wait(await client.send("echo", n))
            with pytest.raises(InvalidInput, match="works already"):
                await client.work()


async def test_large_capacities_are_said_in_two_factors(server, join):
    """Each of which is bounded on the wire."""
    client = await join()

    @client.worker("wide", concurrency=2500)
    async def wide():
        pass

    async with working(client):
        await until(lambda: any(c.seats for c in server.gateway._in.values()), "it is registered")

        assert 2500 <= next(seat.capacity for c in server.gateway._in.values() for seat in c.seats.values()) <= 2502
