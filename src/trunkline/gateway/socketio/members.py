"""Who is connected to which namespace, and in which room: the library's manager, without its tasks.

Always true: an event is encoded once and put into each recipient's mailbox directly, in order; a client that leaves costs as much
as it had rooms, not as there are; nobody is in more than MOST_ROOMS.
Called by: server. Calls: mailboxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import socketio

from trunkline.errors import RateLimited
from trunkline.gateway.socketio import packets

MOST_ROOMS = 1000  # of one client


class Members(socketio.AsyncManager):  # type: ignore[misc]
    """The index. A room of one is not needed: `sid` names a client wherever a room does."""

    def __init__(self) -> None:
        super().__init__()
        self._sockets: dict[str, dict[str, str]] = {}  # namespace -> sid -> engine's sid
        self._sids: dict[tuple[str, str], str] = {}  # (namespace, engine's sid) -> sid
        self._members: dict[tuple[str, Any], dict[str, str]] = {}  # (namespace, room) -> sid -> engine's sid
        self._rooms_of: dict[tuple[str, str], set[Any]] = {}

    # -- coming and going, in the library's words ------------------------------------------

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """A new sid; None: that socket is in this namespace already."""
        if (namespace, eio_sid) in self._sids:
            return None
        sid: str = self.server.eio.generate_id()
        self._sids[namespace, eio_sid] = sid
        self._sockets.setdefault(namespace, {})[sid] = eio_sid
        return sid

    async def connect(self, sid: str, namespace: str) -> str:
        """It is connected since `pre_connect`."""
        return sid

    async def disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        """Forget it."""
        self.forget(sid, namespace)

    def forget(self, sid: str, namespace: str) -> None:
        """A client is gone. Twice is once."""
        eio_sid = self._sockets.get(namespace, {}).pop(sid, None)
        if eio_sid is None:
            return
        if not self._sockets[namespace]:
            del self._sockets[namespace]
        del self._sids[namespace, eio_sid]
        for room in self._rooms_of.pop((namespace, sid), ()):
            self._leave(sid, namespace, room)

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Whether it is."""
        return sid in self._sockets.get(namespace, ())

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Its sid in a namespace."""
        return self._sids.get((namespace, eio_sid))

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Whose sid it is."""
        return self._sockets.get(namespace, {}).get(sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Whose sid it is."""
        return self.eio_sid_from_sid(sid, namespace)

    def get_namespaces(self) -> list[str]:
        """Those with a client."""
        return list(self._sockets)

    # -- rooms ------------------------------------------------------------------------------

    async def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Let a client into a room.

        Raises:
            RateLimited: it is in MOST_ROOMS.
        """
        eio_sid = self.eio_sid_from_sid(sid, namespace)
        if eio_sid is None:
            return
        rooms = self._rooms_of.setdefault((namespace, sid), set())
        if room not in rooms and len(rooms) >= MOST_ROOMS:
            raise RateLimited(f"this connection follows {MOST_ROOMS} subjects already. Leave some, or follow all-jobs.")
        rooms.add(room)
        self._members.setdefault((namespace, room), {})[sid] = eio_sid

    async def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Let it out."""
        rooms = self._rooms_of.get((namespace, sid), set())
        if room in rooms:
            rooms.discard(room)
            self._leave(sid, namespace, room)

    def _leave(self, sid: str, namespace: str, room: Any) -> None:
        members = self._members.get((namespace, room), {})
        members.pop(sid, None)
        if not members:
            self._members.pop((namespace, room), None)

    async def close_room(self, room: Any, namespace: str) -> None:
        """Let everybody out."""
        for sid in list(self._members.get((namespace, room), ())):
            await self.leave_room(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """Where a client is."""
        return [sid, *self._rooms_of.get((namespace, sid), ())]

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """(sid, engine's sid) of a room's clients, of several rooms' each once, or for None of all."""
        if room is None:
            found = dict(self._sockets.get(namespace, {}))
        elif isinstance(room, list | tuple):
            found = {sid: eio_sid for each in room for sid, eio_sid in self._in(namespace, each).items()}
        else:
            found = dict(self._in(namespace, room))
        yield from found.items()

    def _in(self, namespace: str, room: Any) -> dict[str, str]:
        own = self._sockets.get(namespace, {}).get(room) if isinstance(room, str) else None
        return {room: own} if own is not None else self._members.get((namespace, room), {})

    # -- telling ------------------------------------------------------------------------------

    async def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **_: Any,
    ) -> None:
        """Tell a room, a client or everybody; never waits. Answers to events of ours are not asked for, so no `callback`."""
        if callback is not None:
            raise NotImplementedError("clients are not asked for answers: their events are calls of their own.")
        namespace = namespace or "/"
        skipped = set(skip_sid) if isinstance(skip_sid, list | set | tuple) else {skip_sid}
        parcel = packets.event(namespace, event, data)
        self.deliver(parcel, (eio_sid for sid, eio_sid in self.get_participants(namespace, to or room) if sid not in skipped))

    def deliver(self, parcel: packets.Parcel, eio_sids: Iterable[str]) -> None:
        """Put one parcel into many mailboxes."""
        sockets = self.server.eio.sockets
        for eio_sid in eio_sids:
            if (socket := sockets.get(eio_sid)) is not None:
                socket.post(parcel)
