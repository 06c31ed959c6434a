"""Many Socket.IO clients in one process that only count: what they cost must not be what limits the server they listen to.

They speak just enough of Engine.IO 4 and Socket.IO 5 over a WebSocket: connect, join by one event, answer pings. Frames are
not parsed; each chunk that arrives is searched for the marker that every measured event carries once. For measures only: a real client
parses.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
from typing import Any, cast

from trunkline.measure.child import Parent

MARKER = b"@mark@"  # in each measured event, once; it may be cut in two by the end of a chunk
_PING, _PONG = b"\x81\x012", b"3"
_SAY_S = 0.02
JOIN_S = 30.0  # a server that refuses is not told from one that is slow


class _Listener(asyncio.Protocol):
    def __init__(self, path: str, greeting: str, join: str | None, hub: _Hub) -> None:
        self._path, self._greeting, self._join, self._hub = path, greeting, join, hub
        self._rest = b""
        self._is_upgraded = False
        self.joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self.joined.done():
            self._count(data)
            return
        data = self._rest + data
        if not self._is_upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            if b" 101 " not in head:
                self.joined.set_exception(RuntimeError(f"no upgrade: {head[:200]!r}"))
                return
            self._is_upgraded = True
            self.send(self._greeting)
        self._rest = data
        self._go_on()

    def _go_on(self) -> None:
        """Connected to the namespace: join. Joined (the answer to event 1 came, or nothing is to be asked): count."""
        if self._join is not None and b'"sid":"' in self._rest.partition(b'"pingInterval"')[2]:
            self.send(self._join)
            self._join = None
        elif self._join is None and (b"1[" in self._rest):
            self.joined.set_result(None)
            self._rest = b""

    def _count(self, data: bytes) -> None:
        if _PING in data:
            self.send(_PONG.decode())
        whole = self._rest + data
        found = whole.count(MARKER)
        keep = 0 if whole.endswith(MARKER) else len(MARKER) - 1
        self._rest = whole[-keep:] if keep else b""
        if found:
            self._hub.count += found
            self._hub.at = time.monotonic()

    def connection_lost(self, error: Exception | None) -> None:
        self._hub.lost += 1
        if not self.joined.done():
            self.joined.set_exception(ConnectionError("closed while it joined"))

    def send(self, text: str) -> None:
        payload = text.encode()
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + struct.pack(">H", len(payload))
        self._transport.write(b"\x81" + size + bytes(4) + payload)  # masked with zeros


class _Hub:
    def __init__(self) -> None:
        self.count = self.lost = 0
        self.at = 0.0


async def listen(
    parent: Parent, url: str, *, port: int, path: str, namespace: str, auth: dict[str, Any], join: list[Any], clients: int
) -> None:
    """`clients` sockets that join by the event `join` and wait for its answer; then `count N`: say when N events have come in."""
    hub, loop = _Hub(), asyncio.get_running_loop()
    prefix = f"{namespace}," if namespace != "/" else ""
    greeting, ask = f"40{prefix}{json.dumps(auth)}", f"42{prefix}1{json.dumps(join)}"
    where = f"{path}/?EIO=4&transport=websocket"
    for _ in range(clients):
        _, listener = await loop.create_connection(lambda: _Listener(where, greeting, ask, hub), "127.0.0.1", port)
        await asyncio.wait_for(listener.joined, JOIN_S)
    parent.say("ready")
    while (order := await parent.order()) != "stop":
        wanted, said = int(order.removeprefix("count:")), 0.0
        while hub.count < wanted and not hub.lost:
            await asyncio.sleep(0.002)
            if time.monotonic() - said > _SAY_S:
                said = time.monotonic()
                parent.say("seen", at=said, handled=hub.count, recorded=0)
        parent.say("counted", count=hub.count, at=hub.at, lost=hub.lost)
        hub.count = 0
    parent.say("done")
