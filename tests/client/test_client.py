"""What a program says with the SDK, and what it is answered: send, wait, watch, batches, schedules, errors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.client.conftest import working
from tests.support.until import until
from trunkline.client import connect
from trunkline.client.options import made_id
from trunkline.client.watching import MOST_UPDATES, Update, Watch
from trunkline.errors import (
    BadId,
    Forbidden,
    InvalidInput,
    InvalidPayload,
    JobCancelled,
    JobFailed,
    NotFound,
    Unauthenticated,
    Unavailable,
    WaitTimeout,
)
from trunkline.model.job import new_id


@pytest.fixture
async def client(join):
    """With a worker of its own that doubles; it fails at will."""
    made = await join()

    @made.worker("double", concurrency=10)
    async def double(job, n: int):
        await job.progress(50, "halfway")
        if n < 0:
            raise ValueError(f"{n} is negative")
        return {"twice": 2 * n}

    async with working(made):
        yield made


async def test_a_job_is_sent_and_its_result_awaited(app, client):
    """With every option by its name in Python."""
    job_id = await client.send("double", {"n": 4}, priority=7, timeout=timedelta(minutes=2), retry_limit=1, idempotency_key="k")
    result = await client.wait(job_id, timeout=30)
    job = await app.get(job_id, tenant="customer-001")

    assert {"twice": 8} == result == await client.wait(str(job_id))
    assert {"timeout": 120.0, "retry_limit": 1} == {k: job.options[k] for k in ("timeout", "retry_limit")}
    assert job_id == await client.send("double", {"n": 4}, idempotency_key="k")
    assert ("completed", {"twice": 8}) == ((seen := await client.get(job_id)).state, seen.output)


async def test_other_ends_are_exceptions(client):
    """As with `app.wait`."""
    failed = await client.send("double", {"n": -1}, retry_limit=0)
    misfit = await client.send("double", {"m": 1})
    cancelled = await client.send("nobody", {})
    assert await client.cancel(cancelled) and not await client.cancel(cancelled)

    with pytest.raises(JobFailed, match="-1 is negative"):
        await client.wait(failed)
    with pytest.raises(JobFailed, match="n: Field required"):
        await client.wait(misfit)
    with pytest.raises(JobCancelled):
        await client.wait(cancelled)
    with pytest.raises(NotFound):
        await client.wait(new_id())
    with pytest.raises(WaitTimeout, match=r"0\.05 s"):
        await client.wait(await client.send("nobody"), timeout=0.05)


async def test_watching_shows_each_step_once_and_ends(join):
    """From where the job stands to its end."""
    sender, worker = await join(), await join()
    go = asyncio.Event()

    @worker.worker("slow")
    async def slow(job):
        await job.progress(25, "a quarter", {"of": "it"})
        await go.wait()
        return "done"

    job_id = await sender.send("slow")
    seen = []
    async with working(worker):
        async for update in sender.watch(job_id):
            seen.append(update)
            if update.progress == 25:
                go.set()

    states = [update.state for update in seen]
    assert "completed" == states[-1] and seen[-1].is_end and "done" == seen[-1].result
    assert ("a quarter", {"of": "it"}) == next((u.message, u.data) for u in seen if u.progress == 25)
    assert len(states) == len(set(zip(states, [u.progress for u in seen], strict=True)))


async def test_waiting_needs_no_events(app, join):
    """A client without them, and a job that ran in a process of which no gateway knows: it is looked at now and then."""

    @app.job("local", tenants="all")
    async def local():
        return 5

    client = await join(events=False)
    job_id = await client.send("local")
    waiting = asyncio.create_task(client.wait(job_id, timeout=30))
    await app.start_worker()

    assert 5 == await waiting


async def test_a_batch_is_sent_whole_and_awaited(client):
    """Counts, whatever became of its jobs; known by its id in other programs."""
    batch = await client.batch([("double", {"n": n}, {"retry_limit": 0}) for n in (-1, 1, 2)])
    counts = await batch.wait(timeout=30)

    assert (3, 2, 1, 0, True) == (counts.total, counts.completed, counts.failed, counts.cancelled, counts.done)
    assert counts == await client.batch_of(str(batch.id)).wait()
    assert {"twice": 4} == await client.wait(batch.job_ids[2])
    with pytest.raises(WaitTimeout, match="0 of 1"):
        await (await client.batch([("nobody", {})])).wait(timeout=0.05)
    with pytest.raises(InvalidInput, match="job 1"):
        await client.batch([("double", {"n": 1}), ("double", {"n": 1}, {"colour": "red"})])
    with pytest.raises(InvalidInput, match="job 1 of the batch"):
        await client.batch([("double", {"n": 1}), ("a/b", {})])


async def test_a_thousand_sends_are_pipelined(client):
    """In order, in few frames, each with an id of its own."""
    frames = []
    link = client._link
    take = link._next
    link._next = lambda: frames.append(got := take()) or got
    ids = await client.send_many([("double", {"n": n}) for n in range(1000)])
    each = await asyncio.gather(*(client.send("later", {"n": n}) for n in range(1000)))

    assert (1000, 1000) == (len(set(ids)), len(set(each)))
    assert sum(map(len, frames)) >= 2000 and max(map(len, frames)) == 256
    assert {"twice": 1998} == await client.wait(ids[999], timeout=60)
    assert 1000 == await client.queue_size("later")


async def test_a_schedule_is_made_listed_and_ended(client):
    """By the words of Python; impossible ones are refused."""
    assert "nightly" == await client.schedule("nightly", "0 3 * * *", {"n": 1}, tz="Europe/Berlin", priority=3)
    (listed,) = await client.schedules()
    assert ("nightly", "0 3 * * *", "Europe/Berlin", {"n": 1}) == (listed.name, listed.cron_pattern, listed.tz, listed.data)
    with pytest.raises(InvalidInput, match="cron"):
        await client.schedule("nightly", "61 * * * *")
    await client.unschedule("nightly")

    assert [] == await client.schedules()


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"colour": "red"}, InvalidInput, "option colour"),
        ({"priority": 101}, InvalidInput, "priority"),
        ({"run_at": datetime(2030, 1, 1)}, InvalidInput, "time zone"),  # noqa: DTZ001
        ({"run_at": datetime(2030, 1, 1, tzinfo=UTC), "delay": 5}, InvalidInput, "run_at and delay"),
        ({"delay": "soon"}, InvalidInput, "delay"),
        ({"id": "0197aaaa-0000-4000-8000-000000000000"}, BadId, "UUIDv7"),
    ],
)
async def test_wrong_options_are_refused_with_their_names(join, options, kind, words):
    """Before they leave, where that can be known."""
    client = await join()
    with pytest.raises(kind, match=words):
        await client.send("resize", {}, **options)


async def test_what_the_gateway_refuses_is_its_exception(join):
    """By the code, with its sentence; one refused of many does not stop the others."""
    sends, works = await join("send"), await join("work")
    with pytest.raises(Forbidden, match="'send'"):
        await works.send("resize", {})
    with pytest.raises(InvalidPayload, match=r"NaN|nan"):
        await sends.send("resize", {"x": float("nan")})
    with pytest.raises(InvalidInput, match="kind"):
        await sends.send_many([("resize", {}), ("a/b", {}), ("resize", {})])
    assert 2 == await sends.queue_size("resize")

    @sends.worker("resize")
    async def resize():
        pass

    with pytest.raises(Forbidden, match="'work'"):
        await sends.work(signals=False)


async def test_who_is_not_let_in_hears_why_at_once(server, token, caplog):
    """And its token is nowhere to be read."""
    with pytest.raises(Unauthenticated, match="Invalid authentication token"):
        await connect(f"http://127.0.0.1:{server.port}", "tl_wrong-token").open()
    with pytest.raises(InvalidInput, match=r"404|403"):
        await connect(f"ws://127.0.0.1:{server.port}/nowhere", await token()).open()
    with pytest.raises(InvalidInput, match="address"):
        await connect("localhost:3000", "x").open()
    with pytest.raises(Unavailable, match="cannot be reached"):
        await connect("ws://127.0.0.1:1", "tl_wrong-token", open_timeout=0.1).open()
    with pytest.raises(InvalidInput, match="not open"):
        await connect("ws://127.0.0.1:1", "tl_wrong-token").send("x")

    assert "tl_wrong-token" not in caplog.text + repr(connect("ws://h", "tl_wrong-token"))


async def test_a_wrong_clock_makes_good_ids_all_the_same(join, monkeypatch):
    """They are made by the gateway's clock, which the upgrade tells."""
    client = await join()
    assert abs(client._link.clock_off_s) < 5
    off_s = -48 * 3600.0

    assert abs((made_id(off_s).int >> 80) / 1000 - (datetime.now(UTC).timestamp() + off_s)) < 5
    assert 7 == made_id(off_s).version
    with pytest.raises(BadId):
        await client.send("resize", {}, id=made_id(off_s))


async def test_the_token_may_come_from_a_function(server, token):
    """Asked at each connect; a stale one is asked for again, once."""
    given = iter(["tl_stale", good := await token(), good])

    async def give():
        return next(given)

    async with connect(f"ws://127.0.0.1:{server.port}", give) as client:
        await client.send("resize", {})
        assert 1 == client.connects

    given = iter(["tl_stale"] * 3)
    with pytest.raises(Unauthenticated):
        await connect(f"ws://127.0.0.1:{server.port}", lambda: next(given)).open()
    assert 1 == len(list(given))
    asked = []
    with pytest.raises(Unauthenticated):  # ever new ones, none of them good
        await connect(f"ws://127.0.0.1:{server.port}", lambda: asked.append(1) or f"tl_{len(asked)}").open()
    assert 2 == len(asked)


def test_a_slow_reader_of_a_watch_gets_the_latest_and_the_end():
    """Its buffer does not grow; after the end comes nothing."""
    job_id = new_id()
    watch = Watch(job_id)
    for n in range(10_000):
        watch.tell(Update(job_id, "active" if n % 7 else "retry", float(n)))
        watch.tell(Update(job_id, "active", float(n)))
    watch.tell(Update(job_id, "completed", result=1))
    watch.tell(Update(job_id, "active", 5.0))
    watch.fail(NotFound("gone"))
    left = list(watch._updates)

    assert len(left) <= MOST_UPDATES + 1
    assert [9999.0, "completed"] == [left[-2].progress, left[-1].state]


def test_a_missing_package_is_named():
    """With the extra that brings it."""
    code = "import sys; sys.modules['websockets'] = None; import trunkline.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "pip install 'trunkline[client]'" in done.stderr


async def test_closing_fails_what_waits(join):
    """Nobody waits for ever for a client that is gone."""
    client = await join()
    job_id = await client.send("nobody")
    waiting = asyncio.create_task(client.wait(job_id))
    await until(lambda: client._parts[1]._watches, "it is watched")
    await client.close()

    with pytest.raises(Unavailable, match="closed"):
        await waiting
