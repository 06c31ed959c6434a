"""Connection state recovery of the stock JavaScript client: what a client says when it comes back, and what it must know for that.

The client keeps the last string at the end of an event and sends it back as `offset`, with the `pid` of the CONNECT answer; where the
answer has that `pid` again, `socket.recovered` is true. So everything is with the client: an offset of the stream, and what it follows.
Always true: nothing is kept here, so any gateway can answer; what a client says it followed is only what it asks for: it is looked at again
as if it asked now. Whoever follows too much to be said in LONGEST characters does not recover, and is told so.
Called by: watchers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta

from trunkline.wire.updates import RECOVERY, Recovery

LONGEST = 1000  # characters at the end of every event
MOST_ROOMS = 20
MARK = RECOVERY
UNUSABLE = "-"
_Names = Annotated[list[Annotated[str, Meta(max_length=600)]], Meta(max_length=MOST_ROOMS)]
_names = msgspec.json.Decoder(_Names)


def asked(auth: str | None) -> Recovery:
    """From JSON text that was checked; what cannot be read asks for nothing."""
    try:
        return msgspec.json.decode(auth or "{}", type=Recovery)
    except msgspec.DecodeError:
        return Recovery()


def packed(names: Iterable[str]) -> str | None:
    """What a client follows, for the end of its offsets; None: it is too much."""
    every = sorted(names)
    text = base64.urlsafe_b64encode(msgspec.json.encode(every)).decode()
    return text if len(every) <= MOST_ROOMS and len(text) <= LONGEST else None


def joined(offset: str, follows: str | None) -> str:
    """The string at the end of an event."""
    return UNUSABLE if follows is None else f"{offset}~{follows}"


def taken_apart(said: str) -> tuple[str, list[str]]:
    """(offset of the stream, names of what was followed: anything at all).

    Raises:
        ValueError: this is no offset of ours.
    """
    offset, tilde, follows = said.partition("~")
    if not tilde:
        raise ValueError("no offset of ours")
    try:
        names = _names.decode(base64.b64decode(follows, altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from None
    return offset, names
