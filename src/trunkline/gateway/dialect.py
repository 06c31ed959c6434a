"""The gateway dialect over Socket.IO: path `/ws`, default namespace, `auth: {customerToken, events?, resume?}`.

Always true: the namespace lets everybody in and then says `client_ready`, or `error` with a sentence and disconnects, as clients
of old expect it; calls that come before `client_ready` wait for it. Whom a stock client is to come back from (a shutdown, a queue
that overflowed) its socket is closed; whom it is not, it is told to disconnect.
Called by: gateway.server. Calls: gateway.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from trunkline.errors import TrunklineError, Unauthenticated
from trunkline.gateway.gateway import COMES_BACK, INVALID, Gateway
from trunkline.gateway.said import Said
from trunkline.gateway.socketio.link import Link
from trunkline.gateway.socketio.sockets import TOO_SLOW
from trunkline.wire import Handshake, Push, Refusal, decode_handshake

COME_BACK = 1012


class LinkPeer:
    """The transport's end of a connection."""

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def has_room(self) -> bool:
        """Whether it takes more work."""
        return self._link.has_room

    def push(self, push: Push) -> None:
        """Send an event."""
        self._link.post(Said(push).parcel)

    def hear(self, said: Said) -> None:
        """Send an event that others are sent, too."""
        self._link.post(said.parcel)

    def close(self, reason: str) -> None:
        """Say why and disconnect."""
        if not self._link.is_open:
            return
        if reason in COMES_BACK:
            self._link.socket.leave(COME_BACK, reason)
        else:
            self._link.tell("error", reason)
            self._link.disconnect()


class GatewayDialect:
    """Senders and remote workers."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def enter(self, link: Link, auth: str | None) -> None:
        """Let a client in, whoever it is, and see who it is."""
        link.accept()
        peer = LinkPeer(link)
        try:
            connection = await self._gateway.admit(_handshake(auth), peer, address=link.address)
        except Unauthenticated as error:
            link.socket.failed("refused")
            peer.close(str(error))
        except TrunklineError as error:  # too many, or the database is away: later
            link.tell("error", str(error))
            link.socket.leave(TOO_SLOW, str(error)[:100])
        else:
            link.state = connection
            link.known()
            if not link.is_open:
                self._gateway.leave(connection)

    async def answer(self, link: Link, name: str, data: Raw) -> Struct:
        """What a call is answered."""
        if link.state is None:
            return Refusal.of(Unauthenticated(INVALID))
        return await self._gateway.answer(link.state, name, data)

    def drained(self, link: Link) -> None:
        """It reads again."""
        self._gateway.peer_has_room()

    def left(self, link: Link) -> None:
        """It is gone."""
        if link.state is not None:
            self._gateway.leave(link.state)


def _handshake(auth: str | None) -> Handshake:
    said = decode_handshake(auth) if auth is not None else Handshake()
    if isinstance(said, Refusal):
        raise Unauthenticated("Authentication required")
    return said
