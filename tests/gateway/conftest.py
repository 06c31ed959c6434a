"""A gateway on a real port, and clients as another language would write them: a WebSocket and JSON, nothing of ours."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import socketio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.gateways import another_gateway, gateway_of
from tests.support.tokens import token_maker
from tests.support.until import until
from trunkline import Trunkline
from trunkline.gateway.server import Server


class Client:
    """One socket. Answers go to whoever asked, pushes into `pushes` by event."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: dict[str, list[Any]] = {}
        self.order: list[str] = []
        self.closed: tuple[int, str] | None = None
        self._ids = itertools.count(1)
        self._answers: dict[Any, asyncio.Future[Any]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                read = json.loads(frame)
                for message in read if isinstance(read, list) else [read]:
                    if message["type"] == "reply":
                        if (waiting := self._answers.pop(message["id"], None)) is not None:
                            waiting.set_result(message["data"])
                        else:
                            self.pushes.setdefault("reply", []).append(message)
                    else:
                        self.order.append(message["type"])
                        self.pushes.setdefault(message["type"], []).append(message["data"])
        except ConnectionClosed:
            pass
        self.closed = (self.socket.close_code or 1006, self.socket.close_reason or "")

    async def ask(self, call: str, /, **fields: Any) -> Any:
        """The answer to one call."""
        (answer,) = await self.ask_many([(call, fields)])
        return answer

    async def ask_many(self, calls: list[tuple[str, Any]]) -> list[Any]:
        """The answers to several calls in one frame."""
        ids = [next(self._ids) for _ in calls]
        waiting = [self._answers.setdefault(i, asyncio.get_running_loop().create_future()) for i in ids]
        frames = [{"id": i, "type": call, "data": data} for i, (call, data) in zip(ids, calls, strict=True)]
        await self.socket.send(json.dumps(frames if len(frames) > 1 else frames[0]))
        return await asyncio.wait_for(asyncio.gather(*waiting), 30)

    async def ok(self, call: str, /, **fields: Any) -> Any:
        """The answer to a call that must be carried out."""
        answer = await self.ask(call, **fields)
        assert "ok" == answer["status"], answer
        return answer

    async def pushed(self, event: str, count: int = 1) -> list[Any]:
        """The first `count` pushes of an event, once they are there."""
        await until(lambda: len(self.pushes.get(event, ())) >= count, f"{count} × {event}; there is {self.pushes}")
        return self.pushes[event]

    async def until_closed(self) -> tuple[int, str]:
        """(code, reason) of the end that the gateway made."""
        await until(lambda: self.closed is not None, "the gateway closes the socket")
        assert self.closed is not None
        return self.closed

    def kill(self) -> None:
        """The connection is gone without a goodbye."""
        self.socket.transport.abort()

    async def close(self) -> None:
        """A clean end."""
        await self.socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)


class SocketIoClient(Client):
    """The same over Socket.IO, by python-socketio's own client. Every socket end it hears of is the gateway's unless it closes itself."""

    def __init__(self, transports: list[str]) -> None:
        self.io = socketio.AsyncClient(reconnection=False)
        self.transports = transports
        self.pushes, self.order, self.closed = {}, [], None
        self.io.on("*", self._heard)
        self.io.on("disconnect", self._ended)

    async def open(self, url: str, auth: dict[str, Any] | None) -> None:
        """Connect; the gateway says `client_ready` or `error` then."""
        await self.io.connect(url, socketio_path="/ws", auth=auth, transports=self.transports)

    def _heard(self, event: str, data: Any = None) -> None:
        self.order.append(event)
        self.pushes.setdefault(event, []).append(data)

    def _ended(self, reason: str) -> None:
        self.closed = (4401 if reason == "server disconnect" else 1012, reason)

    async def ask_many(self, calls: list[tuple[str, Any]]) -> list[Any]:
        """The answers to several calls."""
        return list(await asyncio.gather(*(self.io.call(call, data, timeout=30) for call, data in calls)))

    def kill(self) -> None:
        """The connection is gone without a goodbye."""
        self.io.eio.ws._response.connection.transport.abort()

    async def close(self) -> None:
        """A clean end."""
        await self.io.shutdown()


Join = Callable[..., Awaitable[Client]]


@pytest.fixture
async def server(app: Trunkline) -> AsyncIterator[Server]:
    """A gateway in development mode on a free port; a test waits for a second instead of five for a client to come back."""
    async with gateway_of(app) as made:
        yield made


@pytest.fixture
def transport(request: pytest.FixtureRequest) -> str:
    """How clients speak: `raw`, `websocket` or `polling` (Socket.IO)."""
    return getattr(request, "param", "raw")


EVERYWHERE = pytest.mark.parametrize("transport", ["raw", "websocket"], indirect=True)


@pytest.fixture
async def dial(server: Server, transport: str) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Open a socket; `token` goes into the header, or into `auth`."""
    async with AsyncExitStack() as stack:

        async def open_socket(token: str | None = None, path: str = "/ws/raw", **query: Any) -> Client:
            if transport != "raw":
                auth = {**query, **({} if token is None else {"customerToken": token})}
                if "events" in auth:
                    auth["events"] = auth["events"] != "false"
                speaking = SocketIoClient([transport])
                await speaking.open(f"http://127.0.0.1:{server.port}", auth or None)
                stack.push_async_callback(speaking.close)
                return speaking
            asked = "&".join(f"{name}={value}" for name, value in query.items())
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            url = f"ws://127.0.0.1:{server.port}{path}" + (f"?{asked}" if asked else "")
            socket = await connect(url, additional_headers=headers, compression=None, max_size=None)
            client = Client(socket)
            stack.push_async_callback(client.close)
            return client

        yield open_socket


@pytest.fixture
async def token(app: Trunkline) -> Callable[..., Awaitable[str]]:
    """Make a token of a tenant."""
    return token_maker(app)


@pytest.fixture
async def join(dial: Callable[..., Awaitable[Client]], token: Callable[..., Awaitable[str]]) -> Join:
    """A client of a tenant that was let in."""

    async def come(tenant: str = "customer-001", *scopes: str, plain: str | None = None, **query: Any) -> Client:
        client = await dial(plain or await token(tenant, *scopes), **query)
        await client.pushed("client_ready")
        return client

    return come


@pytest.fixture
async def worker(join: Join) -> Callable[..., Awaitable[Client]]:
    """A client that works on `resize`."""

    async def come(capacity: int = 1, name: str = "resize", **how: Any) -> Client:
        client = await join(**how)
        await client.ok("register_worker", jobName=name, options={"teamSize": capacity, "teamConcurrency": 1})
        return client

    return come


@pytest.fixture
async def elsewhere(trunkline_url: str) -> AsyncIterator[Server]:
    """Another gateway on the same database."""
    async with another_gateway(trunkline_url) as made:
        yield made


@pytest.fixture
async def cross(elsewhere: Server) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """A client of the other gateway."""
    async with AsyncExitStack() as stack:

        async def come(token: str, **query: Any) -> Client:
            asked = "&".join(f"{name}={value}" for name, value in query.items())
            url = f"ws://127.0.0.1:{elsewhere.port}/ws/raw?{asked}"
            client = Client(await connect(url, additional_headers={"Authorization": f"Bearer {token}"}, compression=None))
            stack.push_async_callback(client.close)
            await client.pushed("client_ready")
            return client

        yield come
