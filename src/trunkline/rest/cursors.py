"""Cursors: where a list goes on, signed for one tenant and one question.

Always true: a cursor that was changed, made for another tenant, another user or another filter is refused; it says nothing that its
holder did not see already.
Called by: rest.routes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from uuid import UUID

from trunkline.engine.records import Place
from trunkline.rest.problems import Refused

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_NEVER = b"\xff" * 8


def pack(secret: bytes, question: str, place: Place) -> str:
    """A place as text. `question`: all that decides which list it is a place in."""
    at = _NEVER if place.at is None else ((place.at - _EPOCH) // _US).to_bytes(8, "big")
    body = place.job_id.bytes + at
    return base64.urlsafe_b64encode(body + _seal(secret, question, body)).decode().rstrip("=")


def unpack(secret: bytes, question: str, cursor: str) -> Place:
    """The place in a cursor.

    Raises:
        Refused: 422 invalid_cursor.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True) if len(cursor) <= 100 else b""
    except (binascii.Error, ValueError):
        raw = b""
    body, seal = raw[:24], raw[24:]
    if len(raw) != 40 or not hmac.compare_digest(seal, _seal(secret, question, body)):
        raise Refused(422, "invalid_cursor", "the cursor was not made for this list. Leave it out to start at the front.")
    at = None if body[16:] == _NEVER else _EPOCH + int.from_bytes(body[16:], "big") * _US
    return Place(UUID(bytes=body[:16]), at)


def _seal(secret: bytes, question: str, body: bytes) -> bytes:
    return hmac.new(secret, question.encode("utf-8", "replace") + b"\x00" + body, hashlib.sha256).digest()[:16]
