"""Offsets: what a client has received, as a short string.

Sequence numbers commit out of order, so an offset is no number. It is two snapshots and a number: received is what was visible in `seen`,
and what was visible in `upto` with a number up to `seq`. Whoever commits late is in neither, whatever its numbers are.
Always true: `decode` takes nothing that `encode` could not have made; a forged offset selects among events of its own tenant only, and
every number in it fits the database's types. A snapshot with more writers at once than MOST_WRITERS makes offsets that cannot be resumed.
Called by: realtime.stream.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

MOST_CHARACTERS = 4096
MOST_WRITERS = 400  # transactions open at the moment of a snapshot; some 2 characters each
_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_FORM = re.compile(r"1[A-Za-z0-9_-]{8,4000}\.[0-9a-z]{1,13}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LARGEST = 2**62
UNUSABLE = "0"


@dataclass(frozen=True)
class Snapshot:
    """What was visible at a moment: every transaction below `xmax` that is not among `open`, had it committed."""

    xmin: int
    xmax: int
    open: tuple[int, ...]  # ascending, from xmin on, below xmax

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Of PostgreSQL's text, xmin:xmax:open,..."""
        xmin, xmax, still_open = text.split(":")
        return cls(int(xmin), int(xmax), tuple(map(int, still_open.split(","))) if still_open else ())

    @cached_property
    def text(self) -> str:
        """PostgreSQL's text."""
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.open))}"


@dataclass(frozen=True)
class Position:
    """Received: what `seen` saw, and what `upto` saw with a number up to `seq`. `at`: when `upto` was taken, database time."""

    seen: Snapshot
    upto: Snapshot
    at: datetime
    seq: int = 0

    @cached_property
    def prefix(self) -> str:
        """What the offsets of one burst have in common."""
        if len(self.seen.open) > MOST_WRITERS or len(self.upto.open) > MOST_WRITERS:
            return ""
        numbers = [(self.at - _EPOCH) // timedelta(microseconds=1)]
        numbers += _numbers(self.seen, 0) + ([] if self.upto == self.seen else _numbers(self.upto, self.seen.xmin))
        return "1" + base64.urlsafe_b64encode(b"".join(map(_varint, numbers))).decode().rstrip("=")

    def offset(self, seq: int | None = None) -> str:
        """The string for a client that has received up to `seq`."""
        return f"{self.prefix}.{_base36(self.seq if seq is None else seq)}" if self.prefix else UNUSABLE

    @classmethod
    def decode(cls, offset: str) -> Position:
        """The position that `offset` made into a string. ValueError: it is none of ours."""
        if not isinstance(offset, str) or len(offset) > MOST_CHARACTERS or not _FORM.fullmatch(offset):
            raise ValueError("it has not the form of an offset")
        packed, _, seq = offset[1:].partition(".")
        try:
            numbers = _varints(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        except binascii.Error as error:
            raise ValueError("it is cut or changed") from error
        at = _EPOCH + timedelta(microseconds=_small(next(numbers, 0)))
        seen = _snapshot(numbers, 0)
        rest = list(numbers)
        upto = _snapshot(again := iter(rest), seen.xmin) if rest else seen
        if (rest and next(again, None) is not None) or upto.xmax < seen.xmax or (number := int(seq, 36)) >= _LARGEST:
            raise ValueError("it is cut or changed")
        return cls(seen, upto, at, number)


def _numbers(snapshot: Snapshot, base: int) -> list[int]:
    """Small numbers: distances, first from `base`."""
    steps = [b - a for a, b in zip((snapshot.xmin, *snapshot.open), snapshot.open, strict=False)]
    return [snapshot.xmin - base, snapshot.xmax - snapshot.xmin, len(steps), *steps]


def _snapshot(numbers: Iterator[int], base: int) -> Snapshot:
    try:
        xmin = base + next(numbers)
        xmax = xmin + next(numbers)
        if (count := next(numbers)) > MOST_WRITERS or xmax >= _LARGEST or xmin < 3:
            raise ValueError("it is cut or changed")
        still_open, last = [], xmin
        for n in range(count):
            step = next(numbers)
            last += step
            if last >= xmax or (n and not step):
                raise ValueError("it is cut or changed")
            still_open.append(last)
    except StopIteration:
        raise ValueError("it is cut or changed") from None
    return Snapshot(xmin, xmax, tuple(still_open))


def _small(microseconds: int) -> int:
    if microseconds > 100 * 365 * 86_400_000_000:
        raise ValueError("its time cannot be")
    return microseconds


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _varints(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for octet in packed:
        number |= (octet & 127) << shift
        shift += 7
        if shift > 70:
            raise ValueError("it is cut or changed")
        if octet < 128:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("it is cut or changed")


def _base36(number: int) -> str:
    out = ""
    while True:
        number, digit = divmod(number, 36)
        out = _DIGITS[digit] + out
        if not number:
            return out
