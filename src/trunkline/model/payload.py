"""JSON at the door: encoded and checked once, opaque text from then on.

Always true of what `encode` returns: valid JSON text, at most `max_bytes` of UTF-8, nested at most `MAX_DEPTH`, without
`\\u0000` (PostgreSQL cannot hold it), NaN or infinity (JSON has none), without lone surrogates, and without what `secrets` refuses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw
from pydantic import BaseModel

from trunkline.errors import InvalidPayload, SecretInPayload
from trunkline.model.secret_fields import NO_SECRETS, Envelope, SecretFields

MAX_DEPTH = 64


class JsonText(str):
    """JSON text for which everything below holds already, but its size: `encode` takes it as it is. A door makes it (wire.text)."""

    __slots__ = ()


_encoder = msgspec.json.Encoder(enc_hook=lambda value: _plain(value))
_encode = _encoder.encode
_SCALARS = frozenset((str, int, bool, type(None)))


def encode(value: Any, *, what: str = "payload", max_bytes: int = 1024 * 1024, secrets: SecretFields = NO_SECRETS) -> str:
    """`value` as JSON text.

    Args:
        value: dict, list, scalar, dataclass, msgspec Struct or pydantic model; `msgspec.Raw` is taken as JSON text, `JsonText` as
            JSON text that was checked.
        what: the word for it in messages.
        secrets: names of fields that are refused; see model.secret_fields.
    Raises:
        InvalidPayload: names what is wrong and what is accepted; nothing was written. SecretInPayload: which field.
    """
    try:
        if value.__class__ is JsonText:
            _check(msgspec.json.decode(value.encode()), what, 1, secrets)  # for names of secrets; the text goes on as it is
            return _within(value.encode(), what, max_bytes)
        if isinstance(value, Raw):
            value = msgspec.json.decode(value)
        _check(value, what, 1, secrets)
        text = _encode(value)
    except SecretInPayload:
        plain = (
            msgspec.json.decode(value.encode())
            if value.__class__ is JsonText
            else msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)
        )
        raise secrets.refusal(plain, what) from None
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.DecodeError) as error:
        raise InvalidPayload(f"{what} is not JSON: {error}. Send objects, arrays, strings, finite numbers, true, false and null.") from None
    if b"\\u0000" in text and _has_nul(value):
        raise InvalidPayload(f"{what} contains \\u0000, which PostgreSQL text cannot hold. Remove it or encode the value.")
    if value.__class__ is Envelope:  # what is in it was measured before it was encrypted
        return text.decode()
    return _within(text, what, max_bytes)


def _within(text: bytes, what: str, max_bytes: int) -> str:
    if len(text) > max_bytes:
        raise InvalidPayload(
            f"{what} has {len(text)} bytes, at most {max_bytes} are accepted. Store the data elsewhere and send a reference."
        )
    return text.decode()


def decode(text: str) -> Any:
    """The value of JSON text that came out of the database."""
    return msgspec.json.decode(text)


def _check(value: Any, what: str, depth: int, secrets: SecretFields) -> None:
    """Refuse what msgspec would encode silently otherwise: NaN and infinity (as null), and any depth; and names of secrets.

    Walks by class, cheapest first: this runs for every value of every payload.
    """
    kind = value.__class__
    if kind is dict:
        if not secrets.clears(value):
            secrets.look(value, what, depth)
        items = value.values()
    elif kind is list or kind is tuple:
        items = value
    elif kind in _SCALARS:
        return
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidPayload(f"{what} contains {value}, which JSON does not have. Send null or a string.")
        return
    elif isinstance(value, (BaseModel, msgspec.Struct)) or dataclasses.is_dataclass(value):
        _check(msgspec.to_builtins(value, enc_hook=_plain), what, depth, secrets)
        return
    elif isinstance(value, Mapping):
        if kind is not Envelope:
            secrets.look(value, what, depth)
        items = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = value
    else:
        return
    if depth > MAX_DEPTH:
        raise InvalidPayload(f"{what} is nested deeper than {MAX_DEPTH}. Flatten it or send a reference.")
    for item in items:
        if item.__class__ not in _SCALARS:
            _check(item, what, depth + 1, secrets)


def _has_nul(value: Any) -> bool:
    value = msgspec.to_builtins(value, enc_hook=_plain, str_keys=True)
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any("\x00" in str(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(_has_nul(item) for item in value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")
