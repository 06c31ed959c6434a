"""The update dialect on /socket.io, namespace /jobs: who may follow what, and what they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest
import socketio

from tests.gateway.node import Node
from tests.support.until import until
from trunkline import Trunkline
from trunkline.auth import Tokens
from trunkline.model.job import new_id
from trunkline.settings import Settings

SECRET = "s" * 40


@pytest.fixture
async def app(trunkline_url: str) -> AsyncIterator[Trunkline]:
    """With users of the default tenant."""
    settings = Settings.load({}, database_url=trunkline_url, shutdown_timeout_s=5, jwt_secret=SECRET, jwt_default_tenant="default")
    async with Trunkline(settings=settings) as app:
        yield app


class Watcher:
    """One client of the namespace."""

    def __init__(self) -> None:
        self.io = socketio.AsyncClient(reconnection=False)
        self.heard: list[tuple[str, Any]] = []
        self.io.on("*", lambda event, data=None: self.heard.append((event, data)), namespace="/jobs")

    async def follow(self, **what: Any) -> Any:
        return await self.io.call("subscribe:jobs", what, namespace="/jobs", timeout=30)

    async def until(self, event: str, count: int = 1) -> list[Any]:
        def found() -> list[Any]:
            return [data for said, data in self.heard if said == event]

        await until(lambda: len(found()) >= count, f"{count} × {event}; there is {self.heard}")
        return found()


Watch = Callable[..., Awaitable[Watcher]]


def user(name: str, **claims: Any) -> dict[str, str]:
    return {"token": jwt.encode({"sub": name, "exp": int(time.time()) + 600, **claims}, SECRET, algorithm="HS256")}


@pytest.fixture
async def watch(server) -> AsyncIterator[Watch]:
    """Come as whoever `auth` says."""
    async with AsyncExitStack() as stack:

        async def come(auth: Any = None) -> Watcher:
            watcher = Watcher()
            stack.push_async_callback(watcher.io.shutdown)
            url = f"http://127.0.0.1:{server.port}"
            await watcher.io.connect(url, namespaces=["/jobs"], auth=auth, transports=["websocket"])
            return watcher

        yield come


@pytest.mark.parametrize("transports", ["", "websocket"])
async def test_an_unmodified_browser_client_follows_a_job_to_its_end(app, server, transports):
    """During development it needs no token, as its documentation says."""

    @app.job("flashcards")
    async def flashcards(job):
        await job.progress(25, "Processing step 1")
        return {"count": 3}

    job_id = await app.enqueue("flashcards", {})
    client = await Node.start("seed-004.mjs", f"http://127.0.0.1:{server.port}", f'{{"jobId":"{job_id}"}}', transports)
    try:
        (answer,) = await client.saw("subscribed")
        await app.updates.emit_job_update(job_id, "thinking", {"message": "own word"})
        await client.saw("job:update")
        await app.start_worker()
        (done,) = await client.saw("job:completed")
        (progress,) = await client.saw("job:progress")
        updates = [update["status"] for update in client.seen("job:update")]
        await client.order("leave")
        (left,) = await client.saw("unsubscribed")
    finally:
        await client.stop()

    assert {"success": True, "room": f"job:{job_id}"} == {key: answer[key] for key in ("success", "room")}
    assert ["thinking", "started"] == updates
    assert ("in_progress", 25, "Processing step 1") == (progress["status"], progress["progress"], progress["message"])
    assert (str(job_id), "completed", {"count": 3}) == (done["jobId"], done["status"], done["result"]) and done["timestamp"]
    assert left["success"]


async def test_users_follow_their_own_and_nothing_else(app, watch):
    """Whatever they ask for; administrators and tokens with scope `watch` follow their tenant."""
    jobs = {name: await app.enqueue("a", {}, user_id=name) for name in ("ann", "bob")}
    foreign = await app.enqueue("a", {}, tenant="other")
    _, plain = await Tokens(app.store).create(await app.tenant_id(None), scopes=("watch",))
    ann, admin, machine = await watch(user("ann")), await watch(user("root", scope="admin")), await watch({"customerToken": plain})
    asked = [
        {"jobId": str(jobs["ann"])},
        {"jobId": str(jobs["bob"])},
        {"jobId": str(foreign)},
        {"jobId": str(new_id())},
        {"userId": "ann"},
        {"userId": "bob"},
        {},
    ]
    allowed = {
        name: [(await each.follow(**what))["success"] for what in asked]
        for name, each in (("ann", ann), ("admin", admin), ("machine", machine))
    }
    refused = await ann.follow(jobId=str(jobs["bob"]))
    for strange in ({"jobId": ["x"]}, {"jobId": "all-jobs"}, {"userId": {"a": 1}}, {"userId": "x" * 1000}):
        assert not (await ann.follow(**strange))["success"]
    for name in ("bob", "ann"):
        await app.updates.emit_job_update(jobs[name], f"of {name}")
    await app.updates.emit_to_user("bob", "note", {"for": "bob"})
    await app.updates.broadcast_to_all("maintenance", {"at": "noon"})
    for each in (ann, admin, machine):
        await each.until("maintenance")

    assert [True, False, False, False, True, False, True] == allowed["ann"]
    assert [True, True, False, False, True, True, True] == allowed["admin"] == allowed["machine"]
    assert "not found" == refused["message"]
    assert ["of ann"] == [data["status"] for _, data in ann.heard if "status" in data] and "note" not in dict(ann.heard)
    assert ["of bob", "of ann"] == [data["status"] for _, data in admin.heard if "status" in data] and "note" in dict(admin.heard)


async def test_history_is_for_those_who_may_see_the_job(app, watch):
    """Newest first, as it was told."""
    job_id = await app.enqueue("a", {}, user_id="ann")
    await app.updates.emit_job_progress(job_id, 10, "x")
    await app.updates.emit_job_error(job_id, "broken")
    ann, bob = await watch(user("ann")), await watch(user("bob"))
    lines, refused = [await each.io.call("history", {"jobId": str(job_id)}, namespace="/jobs") for each in (ann, bob)]

    assert ["failed", "in_progress", "queued"] == [line["status"] for line in lines]
    assert ("broken", 10) == (lines[0]["error"], lines[1]["progress"])
    assert ("error", "not_found") == (refused["status"], refused["code"])


async def test_nobody_gets_in_with_a_bad_token(app, server, watch):
    """Nor without one in production, nor with one that may not watch."""
    _, works = await Tokens(app.store).create(await app.tenant_id(None), scopes=("work",))
    for auth in (
        {"token": "x"},
        {"token": jwt.encode({"sub": "a"}, "", algorithm="none")},
        {"customerToken": "nope"},
        {"customerToken": works},
        [1],
    ):
        with pytest.raises(socketio.exceptions.ConnectionError):
            await watch(auth)
    server.dialects["/jobs"].anonymous = None
    with pytest.raises(socketio.exceptions.ConnectionError):
        await watch()


async def test_a_watcher_whose_token_is_revoked_is_out(app, watch, server):
    """And hears nothing more."""
    tenant_id = await app.tenant_id(None)
    token_id, plain = await Tokens(app.store).create(tenant_id)
    watcher = await watch({"customerToken": plain})
    assert (await watcher.follow())["success"]
    await Tokens(app.store).deactivate(tenant_id, token_id)
    await until(lambda: not watcher.io.connected, "it is cut")
    await asyncio.sleep(0)

    assert 0 == server.watchers.connections


async def test_a_stock_client_recovers_on_another_gateway(app, server, trunkline_url):
    """Also when it had heard nothing before; what it missed comes once, in order, before what is new."""
    job_id = await app.enqueue("a", {})
    client = await Node.start("recovery.mjs", f"http://127.0.0.1:{server.port}", f'{{"jobId":"{job_id}"}}')
    try:
        await client.saw("subscribed")
        for round_ in range(2):
            for session in list(server.socketio["/socket.io"].eio.sockets.values()):
                session.cut()  # no goodbye
            await app.stop_gateway(0.0)
            await client.saw("disconnect", round_ + 1)
            for n in range(3):
                await app.updates.emit_job_update(job_id, f"{round_}.{n}")
            async with Trunkline(settings=app.settings) as other:  # another process would know as little
                made = await other.start_gateway(port=server.port, mode="development")
                await client.saw("connect", round_ + 2)
                await other.updates.emit_job_update(job_id, f"{round_}.new")
                await client.saw("job:update", (round_ + 1) * 4)
                for session in list(made.socketio["/socket.io"].eio.sockets.values()):
                    session.cut()
                await other.stop_gateway(0.0)
            server = await app.start_gateway(port=server.port, mode="development")
            await client.saw("connect", 2 * round_ + 3)
    finally:
        await client.stop()

    assert [False, True, True, True, True] == client.seen("connect")
    assert [f"{round_}.{n}" for round_ in range(2) for n in (0, 1, 2, "new")] == [each["status"] for each in client.seen("job:update")]
    assert 1 == len(client.seen("subscribed"))


async def test_offsets_that_are_forged_or_too_old_recover_nothing(app, server, watch, monkeypatch):
    """The client is told so by a new pid; what it may not follow it does not get by saying that it did."""
    from trunkline.gateway import recovery

    job_id = await app.enqueue("a", {}, user_id="bob")
    stream = await app.stream()
    (first,) = [await watch({**user("bob"), "recovery": True})]
    assert (await first.follow(jobId=str(job_id)))["success"]
    (good,) = (await first.until("recovery", 2))[1:]
    offset, _, follows = good.partition("~")
    theirs = recovery.packed([f"job:{job_id}"])
    assert theirs == follows
    forged = ["-", "", "~", good + "x", f"{offset}~{follows[:-4]}", f"{offset[:-2]}~{follows}", f"~{follows}", "x" * 4000, f"{offset}~W10x"]
    told: list[Any] = []
    monkeypatch.setattr(type(server.socketio["/socket.io"]), "_connect", _spied(type(server.socketio["/socket.io"])._connect, told))
    for said in (*forged, good):
        await watch({**user("ann"), "recovery": True, "pid": "mine", "offset": said})
    await watch({**user("bob"), "recovery": True, "pid": "mine", "offset": good})

    assert ["mine"] == [pid for pid in told if pid == "mine"] and len(forged) + 2 == len(told)
    assert stream is not None


async def test_one_socket_follows_so_much_and_no_more(app, server, watch):
    """And what it asks about jobs takes few of the database's connections."""
    _, plain = await Tokens(app.store).create(await app.tenant_id(None), scopes=("watch",))
    greedy, other = await watch({"customerToken": plain}), await watch({"customerToken": plain})
    answers = [
        answer for n in range(0, 1200, 200) for answer in await asyncio.gather(*(greedy.follow(userId=f"u{i}") for i in range(n, n + 200)))
    ]
    asked = asyncio.gather(*(greedy.follow(jobId=str(new_id())) for _ in range(200)))
    assert (await other.follow())["success"]
    found = await asked
    await greedy.io.disconnect()
    await until(lambda: server.watchers.connections == 1, "it is gone")

    assert 999 == sum(answer["success"] for answer in answers)  # and the room of everybody
    assert "1000 rooms" in answers[-1]["message"] and {"not found"} == {answer["message"] for answer in found}
    assert 1 == len(server.watchers.rooms._rooms)


def _spied(connect: Any, told: list[Any]) -> Any:
    async def spy(self, socket, namespace, auth):
        await connect(self, socket, namespace, auth)
        told.append(socket.links[namespace].state.pid)

    return spy
