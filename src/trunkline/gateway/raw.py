"""The plain WebSocket `/ws/raw`: for any language that can open a WebSocket and read JSON.

Frames: wire.frames. A token comes as `Authorization: Bearer` at the upgrade, or as the first message `authenticate` within 10 s.
A client that sends arrays is sent arrays; others get one message a frame.
Always true: no more than MOST_CALLS calls of one socket are under way, and no more than RATE a second are read: past either its
frames wait in TCP, which slows nobody else; what waits to be sent is bounded, and a client that does not read it is
disconnected; progress that waits is the latest of its job, nothing else is left out; nothing that a client sends raises.
Called by: gateway.server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from trunkline.errors import TrunklineError, Unauthenticated
from trunkline.gateway.connection import Connection
from trunkline.gateway.gateway import COMES_BACK, Gateway
from trunkline.gateway.pace import Pace
from trunkline.gateway.said import Said
from trunkline.observe.counts import Sockets
from trunkline.wire import (
    Handshake,
    Message,
    Push,
    Refusal,
    Unreadable,
    decode_frame,
    decode_handshake,
    encode_error,
    encode_push,
    encode_reply,
    joined,
)
from trunkline.wire.frames import MAX_MESSAGES

HELLO_WITHIN_S = 10.0
MOST_CALLS = 1000
RATE = 20_000.0  # messages a second of one socket; a burst of as many
MOST_OUT_BYTES = 16 * 1024 * 1024
MOST_OUT = 20_000  # frames
CLOSE_WITHIN_S = 5.0
CALLS_WITHIN_S = 30.0
LEFT, NOT_LET_IN, TOO_SLOW, COME_BACK = 1000, 4401, 1013, 1012  # close codes
log = structlog.get_logger("trunkline.gateway")


@dataclass(slots=True)
class _Waiting:
    """A frame that is to be sent; with a key a newer one takes its place."""

    frame: bytes
    key: Hashable = None


class RawPeer:
    """One socket. `run` lives as long as it does."""

    def __init__(
        self, gateway: Gateway, socket: WebSocket, known: Callable[[], None] = lambda: None, counts: Sockets | None = None
    ) -> None:
        self._gateway, self._socket, self._known = gateway, socket, known
        self._counts = counts or Sockets()
        self._out: deque[_Waiting] = deque()
        self._by_key: dict[Hashable, _Waiting] = {}
        self._out_bytes = 0
        self._something = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._ending = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_CALLS)
        self._pace = Pace(RATE)
        self._speaks_arrays = False

    # -- what the gateway says ----------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether it takes more work."""
        return self._closing is None and self._out_bytes < MOST_OUT_BYTES // 2 and len(self._out) < MOST_OUT // 2

    def push(self, push: Push) -> None:
        """Send an event."""
        self._send(encode_push(push))

    def hear(self, said: Said) -> None:
        """Send an event that others are sent, too."""
        key = said.key
        if key is not None and (waiting := self._by_key.get(key)) is not None:
            self._out_bytes += len(said.frame) - len(waiting.frame)
            waiting.frame = said.frame
        else:
            self._send(said.frame, key)

    def close(self, reason: str) -> None:
        """Say why and disconnect."""
        self._close(COME_BACK if reason in COMES_BACK else NOT_LET_IN, reason)

    def _close(self, code: int, reason: str) -> None:
        if self._closing is None:
            if code in (NOT_LET_IN, TOO_SLOW):
                self._counts.errors["refused"] += 1
            self._send(encode_error(reason))
            self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        self._closing = self._closing or (code, reason)
        self._something.set()
        self._ending.set()

    def _send(self, frame: bytes, key: Hashable = None) -> None:
        if self._closing is not None:
            return
        waiting = _Waiting(frame, key)
        self._out.append(waiting)
        if key is not None:
            self._by_key[key] = waiting
        self._out_bytes += len(frame)
        self._counts.sent += 1
        self._something.set()
        if self._out_bytes > MOST_OUT_BYTES or len(self._out) > MOST_OUT:
            self._out.clear()
            self._by_key.clear()
            self._out_bytes = 0
            self._counts.errors["slow"] += 1
            self._end(TOO_SLOW, "read faster: too much waited to be sent")

    # -- its life -----------------------------------------------------------------------

    async def run(self) -> None:
        """From the upgrade to the end of the socket."""
        await self._socket.accept()
        self._counts.open += 1
        reader = asyncio.create_task(self._serve())
        writer = asyncio.create_task(self._write())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({reader, writer, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._counts.open -= 1
            reader.cancel()
            self._end(LEFT, "")
            await asyncio.wait({writer}, timeout=CLOSE_WITHIN_S)
            for task in (writer, ending):
                task.cancel()
            await asyncio.gather(reader, writer, ending, return_exceptions=True)
            with suppress(Exception):  # it may be gone, or not take the close: the server ends it
                if self._socket.application_state is not WebSocketState.DISCONNECTED:
                    async with asyncio.timeout(1.0):
                        await self._socket.close(*(self._closing or (LEFT, "")))
            if self._calls:  # what was asked is carried out, whether or not somebody hears the answer
                await asyncio.wait(self._calls, timeout=CALLS_WITHIN_S)
                for call in tuple(self._calls):
                    call.cancel()

    async def _serve(self) -> None:
        connection = None
        try:
            connection = await self._let_in()
            if connection is not None:
                self._known()
                await self._read(connection)
        except (WebSocketDisconnect, RuntimeError):  # Starlette says either when the client is gone
            pass
        except Exception:
            self._counts.errors["broken"] += 1
            log.exception("gateway.socket_failed")
        finally:
            if connection is not None:
                self._gateway.leave(connection)

    async def _let_in(self) -> Connection | None:
        try:
            handshake = self._from_header()
            if handshake is None:
                handshake = await self._first_message()
            return await self._gateway.admit(handshake, self, address=self._socket.client.host if self._socket.client else None)
        except TrunklineError as error:
            self._close(NOT_LET_IN if isinstance(error, Unauthenticated) else TOO_SLOW, str(error))
            return None

    def _from_header(self) -> Handshake | None:
        word, _, token = self._socket.headers.get("authorization", "").partition(" ")
        if word.lower() != "bearer":
            return None
        asked = self._socket.query_params
        return Handshake(customer_token=token.strip(), events=asked.get("events") != "false", resume=asked.get("resume"))

    async def _first_message(self) -> Handshake:
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                (message,) = decode_frame(await self._text(), max_bytes=64 * 1024)[:1]
        except TimeoutError:
            raise Unauthenticated("Authentication required") from None
        if isinstance(message, Unreadable) or message.type != "authenticate":
            raise Unauthenticated("Authentication required")
        handshake = decode_handshake(message.data)
        if isinstance(handshake, Refusal):
            raise Unauthenticated("Authentication required")
        return handshake

    async def _text(self) -> str | bytes:
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event.get("code", 1006))
        return event.get("text") or event.get("bytes") or ""

    async def _read(self, connection: Connection) -> None:
        while self._closing is None:
            text = await self._text()
            messages = decode_frame(text)
            self._speaks_arrays = self._speaks_arrays or len(messages) > 1
            for message in messages:
                await self._begin(connection, message)
            await self._pace.take(len(messages))

    async def _begin(self, connection: Connection, message: Message | Unreadable) -> None:
        if isinstance(message, Unreadable):
            self._send(encode_reply(message.id, message.refusal))
            return
        await self._room.acquire()
        call = asyncio.create_task(self._answer(connection, message))
        self._calls.add(call)
        call.add_done_callback(self._answered)

    async def _answer(self, connection: Connection, message: Message) -> None:
        answer = await self._gateway.answer(connection, message.type, message.data)
        if message.id is not None:
            self._send(encode_reply(message.id, answer))

    def _answered(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._room.release()
        if not call.cancelled() and (error := call.exception()) is not None:
            log.error("gateway.answer_failed", exc_info=error)

    def _next(self) -> bytes:
        waiting = self._out.popleft()
        if waiting.key is not None:
            del self._by_key[waiting.key]
        return waiting.frame

    async def _write(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            had_room = self.has_room
            while self._out:
                frames = [self._next() for _ in range(min(len(self._out), MAX_MESSAGES if self._speaks_arrays else 1))]
                try:
                    await self._socket.send_text(joined(frames).decode())
                except Exception:  # noqa: BLE001 - whatever a dead socket raises, the reader hears of it, too
                    self._end(LEFT, "")
                    return
                self._out_bytes = max(self._out_bytes - sum(map(len, frames)), 0)
            if not had_room and self.has_room:
                self._gateway.peer_has_room()
            if self._closing is not None:
                return
