"""Engine.IO's server: lets sessions in, pings them all with one loop, and gives the library's handler frames that it can read.

Always true: a request that is no Engine.IO request is refused before a session is made; a session belongs to a visit of an
address; there is one loop for all pings and deadlines; no exception of a client's making leaves `handle`.
Called by: server (the library), gateway.server (ASGI).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import engineio
import structlog
from engineio import packet

from trunkline.gateway.addresses import Addresses
from trunkline.gateway.refuse import refuse
from trunkline.gateway.socketio.sockets import PROTOCOL, SILENT, Socket
from trunkline.observe.counts import Sockets

HELLO_WITHIN_S = 10.0
PULSE_S = 0.25
PLAIN = frozenset(("1", "2probe", "3", "5"))  # what the library reads itself
Asgi = Callable[..., Any]
log = structlog.get_logger("trunkline.gateway")


class Engine(engineio.AsyncServer):  # type: ignore[misc]
    """The sessions of one path. `heard` and `left` are what the Socket.IO server sets."""

    def __init__(self, *, addresses: Addresses, heard: Any, left: Any, **options: Any) -> None:
        super().__init__(**options)
        self._async: dict[str, Any] = {**self._async, "websocket": Upgraded}
        self._addresses = addresses
        self.heard, self.left = heard, left
        self.counts = Sockets()
        self.hello_within_s = HELLO_WITHIN_S
        self._pulse: asyncio.Task[None] | None = None

    async def handle(self, scope: Any, receive: Asgi, send: Asgi) -> None:
        """ASGI: a request or a WebSocket on our path."""
        query = _query(scope.get("query_string", b""))
        if query is None or "j" in query:  # JSONP is for browsers of another age
            return await refuse(scope, send, 400, "this is no Engine.IO request of version 4")
        first = await receive()
        if first["type"] not in ("http.request", "websocket.connect"):
            return None
        visit = None
        if "sid" not in query and scope.get("method", "GET") == "GET":
            visit = scope["trunkline.visit"] = self._addresses.enter((scope.get("client") or ("",))[0])
            if visit is None:
                return await refuse(scope, send, 429, "too many connections of your address. Try again later.")
        try:
            await self.handle_request(scope, _first(first, receive), send)
        except OSError:  # the client is gone
            pass
        except Exception:
            log.exception("gateway.request_failed", path=scope.get("path"))
        finally:
            if scope.get("trunkline.visit") is not None:  # no session came of it
                scope.pop("trunkline.visit").leave()
        return None

    async def _handle_connect(self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None) -> Any:
        sid = self.generate_id()
        socket = Socket(self, sid, environ["asgi.scope"].pop("trunkline.visit"))
        self.sockets[sid] = socket
        if self._pulse is None or self._pulse.done():
            self._pulse = asyncio.create_task(self._beat())
        hello = {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }
        socket.post(packet.Packet(packet.OPEN, hello))
        socket.schedule_ping()
        if transport == "websocket":
            try:
                return await socket.handle_get_request(environ)
            finally:
                await socket.close(wait=False, abort=True)
                self.forget(socket)
        socket.connected = True
        return self._ok(await socket.poll())

    async def disconnect(self, sid: str | None = None) -> None:
        """As the library says it; the pulse forgets the session."""
        if sid is not None and (socket := self.sockets.get(sid)) is not None:
            await socket.close(wait=False)

    def forget(self, socket: Socket) -> None:
        """It has ended. Twice is once."""
        if self.sockets.get(socket.sid) is socket:
            del self.sockets[socket.sid]

    def count(self) -> int:
        """Sessions, those that are ending too."""
        return len(self.sockets)

    async def _beat(self) -> None:
        while self.sockets:
            await asyncio.sleep(PULSE_S)
            now = time.monotonic()
            for socket in list(self.sockets.values()):
                try:
                    socket.pulse(now)
                except Exception:
                    log.exception("gateway.pulse_failed")

    async def shutdown(self) -> None:
        """Every session has been told; those that do not go are cut."""
        for socket in list(self.sockets.values()):
            socket.leave(1012, "the gateway is shutting down")
        ends_at = time.monotonic() + 1.0
        while self.sockets and time.monotonic() < ends_at:  # noqa: ASYNC110 - clients close by themselves
            await asyncio.sleep(0.02)
        for socket in list(self.sockets.values()):
            socket.cut()
            self.forget(socket)
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.gather(self._pulse, return_exceptions=True)


class Upgraded:
    """A WebSocket as the library's handler sees it; messages never reach that handler, they are taken here, without a task each."""

    def __init__(self, handler: Any, server: Engine) -> None:
        self._handler = handler
        self._session: Socket = handler.__self__

    async def __call__(self, environ: dict[str, Any]) -> str:
        """Live as long as the socket does."""
        self._receive, self._send = environ["asgi.receive"], environ["asgi.send"]
        session = self._session
        session.end_transport = environ["asgi.scope"].get("trunkline.end")
        session.write_through = environ["asgi.scope"].get("trunkline.write")
        session.upgrading = session.connected  # from here on, so that a second one is refused
        try:
            await self._send({"type": "websocket.accept"})
            await self._handler(self)
        except OSError:
            pass
        finally:
            session.end_transport = session.write_through = None
            if not session.upgraded:  # the client did not upgrade after all; polling goes on
                session.upgrading = False
            if session.upgraded:
                await session.close(wait=False, abort=True)
                session.server.forget(session)
        return ""

    async def wait(self) -> str:
        """The next frame for the library; OSError: there is none."""
        session = self._session
        while True:
            try:
                event = await self._receive()
            except asyncio.CancelledError:  # the library's own patience, which is as long as the pulse's
                session.leave(SILENT, "no answer to a ping", session.server.reason.PING_TIMEOUT)
                raise
            if event["type"] != "websocket.receive":
                raise OSError("gone")
            frame = event.get("text")
            if frame is None:  # an attachment: every binary event was refused
                await session.pace.take()
            elif frame[:1] == "4" and session.upgraded:
                await session.take(frame)
            elif frame in PLAIN:
                await session.pace.take()
                return str(frame)
            else:
                session.leave(PROTOCOL, "this is no Socket.IO")
            if session.is_over:
                raise OSError("the session is over")

    async def send(self, message: str | bytes) -> None:
        """One frame, as fast as its client reads."""
        if isinstance(message, bytes):
            await self._send({"type": "websocket.send", "bytes": message})
        else:
            await self._send({"type": "websocket.send", "text": message})

    async def close(self) -> None:
        """Say goodbye."""
        code, reason = self._session.goodbye
        with suppress(OSError, RuntimeError):
            await self._send({"type": "websocket.close", "code": code, "reason": reason})


def _query(text: bytes) -> dict[str, list[str]] | None:
    try:
        return parse_qs(text.decode("ascii"), max_num_fields=20) if len(text) <= 4096 else None
    except ValueError:
        return None


def _first(event: Any, receive: Asgi) -> Asgi:
    waiting = [event]

    async def next_event() -> Any:
        return waiting.pop() if waiting else await receive()

    return next_event
