"""Connections that are lost: nothing is sent twice, nothing is forgotten, each job has one outcome."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import Program, environment
from tests.client.conftest import working
from tests.support.until import until
from trunkline.auth import Tokens
from trunkline.client.backoff import Backoff
from trunkline.errors import RateLimited, Unauthenticated
from trunkline.gateway import gateway as gateway_module
from trunkline.gateway import server as server_module

ROOT = Path(__file__).parents[2]


def test_waits_grow_to_a_bound_and_are_any_part_of_it():
    """Full jitter; short again after a success."""
    most, least = Backoff(1.0, 8.0, chance=lambda: 1.0), Backoff(1.0, 8.0, chance=lambda: 0.0)

    assert [1, 2, 4, 8, 8] == [most.next_s() for _ in range(5)] and 0 == least.next_s()
    most.reset()
    assert 1 == most.next_s()


async def test_a_call_whose_answer_was_lost_is_said_again_and_counts_once(server, switch, join):
    """Sends, a batch, a schedule: carried out, not answered, cut, asked again."""
    client = await join(port=switch.port)
    await client.queue_size("resize")
    switch.is_mute = True
    sends = [asyncio.create_task(client.send("resize", {"n": n})) for n in range(5)]
    batch = asyncio.create_task(client.batch([("resize", {"n": n}) for n in range(3)]))
    schedule = asyncio.create_task(client.schedule("nightly", "0 3 * * *"))
    keyed = [asyncio.create_task(client.send("keyed", **{key: "k"})) for key in ("unique_key", "idempotency_key")]
    other = await join()

    async def carried_out():
        return (await other.queue_size("resize"), await other.queue_size("keyed")) == (8, 2) and await other.schedules()

    await until(carried_out, "all of it is done")
    switch.is_mute = False
    switch.cut()
    ids = await asyncio.gather(*sends)

    assert None not in await asyncio.gather(*keyed)
    assert (5, 3, "nightly") == (len(set(ids)), len((await batch).job_ids), await schedule)
    assert (8, 2, 3) == (await other.queue_size("resize"), client.connects, (await (await batch).counts()).total)


@pytest.mark.parametrize("where", ["the same gateway", "another one"])
async def test_a_worker_comes_back_and_keeps_its_jobs(app, server, elsewhere, switch, join, where):
    """The same attempt goes on, its progress and its result count, and it is given more work."""
    client, sender = await join(port=switch.port), await join()
    ends, started = asyncio.Event(), []

    @client.worker("hold", concurrency=3)
    async def hold(job):
        started.append(job.fence)
        await ends.wait()
        await job.progress(99)
        return job.attempt

    ids = await sender.send_many([("hold", {})] * 3)
    async with working(client):
        await until(lambda: len(started) == 3, "they run")
        for job_id in ids:
            await until(lambda job_id=job_id: is_started(server, job_id), "the gateway knows")
        if where == "another one":
            switch.target = elsewhere.port
        switch.cut()
        await until(lambda: client.connects == 2, "it is back")
        ends.set()

        assert [1, 1, 1] == [await sender.wait(job_id, timeout=30) for job_id in ids]
        assert 1 == await sender.wait(await sender.send("hold"), timeout=30)
    assert 4 == len(started)


def is_started(server, job_id):
    return any(held.is_started for key, held in server.gateway.dispatcher._held.items() if key[1] == job_id)


async def test_a_worker_that_comes_back_too_late_is_stopped_and_its_result_dropped(server, switch, join):
    """Somebody else has the job by then: one outcome, of the second attempt."""
    late, other = await join(port=switch.port), await join()
    stopped, ends = [], asyncio.Event()

    @late.worker("hold")
    async def hold(job):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(job.stop_reason)

    @other.worker("hold")
    async def hold_there(job):
        await ends.wait()
        return f"attempt {job.attempt}"

    async with working(late):
        job_id = await other.send("hold", retry_delay=0)
        await until(lambda: is_started(server, job_id), "it runs")
        switch.is_closed = True
        switch.cut()
        async with working(other):
            await until(lambda: any(key[2] == 2 for key in server.gateway.dispatcher._held), "the other has it")
            switch.is_closed = False
            await until(lambda: stopped, "the late one is told")
            ends.set()

            assert "attempt 2" == await other.wait(job_id, timeout=30)
    assert ["lost"] == stopped


async def test_waiting_goes_on_over_a_lost_connection(app, server, switch, join):
    """What happened meanwhile is not missed; batches too."""
    client, worker = await join(port=switch.port), await join()

    @worker.worker("echo", concurrency=5)
    async def echo(payload):
        return payload

    job_id, batch = await client.send("echo", 1), await client.batch([("echo", 2)])
    waits = [asyncio.create_task(client.wait(job_id)), asyncio.create_task(batch.wait())]
    await until(lambda: client._parts[1]._watches and client._link._asked, "it waits")
    switch.is_closed = True
    switch.cut()
    async with working(worker):
        assert 1 == await worker.wait(job_id)
        switch.is_closed = False

        assert 1 == await waits[0] and (await waits[1]).done


async def test_a_token_that_is_revoked_ends_everything_and_nobody_storms(app, server, switch, join):
    """Calls, waits and `work` say why; the gateway is not asked again."""
    tenant_id = await app.tenant_id("customer-001")
    token_id, plain = await Tokens(app.store).create(tenant_id)
    client = await join(plain=plain, port=switch.port)
    stopped = []

    @client.worker("hold")
    async def hold(job):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(job.cancelled)

    job_id = await client.send("hold")
    waiting, work = asyncio.create_task(client.wait(job_id)), asyncio.create_task(client.work(signals=False))
    await until(lambda: is_started(server, job_id), "it runs")
    await Tokens(app.store).deactivate(tenant_id, token_id)

    for ended in (waiting, work):
        with pytest.raises(Unauthenticated, match="Invalid authentication token"):
            await asyncio.wait_for(ended, 20)
    with pytest.raises(Unauthenticated):
        await client.send("hold")
    assert [True] == stopped
    assert switch.connections <= 2  # the cut, and the one try that found it final


async def test_a_gateway_that_takes_no_more_is_asked_again_later(app, server, switch, join, token, monkeypatch):
    """Fewer and fewer times; whoever is not in yet hears why after its time."""
    client = await join(port=switch.port)
    monkeypatch.setattr(gateway_module, "MOST_OF_TENANT", 0)
    switch.cut()
    with pytest.raises(RateLimited, match="takes no more connections"):
        await join(open_timeout=0.3)
    before = switch.connections
    await until(lambda: switch.connections >= before + 1, "it tries again")
    monkeypatch.undo()

    assert await client.send("resize") is not None
    assert 2 == client.connects and switch.connections < 15


async def test_a_gateway_is_killed_and_started_again(app, trunkline_url, tmp_path, join, server):
    """kill -9 in the middle of jobs: the client comes back by itself, and each job has exactly one outcome."""
    _, plain = await Tokens(app.store).create(await app.tenant_id("customer-001"))
    env = environment(TRUNKLINE_DATABASE_URL=trunkline_url, TRUNKLINE_ENV="development")
    arguments = ("gateway", "--json", "--port")
    runs = []
    with Program((*arguments, "0"), env=env, cwd=tmp_path) as first:
        await asyncio.to_thread(first.until, '"ready"')
        port = int(first.said.split('"port":')[1].split(",")[0])
        client = await join(port=port, plain=plain)

        @client.worker("hold", concurrency=5)
        async def hold(job):
            runs.append(job.fence)
            if job.attempt == 1:
                await asyncio.Event().wait()
            return job.attempt

        async with working(client):
            ids = await client.send_many([("hold", {"n": n}, {"retry_delay": 0}) for n in range(5)])
            await until(lambda: len(runs) == 5, "they run")
            first.signal(signal.SIGKILL)
            await asyncio.to_thread(first.end)
            with Program((*arguments, str(port)), env=env, cwd=tmp_path) as second:
                results = [await client.wait(job_id, timeout=40) for job_id in ids]
                jobs = [await app.get(job_id, tenant="customer-001") for job_id in ids]
                second.signal(signal.SIGTERM)

    assert [2] * 5 == results == [job.attempt for job in jobs]
    assert sorted(runs) == sorted((job_id, attempt) for job_id in ids for attempt in (1, 2))


@pytest.fixture
def quick_pings(monkeypatch):
    """A gateway that notices a dead socket within two seconds."""
    monkeypatch.setattr(server_module, "PING_S", 1.0)


async def test_a_worker_that_slept_past_its_lease_is_told_when_it_wakes(quick_pings, app, server, join, token, tmp_path):
    """SIGSTOP: the gateway gives its job away; awake again it stops, comes back and works on."""
    plain, sender = await token(), await join()
    command = [sys.executable, "-m", "tests.client.worker_program", f"ws://127.0.0.1:{server.port}", plain, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}) as process:
        try:
            await until((tmp_path / "up").exists, "the worker is up")
            job_id = await sender.send("hold", retry_delay=0)
            await until((tmp_path / "started-1").exists, "it runs")
            process.send_signal(signal.SIGSTOP)
            await until(lambda: not server.gateway.dispatcher._held, "the gateway has given it up", within_s=40)
            process.send_signal(signal.SIGCONT)
            await until((tmp_path / "stopped-1").exists, "the first attempt is stopped")
            await until((tmp_path / "started-2").exists, "the second one runs")
            (tmp_path / "go").touch()
            result = await sender.wait(job_id, timeout=30)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 20)
        finally:
            process.kill()

    assert ("lost", process.pid) == ((tmp_path / "stopped-1").read_text(), result)
    assert (0, 2) == (process.returncode, (await app.get(job_id, tenant="customer-001")).attempt)
    assert (tmp_path / "over").exists()


async def test_many_clients_of_one_switch_find_their_way_back(server, switch, join, token):
    """All at once, and each with its own resume."""
    plain = await token()
    clients = [await join(port=switch.port, plain=plain) for _ in range(20)]
    switch.cut()
    await until(lambda: {2} == {client.connects for client in clients}, "all are back")

    assert 20 == len({client._link._resume for client in clients}) == server.gateway.connections
