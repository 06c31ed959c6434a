"""The gateway dialect over Socket.IO: existing clients unchanged, both transports, and what only this transport can do wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
import socketio

from tests.gateway.conftest import SocketIoClient
from tests.gateway.node import Node
from tests.support.until import until
from trunkline.auth import Tokens
from trunkline.auth.mode import TEST_TOKEN
from trunkline.gateway.socketio import sockets

Start = Callable[..., Awaitable[Node]]


@pytest.fixture
async def node(server) -> AsyncIterator[Start]:
    """Run the client of the first system's documentation."""
    async with AsyncExitStack() as stack:

        async def start(role: str, token: str = TEST_TOKEN, transports: str = "", port: int | None = None) -> Node:
            made = await Node.start("seed-000.mjs", f"http://127.0.0.1:{port or server.port}", token, role, transports)
            stack.push_async_callback(made.stop)
            return made

        yield start


@pytest.mark.parametrize("transports", ["", "websocket", "polling"])
async def test_an_unmodified_client_sends_and_another_one_works(server, node, transports):
    """Events that are emitted before `client_ready` are carried out; the result comes back to whoever sent."""
    worker = await node("worker", transports=transports)
    sender = await node("sender", transports=transports)
    (sent,) = await sender.saw("sent")
    (job,) = await worker.saw("work_request")
    (done,) = await sender.saw("job_completed")
    (reported,) = await worker.saw("reported")
    (ready,) = await sender.saw("client_ready")

    assert ("ok", sent["jobId"], "email-processing") == (sent["status"], job["id"], job["name"])
    assert {"delivered": "jürgen@example.com"} == done["result"] and "ok" == reported["status"]
    assert "customer-001" == ready["customerId"]


async def test_an_unmodified_client_without_a_good_token_hears_why_and_is_out(node):
    """`error`, then the disconnect after which a stock client stays away."""
    for token, sentence in (("-", "Authentication required"), ("wrong-token", "Invalid authentication token")):
        client = await node("sender", token)
        (reason,) = await client.saw("disconnect")

        assert ([sentence], "io server disconnect") == (client.seen("error"), reason), client.lines


async def test_a_token_that_is_revoked_cuts_an_unmodified_client(app, node):
    """At once by signal."""
    tenant_id = await app.tenant_id("customer-001")
    token_id, plain = await Tokens(app.store).create(tenant_id)
    client = await node("worker", plain)
    await client.saw("client_ready")
    await Tokens(app.store).deactivate(tenant_id, token_id)
    (reason,) = await client.saw("disconnect")

    assert (["Invalid authentication token"], "io server disconnect") == (client.seen("error"), reason)


async def test_a_client_comes_back_by_itself_after_a_shutdown(app, server, node):
    """The socket is closed, not disconnected: a stock client takes that for a broken line."""
    client = await node("worker")
    await client.saw("client_ready")
    await app.stop_gateway(0.0)
    assert "io server disconnect" not in await client.saw("disconnect")
    await app.start_gateway(port=server.port, mode="development")
    await client.saw("reconnect")

    await client.saw("client_ready", 2)


async def test_binary_is_refused_and_leaves_nothing_behind(node, server):
    """Its attachment is read past; the client goes on."""
    client = await node("sender")
    await client.saw("sent")
    await client.order("binary")
    (answer,) = await client.saw("answered")
    await client.order("binary")

    assert "invalid_payload" == answer["code"] and "base64" in answer["error"]
    assert 2 == len(await client.saw("answered", 2))


@pytest.mark.parametrize("transport", ["polling"], indirect=True)
async def test_a_client_that_polls_works_as_well(join, worker, app, server):
    """Also when it asks more at once than the library's payload limit of sixteen."""
    sender, remote = await join(), await worker()
    answers = await sender.ask_many([("send_job", {"name": "resize", "data": {"n": n}}) for n in range(100)])
    (request,) = await remote.pushed("work_request")
    await remote.ok("job_completed", jobName="resize", jobId=request["id"])
    await sender.pushed("job_completed")

    assert 100 == len({answer["jobId"] for answer in answers})
    assert {"polling"} == {client.io.transport() for client in (sender, remote)}


async def test_websocket_only_refuses_to_poll(app, server, monkeypatch, token):
    """For gateways behind a balancer without sticky sessions."""
    await app.stop_gateway(0.0)
    monkeypatch.setattr(app, "settings", app.settings.model_copy(update={"websocket_only": True}))
    again = await app.start_gateway(port=0, mode="development")
    url, auth = f"http://127.0.0.1:{again.port}", {"customerToken": await token()}
    polling, socket = SocketIoClient(["polling"]), SocketIoClient(["websocket"])
    with pytest.raises(socketio.exceptions.ConnectionError):
        await polling.open(url, auth)
    await socket.open(url, auth)

    assert await socket.pushed("client_ready")
    await socket.close()
    await polling.close()


async def test_foreign_origins_are_refused_on_every_door(server, token):
    """A page of ours, of development, or none at all may; `null` is nobody's."""
    http, headers = f"http://127.0.0.1:{server.port}", {"Authorization": f"Bearer {await token()}"}
    doors = [f"{http}/ws/raw", f"{http}/ws/?EIO=4&transport=websocket"]
    cases = [("https://evil.example", 403), ("null", 403), ("http://localhost:5173", 101), (http, 101), (None, 101)]
    async with aiohttp.ClientSession() as session:
        for origin, expected in cases:
            own = {**headers, **({} if origin is None else {"Origin": origin})}
            for door in doors:
                try:
                    async with session.ws_connect(door, headers=own):
                        status = 101
                except aiohttp.WSServerHandshakeError as error:
                    status = error.status
                assert expected == status, (origin, door)
            async with session.get(f"{http}/ws/?EIO=4&transport=polling", headers=own) as answer:
                assert (200 if expected == 101 else 403) == answer.status
                assert (origin if expected == 101 else None) == answer.headers.get("Access-Control-Allow-Origin")


async def test_progress_waits_as_the_latest_only_and_endings_all():
    """A reader that is slow for a while misses no ending."""
    from trunkline.gateway.socketio.mailbox import Mailbox
    from trunkline.gateway.socketio.packets import event

    box = Mailbox(lambda: None, lambda: None)
    for n in range(100):
        box.put_nowait(event("/", "job_progress", {"n": n}, key="a"))
        box.put_nowait(event("/", "job_completed", {"n": n}))
    found = [parcel.encode() for parcel in (*await box.some(), *await box.some())]

    assert ['42["job_progress",{"n":99}]', '42["job_completed",{"n":0}]', '42["job_completed",{"n":99}]'] == [*found[:2], found[-1]]
    assert 101 == len(found) and 0 == box._bytes


async def test_calls_past_the_bound_of_a_socket_are_refused_not_kept(app, server, join, monkeypatch):
    """With a code that says: later."""
    monkeypatch.setattr(sockets, "TURN_WITHIN_S", 0.05)
    may_answer, ask = asyncio.Event(), app.queue_size

    async def slow(*args, **kwargs):
        await may_answer.wait()
        return await ask(*args, **kwargs)

    monkeypatch.setattr(app, "queue_size", slow)
    client = SocketIoClient(["websocket"])
    await client.open(f"http://127.0.0.1:{server.port}", {"customerToken": TEST_TOKEN})
    flood = asyncio.create_task(client.ask_many([("get_queue_size", {"jobName": "a"})] * (sockets.MOST_CALLS + 2)))
    (session,) = server.socketio["/ws"].eio.sockets.values()
    await until(lambda: len(session.calls) == sockets.MOST_CALLS, "as many as may be are under way")
    await asyncio.sleep(0.2)
    may_answer.set()
    codes = [answer.get("code") for answer in await flood]
    await client.close()

    assert {None, "rate_limited"} == set(codes) and codes.count("rate_limited") <= 2


async def test_an_event_to_a_room_is_encoded_once_and_put_into_each_mailbox(app, server, monkeypatch):
    """Through the library's own way to say it; who left the room or the namespace is not told."""
    from trunkline.gateway.socketio import packets

    io = server.socketio["/ws"]
    clients = [SocketIoClient(["websocket"]) for _ in range(4)]
    for client in clients:
        await client.open(f"http://127.0.0.1:{server.port}", {"customerToken": TEST_TOKEN})
        await client.pushed("client_ready")
    sids = [client.io.get_sid() for client in clients]
    for sid in sids[:3]:
        await io.enter_room(sid, "blue")
    await io.leave_room(sids[2], "blue")
    made, event = [], packets.event
    monkeypatch.setattr(packets, "event", lambda *args, **how: made.append(args) or event(*args, **how))
    await io.emit("paint", {"shade": 3}, room="blue", skip_sid=sids[1])
    await io.emit("paint", {"shade": 4}, room="blue")
    await io.emit("end", {})
    for client in clients:
        await client.pushed("end")
    seen = [[paint["shade"] for paint in client.pushes.get("paint", ())] for client in clients]
    for client in clients:
        await client.close()
    await until(lambda: not io.eio.sockets, "all are gone")

    assert [[3, 4], [4], [], []] == seen and 3 == len(made)
    assert ({}, {}, {}, {}) == (io.manager._members, io.manager._rooms_of, io.manager._sockets, io.manager._sids)
