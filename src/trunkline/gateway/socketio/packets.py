"""Packets of Socket.IO and Engine.IO whose JSON stays text: read by nobody here, checked once at the door.

Always true: an inbound packet's data is the text as it came; `opened` answers what is in it only after `wire.text.checked`;
a Parcel is encoded once, however many clients it goes to. Nothing of the library is changed for other users of it in this
process: our JSON belongs to our packet class alone.
Called by: server, engine, members.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, Any

import engineio.packet
import msgspec
import socketio.packet
from msgspec import Meta, Raw, Struct
from websockets.frames import Frame, Opcode

from trunkline.errors import InvalidInput, InvalidPayload
from trunkline.wire import checked

CONNECT, DISCONNECT, EVENT, ACK = socketio.packet.CONNECT, socketio.packet.DISCONNECT, socketio.packet.EVENT, socketio.packet.ACK
CONNECT_ERROR = socketio.packet.CONNECT_ERROR
BINARY = frozenset((socketio.packet.BINARY_EVENT, socketio.packet.BINARY_ACK))
EMPTY = Raw(b"{}")
_encoder = msgspec.json.Encoder()
_parts = msgspec.json.Decoder(list[Raw])
_name = msgspec.json.Decoder(Annotated[str, Meta(min_length=1, max_length=100)])


class _Text:
    """JSON that is not read: what a packet carries is passed through as it came."""

    @staticmethod
    def loads(text: str) -> str:
        return text

    @staticmethod
    def dumps(value: Any, **_: Any) -> str:
        return _encoder.encode(value).decode()


class Packet(socketio.packet.Packet):  # type: ignore[misc]
    """A Socket.IO packet; `data` of an inbound one is JSON text, or None."""

    uses_binary_events = False  # what goes out is JSON; looking for bytes in it would walk through every value
    json = _Text


class Parcel(engineio.packet.Packet):  # type: ignore[misc]
    """A message as it goes out.

    Attributes:
        key: of a message that only its latest matters of: a newer one with the same key takes its place while it waits.
        size: bytes it takes up while it waits.
    """

    def __init__(self, text: str, key: Hashable = None) -> None:
        super().__init__(engineio.packet.MESSAGE)
        self.data = text
        self.encode_cache = f"4{text}"
        self.key = key
        self.size = len(text) if text.isascii() else len(text.encode())
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The same as a whole WebSocket frame, made once for all its recipients: a server's frames carry no mask."""
        if self._frame is None:
            self._frame = Frame(Opcode.TEXT, self.encode_cache.encode()).serialize(mask=False)
        return self._frame


def event(namespace: str, name: str, data: Struct | Raw | str, *more: str, key: Hashable = None) -> Parcel:
    """An event to any number of clients; `more` are further arguments."""
    return Parcel(Packet(EVENT, [name, data, *more], namespace).encode(), key)


def answer(namespace: str, number: int, said: Struct | Sequence[Struct]) -> Parcel:
    """The answer to event `number` of a client."""
    return Parcel(Packet(ACK, [said], namespace, number).encode())


def control(kind: int, namespace: str, data: Any = None) -> Parcel:
    """CONNECT, DISCONNECT or CONNECT_ERROR."""
    return Parcel(Packet(kind, data, namespace).encode())


def opened(text: str | None) -> tuple[str, Raw]:
    """(name, data) of an event; the data of one that has none is {}; more arguments than one are ignored.

    Raises:
        InvalidPayload, InvalidInput: it is no event, or holds what wire.text refuses.
    """
    try:
        parts = _parts.decode(checked(text or "", what="event"))
        return _name.decode(parts[0]), parts[1] if len(parts) > 1 else EMPTY
    except InvalidPayload:
        raise
    except (msgspec.DecodeError, IndexError):
        raise InvalidInput('this is no event: send ["name", {...}], with a name of 1 to 100 characters.') from None
