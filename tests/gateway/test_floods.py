"""Many and much at once: others are answered as if nothing was, bounds hold, and what was taken is given back."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import Counter

import pytest
from websockets.asyncio.client import connect

from tests.gateway.bare import Bare
from tests.gateway.test_abuse import clean_log  # noqa: F401 - nothing that happens here is an error of ours
from tests.support.until import until
from trunkline import Trunkline
from trunkline.gateway import protocols, raw
from trunkline.gateway.socketio import mailbox, sockets
from trunkline.settings import Settings


@pytest.fixture
async def app(trunkline_url):
    """One address may hold a crowd."""
    settings = Settings.load(
        {}, database_url=trunkline_url, shutdown_timeout_s=5, address_connect_rate=10_000, address_connections=5000, address_unknown=5000
    )
    async with Trunkline(settings=settings) as app:
        yield app


async def test_a_sustained_flood_of_calls_leaves_others_their_answers(app, server, dial, token, join):
    """As many calls as one process can write, on two sockets of one tenant; another tenant's calls are answered one after another."""
    plain = await token()
    flooder, probe = await dial(plain), await join("customer-002")
    bare = await Bare.open(server.port, {"customerToken": plain})
    await asyncio.gather(flooder.pushed("client_ready"), bare.until("client_ready"))
    frame = json.dumps([{"type": "get_queue_size", "data": {"jobName": "a", "before": "failed"}}] * 256)
    is_over, wrote = False, Counter()

    async def flood() -> None:
        while not is_over:
            await flooder.socket.send(frame)
            wrote["raw"] += 256

    async def flood_io() -> None:
        while not is_over:
            await bare.socket.send('42["get_queue_size",{"jobName":"a","before":"failed"}]')
            wrote["io"] += 1

    flooding = [asyncio.create_task(flood()), asyncio.create_task(flood_io())]
    await until(lambda: wrote["raw"] > 5000 and wrote["io"] > 500, "they flood")
    asked = answered = 0
    before = wrote.total()
    while asked < 25 or wrote.total() < before + 5000:  # they wait for their turn, and go on
        asked += 1
        answered += (await probe.ask("get_queue_size", jobName="a"))["queueSize"] == 0
        await asyncio.sleep(0.01)
    under_way = [len(session.calls) for session in server.socketio["/ws"].eio.sockets.values()]
    is_over = True
    for each in (flooder, bare):
        each.kill()
    await asyncio.gather(*flooding, return_exceptions=True)
    await until(lambda: server.gateway.connections == 1, "the floods are out")

    assert asked == answered
    assert max(under_way) <= sockets.MOST_CALLS
    await until(lambda: not _live(raw.RawPeer, 1), "nothing of them is left")


def _live(kind: type, most: int) -> bool:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects()) > most


@pytest.mark.parametrize("of_each", [6, pytest.param(67, marks=pytest.mark.chaos)])
async def test_readers_that_stop_on_every_door_are_cut_and_their_memory_returns(app, server, token, join, monkeypatch, of_each):
    """Also when a tenant has two hundred of them; one that reads beside them, and another tenant's, hear everything."""
    monkeypatch.setattr(mailbox, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(raw, "MOST_OUT_BYTES", 1_000_000)
    monkeypatch.setattr(raw, "CLOSE_WITHIN_S", 0.2)
    monkeypatch.setattr(protocols, "ABORT_AFTER_S", 0.2)
    plain, other = await token(), await token("customer-002")
    deaf: list = []
    for n in range(of_each):
        for path, namespace in (("/ws", "/"), ("/socket.io", "/jobs")):
            made = await Bare.open(server.port, {"customerToken": plain, "recovery": n % 2 == 0}, path=path, namespace=namespace)
            deaf.append(await made.let_in() if namespace == "/jobs" else made)
            if namespace == "/jobs":
                await made.ask("subscribe:jobs", {"userId": f"u{n}"})
                await made.ask("subscribe:jobs", {})
            else:
                await made.until("client_ready")
        deaf.append(await join(plain=plain))
    reader = await (await Bare.open(server.port, {"customerToken": plain}, path="/socket.io", namespace="/jobs")).let_in()
    beside = await (await Bare.open(server.port, {"customerToken": other}, path="/socket.io", namespace="/jobs")).let_in()
    for each in (reader, beside):
        await each.ask("subscribe:jobs", {})
    for each in deaf:
        each.socket.transport.pause_reading()
    ids = {tenant: await app.enqueue("a", {}, tenant=tenant) for tenant in ("customer-001", "customer-002")}
    for said in range(120):
        await app.updates.emit_job_update(ids["customer-001"], "large", "x" * 60_000, tenant="customer-001")
        await app.updates.emit_job_progress(ids["customer-001"], said % 100, "x" * 4000, tenant="customer-001")
        await app.updates.emit_job_update(ids["customer-002"], "small", said, tenant="customer-002")
        if server.gateway.connections + server.watchers.connections == 2:
            break
    for tenant, job_id in ids.items():
        await app.cancel(job_id, tenant=tenant)
    for each in (reader, beside):
        await until(lambda each=each: "cancelled" in [u["status"] for u in each.said("job:update")], "it hears the end")
    for each in deaf:
        each.kill()
    await until(lambda: (server.gateway.connections, server.watchers.connections) == (0, 2), "the deaf are out")
    await until(lambda: server._front._addresses.visits == 2, "and their sockets")
    sessions = list(server.socketio["/socket.io"].eio.sockets.values())

    assert [0, 0] == [session.queue._bytes for session in sessions]
    assert list(range(said + 1)) == [update["data"] for update in beside.said("job:update") if update["status"] == "small"]
    for each in (reader, beside):
        await each.close()


async def test_a_worker_that_lies_changes_nothing(app, server, worker, join, dial, token):
    """Reports of what it does not hold, twice, late, of other attempts, with a result of 100 MB; another one gets the job."""
    liar, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}, options={"retryDelay": 0}))["jobId"]
    not_its_own = (await sender.ok("send_job", name="mail", data={}))["jobId"]
    await liar.pushed("work_request")
    for job, attempt in ((not_its_own, 1), (not_its_own, None), (job_id, 2), (job_id, 0), (job_id, -1), (job_id, 2**31), (job_id, 2**53)):
        for call, more in (
            ("job_started", {}),
            ("job_progress", {"progress": 1}),
            ("job_completed", {"result": 1}),
            ("job_failed", {"error": "x"}),
        ):
            answer = await liar.ask(call, jobName="resize", jobId=job, attempt=attempt, **more)
            assert answer["code"] in ("lease_lost", "invalid_input"), (call, job, attempt, answer)
    large = await liar.ask("job_completed", jobName="resize", jobId=job_id, result="x" * 1_500_000)
    chunk = json.dumps({"type": "job_completed", "data": {"jobName": "resize", "jobId": job_id, "result": "x" * 100_000_000}})
    with pytest.raises(Exception):  # noqa: B017 - however its library says that it was cut
        await liar.socket.send(chunk)
        await liar.socket.recv()
    code, _ = await liar.until_closed()
    honest = await worker()
    (request,) = await honest.pushed("work_request")
    await honest.ok("job_completed", jobName="resize", jobId=job_id, attempt=request["attempt"], result=1)
    twice = await honest.ask("job_completed", jobName="resize", jobId=job_id, attempt=request["attempt"], result=2)

    assert "invalid_payload" == large["code"] and code in (1009, 1006)
    assert (job_id, "lease_lost") == (request["id"], twice["code"])
    job = await app.get(job_id, tenant="customer-001")
    assert ("completed", 1) == (job.state, job.result)
    assert "queued" == (await app.get(not_its_own, tenant="customer-001")).state


async def test_two_hundred_sockets_that_never_say_who_they_are_are_closed(app, server, join, monkeypatch):
    """On every door; somebody who does is let in beside them."""
    monkeypatch.setattr(raw, "HELLO_WITHIN_S", 1.5)
    for io in server.socketio.values():
        io.eio.hello_within_s = 1.5
    urls = [
        f"ws://127.0.0.1:{server.port}{path}" for path in ("/ws/raw", *(f"/{p}/?EIO=4&transport=websocket" for p in ("ws", "socket.io")))
    ]
    silent = await asyncio.gather(*(connect(urls[n % 3], compression=None, ping_interval=None, open_timeout=30) for n in range(200)))
    client = await join()
    assert "ok" == (await client.ask("get_queue_size", jobName="a"))["status"]
    await asyncio.gather(*(asyncio.wait_for(each.wait_closed(), 30) for each in silent))
    codes = Counter(each.close_code for each in silent)
    await until(lambda: server._front._addresses.visits == 1, "only the one that spoke is left")

    assert {4401, 4408} == set(codes) and 0 == server._front._addresses._unknown


@pytest.mark.parametrize("clients", [200, pytest.param(2000, marks=[pytest.mark.chaos, pytest.mark.timeout(300)])])
async def test_clients_that_all_come_back_at_once_miss_nothing(app, server, token, clients):
    """The gateway is gone and comes again; each recovers what it missed, once."""
    plain = await token("default")
    job_id = str(await app.enqueue("a", {}))
    auth = {"customerToken": plain, "recovery": True}
    turns = asyncio.Semaphore(100)

    async def come(**more: object) -> Bare:
        async with turns:
            return await (await Bare.open(server.port, {**auth, **more}, path="/socket.io", namespace="/jobs")).let_in()

    crowd = await asyncio.gather(*(come() for _ in range(clients)))
    for each in crowd:
        assert (await each.ask("subscribe:jobs", {"jobId": job_id}))["success"]
    await app.updates.emit_job_update(job_id, "heard")
    await asyncio.gather(*(each.until("job:update") for each in crowd))
    port = server.port
    for each in crowd:
        each.kill()
    await app.stop_gateway(0.0)
    await app.updates.emit_job_update(job_id, "missed")
    again = await app.start_gateway(port=port, mode="development")
    began = time.monotonic()
    turns = asyncio.Semaphore(clients)
    back = await asyncio.gather(*(come(pid=each.accepted["pid"], offset=each.offset) for each in crowd))
    await app.cancel(job_id)
    await asyncio.gather(*(each.until("job:update", 2) for each in back))
    print(f"{clients} clients were back after {time.monotonic() - began:.1f} s")
    heard = Counter(tuple(update["status"] for update in each.said("job:update")) for each in back)
    for each in back:
        each.kill()
    await until(lambda: again.watchers.connections == 0, "all are gone")

    assert [each.accepted["pid"] for each in crowd] == [each.accepted["pid"] for each in back]
    assert {("missed", "cancelled"): clients} == dict(heard)


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.chaos)])
async def test_thousands_of_names_and_rooms_of_one_socket_are_bounded(app, server, join, token, count):
    """Lines of a worker and rooms of a watcher; both are given back when it leaves, and others are answered meanwhile."""
    greedy, probe = await join(), await join("customer-002")
    watcher = await (await Bare.open(server.port, {"customerToken": await token()}, path="/socket.io", namespace="/jobs")).let_in()
    codes: Counter = Counter()
    for start in range(0, count, 500):
        rooms = asyncio.gather(*(watcher.ask("subscribe:jobs", {"userId": f"u{n}"}) for n in range(start, start + 500)))
        if start < 1500:
            for answer in await greedy.ask_many([("register_worker", {"jobName": f"n{n}"}) for n in range(start, start + 250)]):
                codes[answer.get("code", "ok")] += 1
        codes["rooms"] += sum(answer.get("success", False) for answer in await rooms)
        assert 0 == (await probe.ask("get_queue_size", jobName="a"))["queueSize"]
    await asyncio.gather(greedy.close(), watcher.close())
    await until(lambda: (server.gateway.connections, server.watchers.connections) == (1, 0), "they are gone")

    assert 999 == codes["rooms"] and not server.watchers.rooms._rooms and not server.watchers.rooms._members
    assert 750 == codes["ok"] and not server.gateway.dispatcher._seats
