"""What a client may do wrong before it is a socket: each costs one connection, for seconds, and no line in the log."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from tests.gateway.test_abuse import clean_log  # noqa: F401 - nothing that happens here is an error of ours
from trunkline.gateway import protocols, raw

UPGRADE = (
    b"GET /ws/raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def all_of(server, *parts: bytes, until_cut_s: float = 20.0) -> bytes:
    """What the port says to a client that sends this and then waits for the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), until_cut_s)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_an_upgrade_with_strange_headers_is_answered_or_ended(server, monkeypatch):
    """It used to stay open for ever: what the WebSocket library does not read, nobody answered."""
    monkeypatch.setattr(raw, "HELLO_WITHIN_S", 0.2)
    monkeypatch.setattr(protocols, "ABORT_AFTER_S", 0.2)
    for headers in (b"a: b\r\n" * 1000, b"a: " + b"x" * 30_000 + b"\r\n", b"a: \xff\xfe\r\n" * 5, b"a: b\r\n" * 100):
        answer = await all_of(server, UPGRADE, headers, b"\r\n", b"\x88\x80\0\0\0\0")

        assert answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 4")), answer[:100]


async def test_a_flood_of_headers_is_cut_before_it_takes_memory(server):
    """Many of them, or one without an end."""
    before = psutil.Process().memory_info().rss
    for part in (b"a: " + b"x" * 4000 + b"\r\n", b"x" * 4000):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /ws/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\na: ")
        with pytest.raises(ConnectionError):
            for _ in range(10_000):  # 40 MB
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        writer.transport.abort()

    assert psutil.Process().memory_info().rss - before < 20_000_000


async def test_a_body_that_never_ends_is_not_waited_for(server, monkeypatch):
    """Whether or not it was answered already: one byte now and then kept a connection for ever."""
    monkeypatch.setattr(protocols, "HEADERS_WITHIN_S", 0.3)
    for path in ("/nothing", "/ws/?EIO=4&transport=polling&sid=forged"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        for _ in range(100):
            writer.write(b"x")
            await asyncio.sleep(0.05)
            if has_ended := reader.at_eof() or writer.transport.is_closing():
                break
        writer.transport.abort()

        assert has_ended, path


async def test_a_slow_body_of_a_session_is_given_up_and_the_session_goes_on(server, monkeypatch):
    """Its request is cut; what it sent whole before was heard."""
    import aiohttp

    monkeypatch.setattr(protocols, "HEADERS_WITHIN_S", 0.3)
    url = f"http://127.0.0.1:{server.port}/ws/?EIO=4&transport=polling"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as answer:
            sid = (await answer.text()).split('"sid":"')[1].split('"')[0]
        cut = await all_of(
            server, f"POST /ws/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n4".encode()
        )
        async with session.post(f"{url}&sid={sid}", data=b"40") as answer:
            status = answer.status

    assert b"" == cut and status in (200, 400)


async def test_a_forged_resume_at_the_upgrade_is_as_good_as_none(server, dial, token):
    """It is no part of a signal to other gateways, which they would stumble over."""
    plain = await token()
    for resume in ("1.%00", "2." + "x" * 7950, "3.a%0Ab", "4.%0B5", "1.%F0%9F%98%80", "999.%7F"):
        client = await dial(plain, resume=resume)

        assert await client.pushed("client_ready")
