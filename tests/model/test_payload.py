"""JSON at the door: what is encoded, and what is refused before anything is written."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from trunkline.errors import InvalidPayload
from trunkline.model.payload import MAX_DEPTH, decode, encode


class Model(BaseModel):
    n: int
    x: float = 1.5


class Struct(msgspec.Struct):
    n: int
    inner: Model | None = None


@dataclasses.dataclass
class Data:
    n: int
    at: datetime | None = None


class Colour(Enum):
    RED = "red"


def nested(depth: int, value: object = None) -> object:
    """Lists in lists, `depth` of them."""
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, True, None, "ä🐘"]}, {"a": [1, 2.5, True, None, "ä🐘"]}),
        (Model(n=1), {"n": 1, "x": 1.5}),
        (Struct(1, Model(n=2)), {"n": 1, "inner": {"n": 2, "x": 1.5}}),
        (Data(1, datetime(2026, 1, 2, tzinfo=UTC)), {"n": 1, "at": "2026-01-02T00:00:00Z"}),
        ({"deep": [{"model": Model(n=3)}, Data(4)]}, {"deep": [{"model": {"n": 3, "x": 1.5}}, {"n": 4, "at": None}]}),
        ((1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (UUID(int=5), str(UUID(int=5))),
        (Decimal("1.10"), "1.10"),
        (Colour.RED, "red"),
        (b"\x00\xff", "AP8="),
        ({1: "a"}, {"1": "a"}),
        (msgspec.Raw(b'{"raw": [1]}'), {"raw": [1]}),
        ("", ""),
        (2**53 + 1, 2**53 + 1),
        (2**70, 2**70),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_can_be_json_is_encoded(value, expected):
    """Models and plain values, at any place."""
    assert expected == json.loads(encode(value))


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {"a": [-float("inf")]},
        Model(n=1, x=float("nan")),
        {"deep": Data(float("inf"))},
        [Model.model_construct(n=1, x=float("nan"))],
        1e400,
        {"set": {1.0, float("nan")}},
        msgspec.Raw(b"[1e400]"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_has_no_number_for_is_refused(value):
    """An encoder that writes null would change the value in silence."""
    with pytest.raises(InvalidPayload, match=r"nan|inf|JSON"):
        encode(value)


@pytest.mark.parametrize(
    "value",
    [object(), {"a": object()}, lambda: 1, "\ud800", {"\udfff": 1}, {(1, 2): 3}, msgspec.Raw(b"{nope")],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_json_form_is_refused(value):
    """With the reason."""
    with pytest.raises(InvalidPayload, match="not JSON"):
        encode(value)


@pytest.mark.parametrize(
    "value", ["a\x00", {"a\x00": 1}, [{"b": ["\x00"]}], Data("\x00"), {"s": {"\x00"}}], ids=lambda value: type(value).__name__
)
def test_the_character_that_postgresql_cannot_hold_is_refused(value):
    """In a value or in a name."""
    with pytest.raises(InvalidPayload, match="u0000"):
        encode(value)


def test_a_text_that_only_looks_like_it_is_accepted():
    """A backslash, a u and four zeros."""
    assert {"a": "\\u0000"} == decode(encode({"a": "\\u0000"}))


def test_the_depth_is_bounded():
    """Sixty-four levels, by whatever containers."""
    encode(nested(MAX_DEPTH))
    encode({"a": nested(MAX_DEPTH - 1)})
    for deep in (nested(MAX_DEPTH + 1), {"a": nested(MAX_DEPTH)}, nested(100_000), [Data(nested(MAX_DEPTH - 1))]):
        with pytest.raises(InvalidPayload, match=r"nested deeper|not JSON"):
            encode(deep)


def test_a_value_that_contains_itself_is_refused():
    """It has no end."""
    value: list[object] = []
    value.append(value)

    with pytest.raises(InvalidPayload):
        encode(value)


def test_the_size_is_counted_in_bytes():
    """Not in characters."""
    assert 12 == len(encode("ä" * 5, max_bytes=12).encode())
    with pytest.raises(InvalidPayload, match="12 bytes, at most 11"):
        encode("ä" * 5, max_bytes=11)


def test_the_word_for_it_is_in_the_message():
    """A result is no payload."""
    with pytest.raises(InvalidPayload, match=r"^result has"):
        encode("x" * 100, what="result", max_bytes=10)


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20))
def test_what_is_encoded_reads_back_as_it_was(value):
    """Or is refused; never changed."""
    try:
        text = encode(value)
    except InvalidPayload:
        assert "\x00" in repr(value) or "\\x00" in repr(value) or "\\ud" in repr(value)
        return

    assert value == decode(text)
    assert value == json.loads(text)
