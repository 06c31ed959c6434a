"""Frames of the plain WebSocket: one JSON object, or an array of up to MAX_MESSAGES.

`{"id": 7, "type": "send_job", "data": {...}}` is answered by `{"id": 7, "type": "reply", "data": {...}}`; pushes have no `id`.
Always true: `decode_frame` never raises; a message that cannot be read is a Refusal in its place, with its `id` where there is one.
Called by: gateway, client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from trunkline.errors import InvalidInput, InvalidPayload
from trunkline.wire.calls import in_words
from trunkline.wire.pushes import Push
from trunkline.wire.refusals import Refusal
from trunkline.wire.text import MAX_BYTES, checked

MAX_MESSAGES = 256
MessageId = int | Annotated[str, Meta(max_length=100)] | None


class Message(Struct, frozen=True):
    """One message as it came; without `id` nobody waits for the answer. `data` is checked text."""

    type: Annotated[str, Meta(min_length=1, max_length=100)]
    id: MessageId = None
    data: Raw = Raw(b"{}")


class Unreadable(Struct, frozen=True):
    """A message that was refused before its call was known."""

    refusal: Refusal
    id: MessageId = None


class Handshake(Struct, rename="camel", frozen=True):
    """`auth` of a connection: over Socket.IO in the handshake, over the plain WebSocket the data of `authenticate`.

    Attributes:
        customer_token: of the tenant.
        events: whether this client wants the tenant's events; pure workers say False.
        resume: `id` of `client_ready` of the connection before this one, whose started jobs it wants to keep.
    """

    customer_token: str | None = None
    token: str | None = None
    events: bool = True
    resume: Annotated[str, Meta(max_length=100)] | None = None


class _Frame(Struct, omit_defaults=True):
    type: str
    data: object
    id: MessageId | UnsetType = UNSET


class _Id(Struct):
    id: MessageId = None


_message = msgspec.json.Decoder(Message)
_many = msgspec.json.Decoder(list[Raw])
_id = msgspec.json.Decoder(_Id)
_handshake = msgspec.json.Decoder(Handshake)
_encoder = msgspec.json.Encoder()


def decode_frame(text: str | bytes, *, max_bytes: int = MAX_BYTES) -> list[Message | Unreadable]:
    """The messages of a frame, in order."""
    try:
        text = checked(text, what="frame", max_bytes=max_bytes)
        parts: Sequence[Raw | str] = _many.decode(text) if text.lstrip(" \t\r\n")[:1] == "[" else [text]
    except InvalidPayload as error:
        return [Unreadable(Refusal.of(error))]
    if not 1 <= len(parts) <= MAX_MESSAGES:
        return [
            Unreadable(Refusal.of(InvalidInput(f"the frame has {len(parts)} messages: need 1 to {MAX_MESSAGES}. Send several frames.")))
        ]
    return [_decoded(part) for part in parts]


def _decoded(part: Raw | str) -> Message | Unreadable:
    try:
        return _message.decode(part)
    except msgspec.DecodeError as error:
        refusal = Refusal.of(InvalidInput(f'message: {in_words(error)} Send {{"id": 1, "type": "send_job", "data": {{...}}}}.'))
    try:
        return Unreadable(refusal, _id.decode(part).id)
    except msgspec.DecodeError:
        return Unreadable(refusal)


def decode_handshake(data: Raw | bytes | str) -> Handshake | Refusal:
    """What a connection says about itself, or why not. Never raises."""
    try:
        return _handshake.decode(checked(bytes(data) if isinstance(data, Raw) else data, what="authenticate", max_bytes=64 * 1024))
    except msgspec.DecodeError as error:
        return Refusal.of(InvalidInput(f"authenticate: {in_words(error)}"))
    except InvalidPayload as error:
        return Refusal.of(error)


def encode_reply(id: MessageId, answer: Struct) -> bytes:
    """The frame that answers message `id`; null where its id could not be read."""
    return _encoder.encode(_Frame("reply", answer, id))


def encode_push(push: Push) -> bytes:
    """The frame of a push."""
    return _encoder.encode(_Frame(push.event, push))


def encode_error(sentence: str) -> bytes:
    """The frame of the event `error`, which comes before a disconnect; its data is the sentence alone."""
    return _encoder.encode(_Frame("error", sentence))


def joined(frames: Sequence[bytes]) -> bytes:
    """Several frames as one array, for a client that sends arrays itself."""
    return frames[0] if len(frames) == 1 else b"[" + b",".join(frames) + b"]"
