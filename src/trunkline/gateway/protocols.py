"""How uvicorn reads our port: with an end to every patience.

Always true: a connection that has not sent a whole request within HEADERS_WITHIN_S is closed (but where an application, which then has a
bound of its own, takes files), as is one whose headers are more than
MOST_HEADERS; a message of more than MOST_FRAGMENTS pieces, or of no UTF-8, ends its socket; a client that asks for pongs and does not read them is cut; a transport that is closed
is gone ABORT_AFTER_S later, whether or not its client reads the rest.
Called by: server.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
except ImportError:  # no httptools on this system
    HttpToolsProtocol = None  # type: ignore[assignment,misc]

PATIENT = "trunkline.patient"  # in the scope of a request whose application says itself how long its body may take
ABORT_AFTER_S = 5.0
HEADERS_WITHIN_S = 10.0
MOST_HEADERS = 64 * 1024  # bytes of a request before its body
MOST_FRAGMENTS = 1024
MOST_UNREAD = 8 * 1024 * 1024  # bytes that wait in the transport; what we send waits for its client long before


class WebSockets(WebSocketsSansIOProtocol):
    """A WebSocket."""

    _fragments = 0

    def data_received(self, data: bytes) -> None:
        """The request, then frames. The request comes whole, so one that is not understood now never will be."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
            self._abort_soon()

    def handle_connect(self, event: Any) -> None:
        """Put into the scope what ends the socket, and what writes to it, for applications that cannot wait for their client."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            self.scope["trunkline.end"] = self.end  # type: ignore[typeddict-unknown-key]
            self.scope["trunkline.write"] = self.write_through  # type: ignore[typeddict-unknown-key]

    def write_through(self, frame: bytes) -> bool:
        """Write a message that was framed before, without ASGI in between; False: not now, the client reads too slowly or is gone.

        Telling a room is mostly this (docs/decisions/0019): framed once, and no task of the recipient's is woken.
        """
        transport = self.transport
        if self.close_sent or transport.is_closing() or self.conn.extensions or not self.writable.is_set():
            return False
        transport.write(frame)
        return True

    def end(self, code: int, reason: str) -> None:
        """Say goodbye without waiting: whoever sends or receives is told that the client is gone."""
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code})
        self.disconnected = True
        self.writable.set()
        self._abort_soon()

    async def run_asgi(self) -> None:
        """Run the application, then see to it that the transport ends."""
        try:
            await super().run_asgi()
        finally:
            self._abort_soon()

    def start_keepalive(self) -> None:
        """Ping the plain WebSocket; Socket.IO has pings of its own, at intervals of its own."""
        if self.scope["path"].removesuffix("/") == "/ws/raw":
            super().start_keepalive()

    def keepalive_timeout(self) -> None:
        """The client did not answer a ping."""
        super().keepalive_timeout()
        self._abort_soon()

    def _abort_soon(self) -> None:
        self.loop.call_later(ABORT_AFTER_S, self.transport.abort)

    def handle_cont(self, event: Any) -> None:
        """A piece of a message."""
        self._fragments += 1
        if self._fragments > MOST_FRAGMENTS:
            self._refuse(1009, "too many fragments")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer it, unless nobody reads the answers."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MOST_UNREAD:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """A whole message."""
        self._fragments = 0
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._refuse(1007, "not UTF-8")
                return
        super().send_receive_event_to_app()

    def _refuse(self, code: int, reason: str) -> None:
        self.frames = []
        if not self.close_sent:
            self.conn.fail(code, reason)
            self.handle_parser_exception()
            self._abort_soon()


def is_patient(cycle: Any) -> bool:
    """Whether the application of a request bounds its body by itself."""
    return cycle is not None and PATIENT in cycle.scope


class _Patience:
    """An end to waiting for a request; in front of either HTTP protocol of uvicorn."""

    _within: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """It has to say something now."""
        super().connection_made(transport)  # type: ignore[misc]
        self._within = asyncio.get_running_loop().call_later(HEADERS_WITHIN_S, self._out_of_patience, transport)

    def _out_of_patience(self, transport: Any, before: Any = None) -> None:
        cycle = getattr(self, "cycle", None)
        if transport.get_protocol() is not self or is_patient(cycle):
            return
        if cycle is None or (cycle.more_body and cycle is before):
            transport.abort()
        else:
            self._within = asyncio.get_running_loop().call_later(HEADERS_WITHIN_S, self._out_of_patience, transport, cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._within is not None:
            self._within.cancel()
        super().connection_lost(exc)  # type: ignore[misc]


class _H11(_Patience, H11Protocol):
    """HTTP in Python."""


Http: Any = _H11
if HttpToolsProtocol is not None:

    class _HttpTools(_Patience, HttpToolsProtocol):
        """HTTP in C, whose second request on a connection has to come in time as well, and whose headers nobody else counts."""

        _heads = 0  # bytes that came before the headers were complete
        _is_in_head = True

        def data_received(self, data: bytes) -> None:
            """A part of a request."""
            self._heads = self._heads + len(data) if self._is_in_head else 0
            super().data_received(data)
            if self._is_in_head and self._heads > MOST_HEADERS:
                self.transport.abort()

        def on_message_begin(self) -> None:
            """A request begins."""
            super().on_message_begin()
            self._is_in_head = True
            if self._within is not None:
                self._within.cancel()
            self._within = self.loop.call_later(HEADERS_WITHIN_S, self._out_of_patience, self.transport)

        def on_headers_complete(self) -> None:
            """Its body follows."""
            self._is_in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            """It is whole."""
            if self._within is not None:
                self._within.cancel()
            super().on_message_complete()

        def _out_of_patience(self, transport: Any, _: Any = None) -> None:
            if transport.get_protocol() is self and not is_patient(self.cycle):
                transport.abort()

    Http = _HttpTools
