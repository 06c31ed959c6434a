"""One Engine.IO session: polling or WebSocket, upgraded or not, from its handshake to its end.

Always true: what a client sends is dispatched in order, no faster than RATE and with at most MOST_CALLS calls under way; binary
frames are read and dropped, so an attachment that was announced is waited for by nobody; a session has one request of each kind
open at a time; whatever ends it, `close` was called once, its links hear of it, and its mailbox holds nothing more.
Called by: engine. Calls: server (`heard`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from engineio import exceptions, packet
from engineio.async_socket import AsyncSocket

from trunkline.gateway.addresses import Visit
from trunkline.gateway.pace import Pace
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.mailbox import Mailbox
from trunkline.gateway.socketio.packets import Parcel

RATE = 20_000.0  # frames a second
MOST_CALLS = 256  # under way at once: past that they wait, then are refused
TURN_WITHIN_S = 2.0  # less than the ping timeout: while a call waits for its turn, nothing is read
MOST_FRAMES = 512  # of one polling request
MOST_POLLED = 16  # packets of one answer: python-engineio's own client takes no more
BODY_WITHIN_S = 10.0
END_WITHIN_S = 3.0  # after the goodbye
LEFT, PROTOCOL, TOO_SLOW, SILENT = 1000, 1002, 1013, 4408
BAD_ENDS = {PROTOCOL: "protocol", 1011: "broken", TOO_SLOW: "slow", SILENT: "silent"}  # close code -> the reason that is counted
Ended = Callable[[int, str], None]


class Socket(AsyncSocket):  # type: ignore[misc]
    """A session."""

    def __init__(self, server: Any, sid: str, visit: Visit) -> None:
        super().__init__(server, sid)
        self.queue = Mailbox(self._too_slow, self._drained)
        self.visit = visit
        self.links: dict[str, Link] = {}  # by namespace
        self.calls: set[asyncio.Task[None]] = set()
        self.pace = Pace(RATE)
        self.goodbye = (LEFT, "")
        self.refused = 0  # CONNECTs
        self.is_held = False  # we do not read, so silence is not the client's
        self.born_at = time.monotonic()
        self.ping_at = self.answer_by = self.over_at = float("inf")
        self.end_transport: Callable[[int, str], None] | None = None
        self.write_through: Callable[[bytes], bool] | None = None
        self._turns = asyncio.Semaphore(MOST_CALLS)
        self._polls = self._posts = False
        self.is_over = False
        server.counts.open += 1

    @property
    def closed(self) -> bool:
        """Whether the library may forget it: it is over, and a polling client has had its last packets."""
        return self.is_over and self.queue.is_spent

    @closed.setter
    def closed(self, _: bool) -> None:
        """The library sets it to begin with."""

    # -- out ---------------------------------------------------------------------------------

    def post(self, parcel: packet.Packet) -> None:
        """Send it when its turn comes, which for a client that reads is now; nothing to a session that is over."""
        if self.is_over:
            return
        queue = self.queue
        self.server.counts.sent += isinstance(parcel, Parcel)
        if (
            queue.is_awaited
            and self.upgraded
            and self.write_through is not None
            and isinstance(parcel, Parcel)
            and self.write_through(parcel.frame)
        ):
            return
        queue.put_nowait(parcel)

    async def send(self, pkt: packet.Packet) -> None:
        """As the library says it."""
        self.post(pkt)

    async def poll(self) -> list[packet.Packet]:
        """What goes out next; [] at the end."""
        return await (self.queue.some() if self.upgraded else self.queue.some(MOST_POLLED))

    def _too_slow(self) -> None:
        self.leave(TOO_SLOW, "read faster: too much waited to be sent")
        self.cut()

    def _drained(self) -> None:
        for link in tuple(self.links.values()):
            link.drained()

    # -- in ----------------------------------------------------------------------------------

    async def take(self, frame: str) -> None:
        """One frame of a client.

        Raises:
            OSError: the session is over.
        """
        await self.pace.take()
        if self.is_over:
            raise OSError("the session is over")
        kind = frame[:1]
        if kind == "4":
            await self.server.heard(self, frame[1:])
        elif frame == "3":
            self.schedule_ping()
        elif frame == "1":
            await self.close(wait=False, abort=True, reason=self.server.reason.CLIENT_DISCONNECT)
        elif kind != "b":  # binary, in a polling request
            self.leave(PROTOCOL, "this is no Socket.IO")

    async def turn(self) -> bool:
        """Whether one more call may be under way, once there is room or TURN_WITHIN_S is over."""
        if not self._turns.locked():
            await self._turns.acquire()
            return True
        self.is_held = True
        try:
            async with asyncio.timeout(TURN_WITHIN_S):
                await self._turns.acquire()
            return True
        except TimeoutError:
            return False
        finally:
            self.is_held = False

    def begin(self, call: Awaitable[None]) -> None:
        """Carry a call out; `turn` said that it may be."""
        task = asyncio.ensure_future(call)
        self.calls.add(task)
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self.calls.discard(task)
        self._turns.release()

    async def handle_get_request(self, environ: dict[str, Any]) -> Any:
        """A poll, or the beginning of a WebSocket."""
        if environ["asgi.scope"]["type"] == "websocket":
            return self.server._bad_request() if self.upgrading else await super().handle_get_request(environ)
        if self._polls:  # the protocol has one at a time; two would each get a part
            return await self._overlapping()
        self._polls = True
        try:
            return await super().handle_get_request(environ)
        finally:
            self._polls = False

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        """The frames of a polling client."""
        if self._posts:
            await self._overlapping()
        self._posts = True
        try:
            for frame in await self._frames(environ):
                await self.take(frame)
        except (OSError, ValueError, TimeoutError) as error:
            raise exceptions.EngineIOError(str(error)) from None
        finally:
            self._posts = False

    async def _frames(self, environ: dict[str, Any]) -> list[str]:
        length = int(environ.get("CONTENT_LENGTH", "0"))
        if not 0 < length <= self.server.max_http_buffer_size:
            raise exceptions.ContentTooLongError
        async with asyncio.timeout(BODY_WITHIN_S):
            body: bytes = await environ["wsgi.input"].read(length)
        frames = body.decode().split("\x1e")
        if len(frames) > MOST_FRAMES:
            raise ValueError("too many frames in one request")
        return frames

    async def _overlapping(self) -> Any:
        await self.close(wait=False, reason=self.server.reason.TRANSPORT_ERROR)
        raise exceptions.EngineIOError("two requests of one kind at once")

    # -- pings -------------------------------------------------------------------------------

    def schedule_ping(self) -> None:
        """The next ping, now that the last one was answered. Engine's pulse sends it."""
        if self.ping_at == float("inf"):
            self.ping_at, self.answer_by = time.monotonic() + self.server.ping_interval, float("inf")

    def pulse(self, now: float) -> None:
        """What is due at monotonic time `now`."""
        if self.is_over:
            if now >= self.over_at:
                self.over_at = float("inf")
                self.cut()
        elif now >= self.ping_at:
            self.ping_at, self.answer_by = float("inf"), now + self.server.ping_timeout
            self.post(packet.Packet(packet.PING))
        elif now >= self.answer_by and not self.is_held:
            self.leave(SILENT, "no answer to a ping", self.server.reason.PING_TIMEOUT)
        elif not self.links and now - self.born_at >= self.server.hello_within_s:
            self.leave(SILENT, "no namespace was asked for")

    async def check_ping_timeout(self) -> bool:
        """The pulse sees to it."""
        return True

    # -- the end -----------------------------------------------------------------------------

    def leave(self, code: int, said: str, reason: str | None = None) -> None:
        """End the session once what waits is sent: a WebSocket with this code, which a stock client answers by coming back."""
        if not self.is_over:
            if (reason_counted := BAD_ENDS.get(code)) is not None:
                self.failed(reason_counted)
            self.goodbye = (code, said)
            self._close(reason or self.server.reason.SERVER_DISCONNECT, says_so=True)

    def failed(self, reason: str) -> None:
        """Count that it did not go well; see observe.counts.Sockets."""
        self.server.counts.errors[reason] += 1

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """As the library says it. Nobody waits. Twice is once."""
        self._close(reason or self.server.reason.SERVER_DISCONNECT, says_so=not abort)

    def _close(self, reason: str, *, says_so: bool) -> None:
        if self.is_over:
            return
        self.closing = True
        self.server.left(self, reason)
        if says_so and not self.upgraded:  # a WebSocket has its own goodbye
            self.queue.put_nowait(packet.Packet(packet.CLOSE))
        self.is_over = True
        self.server.counts.open -= 1
        self.queue.put_nowait(None)
        self.visit.leave()
        self.over_at = time.monotonic() + END_WITHIN_S  # a WebSocket that is just taking over brings the goodbye

    def cut(self) -> None:
        """End the transport, whether or not its client reads."""
        self.queue.end()
        if self.end_transport is not None:
            self.end_transport(*self.goodbye)
        else:
            self.server.forget(self)
