"""Two things at once on the live wire: nothing that was promised in an answer is taken back by what came beside it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.gateway.bare import Bare
from tests.gateway.test_abuse import clean_log  # noqa: F401 - nothing that happens here is an error of ours
from tests.support.until import until
from trunkline.auth import Tokens
from trunkline.errors import NotFound

ENDED = {"completed", "failed", "cancelled"}


@pytest.fixture
async def jobs(server) -> AsyncIterator[Callable]:
    """A watcher of the default tenant, or whoever `auth` says."""
    async with AsyncExitStack() as stack:

        async def come(**auth) -> Bare:
            made = await Bare.open(server.port, auth, path="/socket.io", namespace="/jobs")
            stack.push_async_callback(made.close)
            return await made.let_in()

        yield come


def endings(watcher: Bare) -> Counter[str]:
    """How often each job's end was heard."""
    return Counter(data["jobId"] for name, data in watcher.heard if name.startswith("job:") and data["status"] in ENDED)


async def test_a_job_that_ends_while_it_is_subscribed_to_is_heard_of_or_has_ended_before_the_answer(app, jobs):
    """Between the answer and the first push no ending is lost: who looks after the answer sees it, or hears it."""
    watcher = await jobs()
    ids = [str(await app.enqueue("a", {"n": n})) for n in range(60)]

    async def follow(job_id: str) -> bool:
        assert (await watcher.ask("subscribe:jobs", {"jobId": job_id}))["success"]
        return any(line["status"] in ENDED for line in await watcher.ask("history", {"jobId": job_id}))

    async def both(n: int) -> bool:
        had_ended, _ = await asyncio.gather(follow(ids[n]), app.cancel(ids[n]))
        return had_ended

    had_ended = [ended for start in range(0, 60, 6) for ended in await asyncio.gather(*(both(start + n) for n in range(6)))]
    last = str(await app.enqueue("a", {}))
    await watcher.ask("subscribe:jobs", {"jobId": last})
    await app.cancel(last)
    await until(lambda: endings(watcher)[last], "the last one is heard of")

    assert [] == [job_id for job_id, was in zip(ids, had_ended, strict=True) if not was and not endings(watcher)[job_id]]
    assert {1} == set(endings(watcher).values())


async def test_joining_and_leaving_again_and_again_under_load_loses_and_repeats_nothing(app, server, jobs):
    """What commits between an answer to subscribe and the next unsubscribe is heard once."""
    watcher, steady = await jobs(), await jobs()
    for each in (watcher, steady):
        await each.ask("subscribe:jobs", {})
    heard_while_in: list[str] = []
    going = True

    async def load() -> None:
        while going:
            await app.cancel(await app.enqueue("a", {}))

    loading = [asyncio.create_task(load()) for _ in range(2)]
    for _ in range(25):
        await watcher.ask("unsubscribe:jobs", {})
        await watcher.ask("subscribe:jobs", {})
        mine = str(await app.enqueue("a", {}))
        await app.cancel(mine)
        await until(lambda mine=mine: endings(watcher)[mine], "it is heard of")
        heard_while_in.append(mine)
    going = False
    await asyncio.gather(*loading)
    total = await app.store.fetchval("select count(*) from trunkline.outcome")
    await until(lambda: len(endings(steady)) == total, "the one that stayed heard everything")
    await asyncio.gather(watcher.close(), steady.close())
    await until(lambda: not server.watchers.rooms._rooms and not server.watchers.rooms._members, "the rooms are empty")

    assert {1} == set(endings(watcher).values()) == set(endings(steady).values())
    assert set(heard_while_in) <= set(endings(watcher))


async def test_two_sockets_with_one_pid_are_two_clients(app, jobs):
    """A pid is no key to anything: each gets what it missed, once, by its own offset."""
    job_id = str(await app.enqueue("a", {}))
    first = await jobs(recovery=True)
    await first.ask("subscribe:jobs", {"jobId": job_id})
    (_, mark) = await first.until("recovery", 2), first.offset
    await app.updates.emit_job_update(job_id, "one")
    await first.until("job:update")
    both = await asyncio.gather(*(jobs(recovery=True, pid=first.accepted["pid"], offset=mark) for _ in range(4)))
    await app.updates.emit_job_update(job_id, "two")
    for each in (*both, first):
        await each.until("job:update", 2)

    assert {first.accepted["pid"]} == {each.accepted["pid"] for each in both}
    assert [["one", "two"]] * 5 == [[update["status"] for update in each.said("job:update")] for each in (*both, first)]


async def test_a_token_revoked_while_calls_are_under_way_answers_nothing_untrue(app, server):
    """What was answered is there; what was under way may be; nothing is answered after the cut."""
    tenant_id = await app.tenant_id("customer-001")
    token_id, plain = await Tokens(app.store).create(tenant_id)
    client = await Bare.open(server.port, {"customerToken": plain})
    await client.until("client_ready")
    answered: list[str] = []

    async def send() -> None:
        with suppress(ConnectionError, WebSocketException):
            while client.closed is None:
                answer = await client.ask("send_job", {"name": "a", "data": {}})
                if answer["status"] == "ok":
                    answered.append(answer["jobId"])

    sending = [asyncio.create_task(send()) for _ in range(20)]
    await until(lambda: len(answered) > 100, "it is busy")
    await Tokens(app.store).deactivate(tenant_id, token_id)
    await asyncio.gather(*sending)
    await until(lambda: server.gateway.connections == 0, "it is out")
    found = [await app.get(job_id, tenant="customer-001") for job_id in answered[-30:]]
    count = await app.store.fetchval("select count(*) from trunkline.job")
    await client.close()

    assert ["Invalid authentication token"] == client.said("error") and 30 == len(found)
    assert len(answered) <= count <= len(answered) + 20


async def test_clients_that_connect_while_the_gateway_drains_are_sent_away_not_left(app, server, token):
    """Each is refused, or told to come back; none waits, and nothing of them is left."""
    plain = await token()
    is_over = False

    async def knock(n: int) -> list[int]:
        codes = []
        while not is_over:
            try:
                if n % 3 == 0:
                    url, headers = f"ws://127.0.0.1:{server.port}/ws/raw", {"Authorization": f"Bearer {plain}"}
                    async with connect(url, additional_headers=headers) as socket, asyncio.timeout(10):
                        await socket.wait_closed()
                        codes.append(socket.close_code or 1006)
                else:
                    path, namespace = (("/ws", "/"), ("/socket.io", "/jobs"))[n % 3 - 1]
                    bare = await Bare.open(server.port, {"customerToken": plain}, path=path, namespace=namespace)
                    await until(lambda bare=bare: bare.is_over, "it is sent away", within_s=10)
                    codes.append((bare.closed or (0, ""))[0])
                    await bare.close()
            except (OSError, WebSocketException):
                await asyncio.sleep(0.01)
        return codes

    knocking = [asyncio.create_task(knock(n)) for n in range(24)]
    await until(lambda: server.gateway.connections > 10, "they are there")
    await app.stop_gateway(0.3)
    is_over = True
    codes = {code for each in await asyncio.gather(*knocking) for code in each}

    assert codes <= {1012, 1013, 1006} and 1012 in codes
    assert (0, 0) == (server.gateway.connections, server.watchers.connections)
    assert 0 == server._front._addresses.visits


@pytest.mark.parametrize("transport", ["raw"], indirect=True)
async def test_a_tenant_that_reconnects_has_no_more_looks_under_way_than_one_that_stays(app, join, token, monkeypatch):
    """Three at once, whatever becomes of the connections that asked."""
    plain, may_answer, most, now = await token(), asyncio.Event(), 0, 0

    async def slow(*_: object, **__: object) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await may_answer.wait()
        now -= 1
        raise NotFound("not found")

    monkeypatch.setattr(app, "get", slow)
    for n in range(4):
        client = await join(plain=plain)
        frames = [{"type": "get_job", "data": {"jobName": "a", "jobId": "01a20705-c3cf-719f-b012-59868174cdd7"}}] * 10
        await client.socket.send(json.dumps(frames))
        await client.ok("register_worker", jobName=f"a{n}")  # what was sent before it was read
        client.kill()
        await until(lambda client=client: client.closed, "it is gone")
    may_answer.set()
    await until(lambda: now == 0, "all are over")

    assert 3 == most
