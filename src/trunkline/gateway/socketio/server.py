"""The Socket.IO server of one path: packets to links, calls to dialects, answers to acks.

Always true: a session is in each namespace once at the most, and in none that is not served; a call is answered through its ack if
it has one (and its dialect an answer) and carried out in any case, also after its client has gone; nothing that a client sends raises or is logged as ours.
Called by: gateway.server. Calls: the dialects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import socketio
import structlog

from trunkline.errors import InvalidPayload, RateLimited, TrunklineError
from trunkline.gateway.addresses import Addresses
from trunkline.gateway.socketio import packets
from trunkline.gateway.socketio.engine import Engine
from trunkline.gateway.socketio.link import Dialect, Link
from trunkline.gateway.socketio.members import Members
from trunkline.gateway.socketio.packets import Packet
from trunkline.gateway.socketio.sockets import LEFT, MOST_CALLS, PROTOCOL, Socket
from trunkline.wire import Refusal
from trunkline.wire.text import MAX_BYTES

CALLS_WITHIN_S = 30.0
MOST_REFUSED = 10  # CONNECTs of one session
log = structlog.get_logger("trunkline.gateway")
quiet = logging.getLogger("trunkline.gateway.socketio")
quiet.setLevel(logging.CRITICAL)  # the library logs what clients do wrong as its own errors


class Server(socketio.AsyncServer):  # type: ignore[misc]
    """`engine.handle` is its ASGI application."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        addresses: Addresses,
        *,
        ping_s: float,
        ping_timeout_s: float,
        allows: Callable[..., bool],
        websocket_only: bool = False,
    ) -> None:
        self._addresses, self._dialects = addresses, dialects
        super().__init__(
            client_manager=Members(),
            serializer=Packet,
            logger=quiet,
            engineio_logger=quiet,
            async_mode="asgi",
            always_connect=True,
            namespaces=list(dialects),
            ping_interval=ping_s,
            ping_timeout=ping_timeout_s,
            max_http_buffer_size=MAX_BYTES,
            http_compression=False,
            cors_allowed_origins=allows,
            cors_credentials=False,
            transports=["websocket"] if websocket_only else ["polling", "websocket"],
            monitor_clients=False,
        )

    def _engineio_server_class(self) -> Callable[..., Engine]:
        return lambda **options: Engine(addresses=self._addresses, heard=self.heard, left=self.left, **options)

    # -- what the engine says ---------------------------------------------------------------

    async def heard(self, socket: Socket, text: str) -> None:
        """One Socket.IO packet of a client."""
        try:
            packet = Packet(encoded_packet=text)
        except ValueError:
            socket.leave(PROTOCOL, "this is no Socket.IO")
            return
        namespace = packet.namespace or "/"
        if packet.packet_type == packets.EVENT:
            await self._event(socket, socket.links.get(namespace), packet)
        elif packet.packet_type == packets.CONNECT:
            await self._connect(socket, namespace, packet.data)
        elif packet.packet_type == packets.DISCONNECT:
            if (link := socket.links.get(namespace)) is not None:
                link.end()
        elif packet.packet_type in packets.BINARY:
            self._refuse(socket.links.get(namespace), packet.id, InvalidPayload("binary is not accepted. Send JSON, bytes as base64."))
        elif packet.packet_type != packets.ACK:  # nobody was asked
            socket.leave(PROTOCOL, "this is no Socket.IO")

    def left(self, socket: Socket, _: str) -> None:
        """A session ended: so have its links; its calls have CALLS_WITHIN_S."""
        for link in tuple(socket.links.values()):
            link.end()
        if socket.calls:
            asyncio.get_running_loop().call_later(CALLS_WITHIN_S, _cancel, socket.calls)

    async def shutdown(self) -> None:
        """End every session."""
        await self.eio.shutdown()

    # -- packets ------------------------------------------------------------------------------

    async def _connect(self, socket: Socket, namespace: str, auth: str | None) -> None:
        dialect = self._dialects.get(namespace)
        sid = None if dialect is None else await self.manager.pre_connect(socket.sid, namespace)
        if dialect is None or sid is None:
            socket.post(packets.control(packets.CONNECT_ERROR, namespace[:100], {"message": "Invalid namespace"}))
            socket.refused += 1
            if socket.refused >= MOST_REFUSED:
                socket.leave(PROTOCOL, "there is no such namespace")
            return
        link = socket.links[namespace] = Link(socket, sid, namespace, dialect, self._ended)
        try:
            await dialect.enter(link, auth)
        except Exception:
            log.exception("gateway.socket_failed")
            socket.leave(1011, "something broke on our side")
        except asyncio.CancelledError:
            link.end()
            raise

    async def _event(self, socket: Socket, link: Link | None, packet: Packet) -> None:
        if link is None:
            return  # before CONNECT, or after the end
        try:
            name, data = packets.opened(packet.data)
        except TrunklineError as error:
            self._refuse(link, packet.id, error)
            return
        if await socket.turn():
            socket.begin(self._answer(link, packet.id, name, data))
        else:
            self._refuse(link, packet.id, RateLimited(f"{MOST_CALLS} calls of this connection are under way. Wait for their answers."))

    async def _answer(self, link: Link, number: int | None, name: str, data: Any) -> None:
        said: Any
        try:
            said = await link.dialect.answer(link, name, data)
        except Exception as error:
            log.exception("gateway.answer_failed", call=name)
            said = Refusal.of(error)
        if said is not None and number is not None and link.is_open:
            link.post(packets.answer(link.namespace, number, said))

    def _refuse(self, link: Link | None, number: int | None, error: TrunklineError) -> None:
        if link is not None and number is not None:
            link.post(packets.answer(link.namespace, number, Refusal.of(error)))

    def _ended(self, link: Link) -> None:
        socket: Any = link.socket
        if socket.links.get(link.namespace) is link:
            del socket.links[link.namespace]
        self.manager.forget(link.sid, link.namespace)
        try:
            link.dialect.left(link)
        except Exception:
            log.exception("gateway.socket_failed")
        if not socket.links and not socket.closing:
            socket.leave(LEFT, "")


def _cancel(calls: set[asyncio.Task[None]]) -> None:
    for call in tuple(calls):
        call.cancel()
