"""JSON text at the door of a socket: refused before anybody reads it, or good for every reader after.

Always true of what `checked` answers: valid JSON in valid UTF-8, at most `max_bytes` of it, nested at most MAX_DEPTH, no key
twice in one object, no number that a double does not hold (NaN, infinity, 1e400, integers beyond 2^53), no `\\u0000`, no lone
surrogate. So a payload inside it may travel on as text, and each language reads the same value from it.
What is wrong is raised as `InvalidPayload`; nothing else is ever raised.
Called by: wire.frames, wire.calls.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from trunkline.errors import InvalidPayload
from trunkline.model.payload import MAX_DEPTH

MAX_BYTES = 2 * 1024 * 1024
EXACT = 2**53  # past this, doubles leave integers out and JavaScript reads another number
_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[{]|[\]}]")
_LARGE = re.compile(r"\d{16}|\d[eE]")  # only these can be numbers out of range, so only then is each number looked at
_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def checked(text: str | bytes, *, what: str = "message", max_bytes: int = MAX_BYTES) -> str:
    """The text, once it is certain to be good.

    Args:
        what: the word for it in sentences.
        max_bytes: of UTF-8; looked at before anything is decoded.
    Raises:
        InvalidPayload: says what is wrong and what is accepted.
    """
    size = len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise InvalidPayload(f"{what} has {size} bytes, at most {max_bytes} are accepted. Store the data elsewhere and send a reference.")
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise InvalidPayload(f"{what} is not UTF-8 (byte {error.start}). Encode it as UTF-8.") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text, what)
    value = _parsed(text, what)
    if _ESCAPED.search(text) is not None or not (text.isascii() or _is_storable(text)):
        _check_texts(value, what)
    return text


def _check_depth(text: str, what: str) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidPayload(f"{what} is nested deeper than {MAX_DEPTH}. Flatten it or send a reference.")


def _parsed(text: str, what: str) -> Any:
    try:
        return (_careful if _LARGE.search(text) else _plain).decode(text)
    except _Refused as refused:
        raise InvalidPayload(f"{what} {refused}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"{what} is not JSON: {str(error)[:200]}.") from None


def _check_texts(value: Any, what: str) -> None:
    """Every text in a value of bounded depth."""
    if isinstance(value, str):
        if not _is_storable(value):
            raise InvalidPayload(f"{what} contains a lone surrogate, which is no character. Send the pair, or leave it out.")
        if "\x00" in value:
            raise InvalidPayload(f"{what} contains \\u0000, which PostgreSQL text cannot hold. Remove it or encode the value.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_texts(key, what)
            _check_texts(item, what)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, what)


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Refused(Exception):
    """What a hook found; `checked` puts the name of the text in front."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"has the key {twice[:80]!r} twice in one object, and readers would disagree about its value. Send it once.")
    return made


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(value := int(digits)) > EXACT:
        raise _Refused(f"contains {digits[:40]}, an integer beyond 2^53 that many readers would change. Send it as a string.")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _Refused(f"contains {digits[:40]}, which no number type holds. Send it as a string.")
    return value


def _constant(name: str) -> NoReturn:
    raise _Refused(f"contains {name}, which JSON does not have. Send null or a string.")


_plain = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
_careful = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_number)
