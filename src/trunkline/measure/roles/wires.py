"""The gateway dialect as the load generator speaks it: over the plain WebSocket with many messages a frame, and over Socket.IO.

For measures only: pings are answered, nothing else of either protocol that a measure does not need.
Used by: remotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect

AT_ONCE = 250  # messages of one frame; 256 are allowed
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Said(NamedTuple):
    """A message of the gateway; `id` of an answer."""

    type: str
    data: dict[str, Any]
    id: int | None = None


class Asked(NamedTuple):
    """A call; `id` None: no answer is wanted."""

    name: str
    data: dict[str, Any]
    id: int | None = None


class Wire(Protocol):
    """One connection that was let in."""

    async def send(self, calls: Sequence[Asked]) -> None:
        """Ask."""
        ...

    async def read(self) -> list[Said]:
        """What came next, one message or several."""
        ...


class Raw:
    """`/ws/raw`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, calls: Sequence[Asked]) -> None:
        """In arrays."""
        for start in range(0, len(calls), AT_ONCE):
            some = [
                {"type": each.name, "data": each.data} if each.id is None else {"id": each.id, "type": each.name, "data": each.data}
                for each in calls[start : start + AT_ONCE]
            ]
            await self._socket.send(_encode(some).decode())

    async def read(self) -> list[Said]:
        """A frame."""
        read = _decode(await self._socket.recv())
        return [Said(each["type"], each["data"], each.get("id")) for each in (read if isinstance(read, list) else (read,))]


class SocketIO:
    """Any Socket.IO server's default namespace over a WebSocket; an event's name is the call, an acknowledgement the answer."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def send(self, calls: Sequence[Asked]) -> None:
        """One frame each."""
        for each in calls:
            number = "" if each.id is None else str(each.id)
            await self._socket.send(f"42{number}{_encode([each.name, each.data]).decode()}")

    async def read(self) -> list[Said]:
        """A frame."""
        frame = str(await self._socket.recv())
        if frame == "2":
            await self._socket.send("3")
        elif frame.startswith("42"):
            name, data = _decode(frame[2:])
            return [Said(name, data)]
        elif frame.startswith("43"):
            number, _, rest = frame[2:].partition("[")
            return [Said("reply", _decode(f"[{rest}")[0], int(number))]
        return []


async def entered(port: int, path: str, token: str) -> tuple[Wire, ClientConnection]:
    """A connection by its path: /ws/raw, /ws (Socket.IO with a token), or /socket.io (a stock server, which asks for none)."""
    if path == "/ws/raw":
        headers = {"Authorization": f"Bearer {token}"}
        url = f"ws://127.0.0.1:{port}/ws/raw?events=false"
        socket = await connect(url, additional_headers=headers, compression=None, max_size=None)
        await socket.recv()  # client_ready
        return Raw(socket), socket
    socket = await connect(f"ws://127.0.0.1:{port}{path}/?EIO=4&transport=websocket", compression=None, max_size=None)
    await socket.recv()  # open
    auth = {"customerToken": token, "events": False} if token else {}
    await socket.send(f"40{_encode(auth).decode()}")
    await socket.recv()  # the namespace
    if token:
        await socket.recv()  # client_ready
    return SocketIO(socket), socket
