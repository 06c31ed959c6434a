"""What is refused at the door of a socket, and what passes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import InvalidPayload
from trunkline.wire.text import checked

BAD = {
    "no JSON": ("{", "not JSON"),
    "empty": ("", "not JSON"),
    "two documents": ("{} {}", "not JSON"),
    "a comment": ("{} // x", "not JSON"),
    "deep arrays": ("[" * 100_000 + "]" * 100_000, "deeper than 64"),
    "deep objects": ('{"a":' * 65 + "1" + "}" * 65, "deeper than 64"),
    "deep and never closed": ("[" * 100_000, "deeper than 64"),
    "a key twice": ('{"a":1,"b":{"x":1,"x":2}}', "'x' twice"),
    "a key twice by escape": ('{"a":1,"\\u0061":2}', "'a' twice"),
    "a key twice behind a string that looks like one": ('{"x":"v",":k":1,":k":2}', "':k' twice"),
    "NaN": ('{"a":NaN}', "contains NaN"),
    "Infinity": ("[-Infinity]", "contains -Infinity"),
    "1e400": ('{"a":1e400}', "1e400, which no number type"),
    "many digits and a point": (f'{{"a":{"9" * 400}.0}}', "no number type"),
    "2^53 + 1": ('{"a":9007199254740993}', "beyond 2^53"),
    "2^70": ('{"a":-1180591620717411303424}', "beyond 2^53"),
    "a million digits": (f"[{'7' * 1_000_000}]", "beyond 2^53"),
    "NUL": ('{"a":"x\\u0000"}', "\\u0000"),
    "NUL in a key": ('{"\\u0000":1}', "\\u0000"),
    "a raw NUL": ('{"a":"\x00"}', "not JSON"),
    "a lone surrogate": ('{"a":"\\ud800"}', "lone surrogate"),
    "a lone second half": ('{"a":["\\uDC00x"]}', "lone surrogate"),
    "a surrogate that is not escaped": ('{"a":"\ud800"}', "lone surrogate"),
    "not UTF-8": (b'{"a":"\xff"}', "not UTF-8 (byte 6)"),
}
GOOD = [
    '{"a":"\\\\u0000"}',  # a backslash and a word, no escape
    '{"a":"\\ud83d\\ude00"}',  # a pair
    '{"a":9007199254740992,"b":-9007199254740992}',
    '{"a":1e308}',
    '{"a":"1e400 NaN 99999999999999999999"}',
    '[{"k":1},{"k":2}]',
    "[" * 64 + "]" * 64,
    json.dumps(['[[[[{{{{\\"]]' * 100]),
    "[" + ",".join(["[]"] * 1000) + "]",
    '"ä\u2028"',
    "null",
]


@pytest.mark.parametrize(("text", "sentence"), BAD.values(), ids=BAD)
def test_what_readers_would_disagree_about_is_refused(text, sentence):
    """As a typed refusal with a sentence, whatever it is."""
    with pytest.raises(InvalidPayload) as refused:
        checked(text, what="data")

    assert sentence in str(refused.value) and str(refused.value).startswith("data ") and len(str(refused.value)) < 400


@pytest.mark.parametrize("text", GOOD)
def test_what_only_looks_like_it_passes_unchanged(text):
    """As text and as bytes."""
    assert text == checked(text) == checked(text.encode())


def test_the_size_is_looked_at_first():
    """In bytes of UTF-8, before anything is decoded."""
    with pytest.raises(InvalidPayload, match="12 bytes, at most 10"):
        checked('"ääääää'[:6] + '"', max_bytes=10)
    with pytest.raises(InvalidPayload, match="at most 10"):
        checked(b"\xff" * 11, max_bytes=10)

    assert '"12345678"' == checked('"12345678"', max_bytes=10)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(raw):
    """Whatever comes, it passes as JSON or is refused by its type."""
    try:
        text = checked(raw)
    except InvalidPayload:
        return

    json.loads(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_characters="\x00", codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_characters="\x00", codec="utf-8")), inner),
        max_leaves=20,
    )
)
def test_every_storable_value_passes(value):
    """Escaped or not."""
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)

        assert text == checked(text)
