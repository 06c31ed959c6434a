"""What a socket may not do to the others: each abuse ends its own session at most, nothing is logged as ours, and memory returns."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.gateways import gateway_of
from tests.support.until import until
from trunkline import Trunkline
from trunkline.auth.mode import TEST_TOKEN
from trunkline.gateway import protocols
from trunkline.gateway.addresses import Addresses
from trunkline.gateway.socketio import mailbox, sockets
from trunkline.settings import Settings
from trunkline.wire.text import MAX_BYTES

HELLO = f'40{{"customerToken":"{TEST_TOKEN}"}}'
Open = Callable[..., Awaitable[ClientConnection]]


@pytest.fixture(autouse=True)
def clean_log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing that a client does is an error of ours."""
    yield
    said = capsys.readouterr()
    assert [] == [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert [] == [line for line in (said.out + said.err).splitlines() if "[error" in line or "Traceback" in line]


@pytest.fixture
async def bare(server) -> AsyncIterator[Open]:
    """A WebSocket on /ws that speaks for itself; with `hello` it is let in."""
    async with AsyncExitStack() as stack:

        async def come(hello: str | None = HELLO) -> ClientConnection:
            url = f"ws://127.0.0.1:{server.port}/ws/?EIO=4&transport=websocket"
            socket = await stack.enter_async_context(connect(url, compression=None, max_size=None, ping_interval=None))
            assert str(await socket.recv()).startswith("0")
            if hello is not None:
                await socket.send(hello)
                while not str(await socket.recv()).startswith('42["client_ready"'):
                    pass
            return socket

        yield come


async def ended(socket: ClientConnection) -> int | None:
    """The close code, once the gateway has ended it."""
    try:
        async with asyncio.timeout(30):
            while True:
                await socket.recv()
    except ConnectionClosed:
        return socket.close_code


async def acked(socket: ClientConnection, number: int = 1) -> dict:
    """The answer to call `number`."""
    async with asyncio.timeout(30):
        while not (frame := str(await socket.recv())).startswith(f"43{number}["):
            if frame == "2":
                await socket.send("3")
    return json.loads(frame[2 + len(str(number)) :])[0]


async def is_well(server, bare: Open) -> None:
    """Somebody else is answered, and of what came before nothing is left but what is still open."""
    socket = await bare()
    await socket.send('421["get_queue_size",{"jobName":"a"}]')
    assert "ok" == (await acked(socket))["status"]
    await socket.close()


BAD_TEXT = {
    "deep": '{"name":"a","data":' + "[" * 100_000 + "]" * 100_000 + "}",
    "twice": '{"name":"a","data":{"x":1,"x":2}}',
    "nan": '{"name":"a","data":NaN}',
    "infinite": '{"name":"a","data":1e400}',
    "large": '{"name":"a","data":1180591620717411303424}',
    "nul": '{"name":"a","data":"\\u0000"}',
    "surrogate": '{"name":"a","data":"\\ud800"}',
    "open": '{"name":"a","data":',
}


@pytest.mark.parametrize("bad", BAD_TEXT)
async def test_text_that_no_reader_should_meet_is_refused_in_the_answer(server, bare, bad):
    """And the socket goes on."""
    socket = await bare()
    await socket.send(f'421["send_job",{BAD_TEXT[bad]}]')
    answer = await acked(socket)
    await socket.send('422["get_queue_size",{"jobName":"a"}]')

    assert "invalid_payload" == answer["code"], answer
    assert 0 == (await acked(socket, 2))["queueSize"]


NOT_SOCKET_IO = [
    "",
    "4",
    "47",
    "9",
    "4x",
    "6hello",
    "[" * 100_000,
    "4[" + "[" * 100_000,
    "42",
    "4²",
    "2" * 50,
    "42" + "1" * 200 + '["a"]',
    "44{}",
]


@pytest.mark.parametrize("frame", NOT_SOCKET_IO, ids=lambda frame: f"{frame[:8]}-{len(frame)}")
async def test_what_is_no_socket_io_ends_its_socket_or_is_passed_over(server, bare, frame):
    """Nothing else."""
    socket = await bare()
    await socket.send(frame)
    try:
        await socket.send('421["get_queue_size",{"jobName":"a"}]')
        assert "ok" == (await acked(socket))["status"]
    except ConnectionClosed:
        assert 1002 == socket.close_code
    await is_well(server, bare)


async def test_a_bad_hello_is_told_so(server, bare):
    """Whatever stands where the token should be."""
    for auth in ('{"customerToken":5}', "[]", "7", '{"customerToken":"a","customerToken":"b"}', '"' + "x" * 100_000 + '"', "{" * 10_000):
        socket = await bare(None)
        await socket.send("40" + auth)
        heard = [str(await socket.recv()) for _ in range(2)]

        assert heard[0].startswith("40{") and '42["error","Authentication required"]' == heard[1], auth
        assert 1000 == await ended(socket)


async def test_invalid_utf_8_and_oversized_frames_end_their_socket(server, bare):
    """With the codes of RFC 6455."""
    for data, code in ((b"4\xff\xfe", 1007), (b"4" + b"x" * (2 * 1024 * 1024 + 10), 1009)):
        socket = await bare()
        socket.protocol.send_text(data)
        socket.transport.write(b"".join(socket.protocol.data_to_send()))
        assert code == await ended(socket)
    await is_well(server, bare)


async def test_a_message_in_endless_pieces_ends_its_socket(server, bare):
    """Each piece is small, so no size would ever stop it."""
    socket = await bare()
    socket.protocol.send_text(b"4", fin=False)
    for _ in range(protocols.MOST_FRAGMENTS + 5):
        socket.protocol.send_continuation(b"", fin=False)
    socket.transport.write(b"".join(socket.protocol.data_to_send()))

    assert 1009 == await ended(socket)


async def test_compression_is_not_spoken(server):
    """So there is no bomb to unpack."""
    async with connect(f"ws://127.0.0.1:{server.port}/ws/?EIO=4&transport=websocket", compression="deflate") as socket:
        assert [] == socket.protocol.extensions


async def test_compression_that_is_switched_on_unpacks_no_bombs(trunkline_url):
    """Calls and what a room is told are as without it; a small frame that unpacks to more than a large one may have ends its socket."""
    settings = Settings.load({"TRUNKLINE_WS_COMPRESSION": "on"}, database_url=trunkline_url)
    async with Trunkline(settings=settings) as app, gateway_of(app) as made:
        url = f"ws://127.0.0.1:{made.port}"
        async with (
            connect(f"{url}/ws/raw", compression="deflate", max_size=None) as bomb,
            connect(f"{url}/socket.io/?EIO=4&transport=websocket", compression="deflate") as watcher,
        ):
            spoken = [len(socket.protocol.extensions) for socket in (bomb, watcher)]
            await watcher.recv()
            for said in ("40/jobs,", '42/jobs,0["subscribe:jobs",{}]'):
                await watcher.send(said)
                await watcher.recv()
            await app.updates.broadcast_to_all("maintenance", {"at": "noon" * 100})
            told = await watcher.recv()
            with suppress(ConnectionClosed):
                await bomb.send("x" * (2 * MAX_BYTES))
                await bomb.recv()

    assert [1, 1] == spoken
    assert "noon" * 100 in str(told)
    assert 1009 == bomb.close_code


async def test_attachments_that_never_come_are_waited_for_by_nobody(server, bare):
    """Nor are those kept that nobody announced."""
    socket = await bare()
    await socket.send('451000000000-["send_job",{"_placeholder":true,"num":0}]')
    await socket.send('459-1["send_job",{"_placeholder":true,"num":0}]')
    assert "invalid_payload" == (await acked(socket))["code"]
    for _ in range(20):
        await socket.send(b"x" * 100_000)
    await socket.send('422["get_queue_size",{"jobName":"a"}]')

    assert "ok" == (await acked(socket, 2))["status"]
    assert {} == server.socketio["/ws"]._binary_packet


async def test_silent_sockets_are_closed(server, bare, monkeypatch):
    """A connection without a request, a session without a namespace, a polling session that nobody polls, one without pongs."""
    monkeypatch.setattr(protocols, "HEADERS_WITHIN_S", 0.3)
    engine = server.socketio["/ws"].eio
    engine.hello_within_s, engine.ping_interval, engine.ping_timeout = 0.5, 0.3, 0.5
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    slow_reader, slow_writer = await asyncio.open_connection("127.0.0.1", server.port)
    slow_writer.write(b"GET /ws/?EIO=4 HTTP/1.1\r\nHost: x\r\n")
    no_name, no_pong = await bare(None), await bare()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}/ws/?EIO=4&transport=polling") as answer:
        assert 200 == answer.status

    assert (b"", b"") == (await asyncio.wait_for(reader.read(), 10), await asyncio.wait_for(slow_reader.read(), 10))
    assert [4408, 4408] == [await ended(no_name), await ended(no_pong)]
    await until(lambda: not engine.sockets, "no session is left")
    assert (0, 0) == (server.gateway.connections, engine._addresses.visits)
    for each in (writer, slow_writer):
        each.close()


async def test_many_namespaces_and_many_hellos_of_one_socket_are_refused(server, bare):
    """One is served here, once."""
    socket = await bare()
    await socket.send("40")
    assert '44{"message":"Invalid namespace"}' == await socket.recv()
    for n in range(20):
        await socket.send(f"40/jobs{n},")

    assert 1002 == await ended(socket)
    await until(lambda: server.gateway.connections == 0, "it is out")


async def test_forged_and_foreign_sessions_reach_nothing(server, bare):
    """An id that is not there, one that is upgraded, requests on top of each other, JSONP, and floods in one request."""
    url = f"http://127.0.0.1:{server.port}/ws/"
    upgraded = await bare()
    (sid,) = server.socketio["/ws"].eio.sockets
    async with aiohttp.ClientSession() as session:

        async def status(method: str, query: str, data: bytes | None = None) -> int:
            async with session.request(method, f"{url}?{query}", data=None if data is None else io.BytesIO(data)) as answer:
                await answer.read()
                return answer.status

        for query in ("EIO=4&transport=polling&sid=forged", f"EIO=4&transport=polling&sid={sid}", "EIO=4&transport=polling&j=0", "EIO=3"):
            assert 400 == await status("GET", query), query
            assert 400 == await status("POST", query, b"41"), query
        assert 400 == await status("GET", "&".join(f"a{n}=1" for n in range(100)))
        for body in (b"\x1e".join([b'42["x"]'] * 5000), b"4\xff\xfe", b"x" * (2 * 1024 * 1024 + 1), b""):
            async with session.get(f"{url}?EIO=4&transport=polling") as answer:
                mine = json.loads((await answer.text())[1:])["sid"]
            assert 400 == await status("POST", f"EIO=4&transport=polling&sid={mine}", body)
        async with session.get(f"{url}?EIO=4&transport=polling") as answer:
            mine = json.loads((await answer.text())[1:])["sid"]
        twice = await asyncio.gather(*(status("GET", f"EIO=4&transport=polling&sid={mine}") for _ in range(2)))
        assert 400 in twice
    await upgraded.send('421["get_queue_size",{"jobName":"a"}]')
    assert "ok" == (await acked(upgraded))["status"]


async def test_a_reader_that_stops_is_cut_and_its_memory_returns(app, server, bare, monkeypatch):
    """Others do not notice."""
    from tests.gateway.test_doors import _large

    monkeypatch.setattr(mailbox, "MOST_BYTES", 2_000_000)
    monkeypatch.setattr(protocols, "ABORT_AFTER_S", 0.2)
    tenant_id = await app.tenant_id("customer-001")
    deaf, engine = await bare(), server.socketio["/ws"].eio
    deaf.transport.pause_reading()
    (session,) = engine.sockets.values()
    for _ in range(60):
        server.gateway.audience._hear([_large(tenant_id)])
        await asyncio.sleep(0)
    await until(lambda: server.gateway.connections == 0 and not engine.sockets, "the deaf client is out")

    assert (0, 1013) == (session.queue._bytes, session.goodbye[0])
    await is_well(server, bare)


async def test_pings_whose_answers_nobody_reads_end_their_socket(server, bare, monkeypatch):
    """Pongs are sent without waiting, so they are counted."""
    monkeypatch.setattr(protocols, "MOST_UNREAD", 100_000)
    socket = await bare()
    socket.transport.pause_reading()
    frame = struct.pack("!BB", 0x89, 0x80 | 125) + b"\0\0\0\0" + b"p" * 125
    for _ in range(400):
        socket.transport.write(frame * 500)
        await asyncio.sleep(0)
        if server.gateway.connections == 0:
            break
    await until(lambda: server.gateway.connections == 0, "it is out")
    socket.transport.abort()


async def test_a_flood_of_calls_is_carried_out_in_its_turn_and_others_are_answered(server, bare):
    """As fast as one socket can: its frames wait with it."""
    flood, probe = await bare(), await bare()
    frames = b"".join(_masked(b'42["get_queue_size",{"jobName":""}]') for _ in range(20_000))
    gc.collect()
    flood.transport.write(frames)
    slowest = 0.0
    for n in range(1, 20):
        began = time.monotonic()
        await probe.send(f'42{n}["get_queue_size",{{"jobName":"a"}}]')
        await acked(probe, n)
        slowest = max(slowest, time.monotonic() - began)
    sessions = list(server.socketio["/ws"].eio.sockets.values())

    assert all(len(session.calls) <= sockets.MOST_CALLS for session in sessions)
    print(f"slowest answer beside a flood: {slowest * 1000:.0f} ms")
    assert slowest < 10  # a broken system starves it altogether


def _masked(data: bytes) -> bytes:
    return struct.pack("!BB", 0x81, 0x80 | len(data)) + b"\0\0\0\0" + data


async def test_an_address_holds_so_much_and_comes_so_fast(server, bare, dial):
    """Sockets, sockets that have not said who they are, and new ones a second; by the address that is believed."""
    now = 1000.0
    addresses = Addresses(most=3, most_unknown=2, rate=1.0, clock=lambda: now)
    first, second = addresses.enter("10.0.0.1"), addresses.enter("10.0.0.1")
    assert first and second and addresses.enter("10.0.0.1") is None  # two are unknown
    first.known(), second.known()
    third = addresses.enter("10.0.0.1")
    assert third and addresses.enter("10.0.0.1") is None and addresses.enter("10.0.0.2")
    for each in (first, second, third):
        each.leave(), each.leave()
    again = [addresses.enter("10.0.0.1") for _ in range(2)]
    assert all(again)
    for _ in range(20):  # ten at once, then one a second
        if (visit := addresses.enter("10.0.0.3")) is not None:
            visit.leave()
    assert addresses.enter("10.0.0.3") is None
    now += 1.1
    assert addresses.enter("10.0.0.3") is not None
    assert addresses.enter("2001:db8::1") and addresses.enter("2001:db8::2") and addresses.enter("2001:db8::3") is None


async def test_a_forwarded_address_is_believed_of_trusted_proxies_only(app, server, token):
    """Else everybody could be somebody else, or a thousand people."""
    plain, seen = await token(), []
    for proxies in ("", "127.0.0.1"):
        app.settings = app.settings.model_copy(update={"trusted_proxies": proxies})
        await app.stop_gateway(0.0)
        again = await app.start_gateway(port=0, mode="development")
        headers = {"X-Forwarded-For": "203.0.113.7", "Authorization": f"Bearer {plain}"}
        for path in ("/ws/?EIO=4&transport=websocket", "/ws/raw"):
            async with connect(f"ws://127.0.0.1:{again.port}{path}", additional_headers=headers) as socket:
                await socket.recv()
                seen.append(set(again._front._addresses._by_name))

    assert [{"127.0.0.1"}] * 2 + [{"203.0.113.7"}] * 2 == seen
