"""Writes rows as CSV, JSON lines or Parquet.

Always true: rows go out in parts, so memory does not grow with them; every writer goes through `Sink`, which counts, hashes and refuses to pass the
limit; a CSV cell that a spreadsheet would run as a formula is made text unless that was asked not to be.
Called by: data_export, imports, analytics_report.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, BinaryIO, Literal, Protocol

import msgspec

from trunkline.model import Fail

Format = Literal["csv", "jsonl", "parquet"]
Row = Sequence[Any]
GROUP = 20_000  # rows; Parquet reads and packs whole groups, and small ones cost a reader time
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class TooLarge(Fail):
    """The file would pass its limit."""


class Sink:
    """A binary file that knows its size and SHA-256."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most, self._hash = file, most, hashlib.sha256()
        self.bytes, self.closed = 0, False

    def write(self, part: bytes) -> int:
        """Write; TooLarge past the limit."""
        part = bytes(part)
        if self.bytes + len(part) > self._most:
            raise TooLarge(f"the file would have more than {self._most:,} bytes. Ask for fewer rows or columns, or raise the limit.")
        self._hash.update(part)
        self.bytes += len(part)
        return self._file.write(part)

    @property
    def sha256(self) -> str:
        """Of everything written so far, hexadecimal."""
        return self._hash.hexdigest()

    def tell(self) -> int:
        """Where the next byte goes; Parquet asks."""
        return self.bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The file itself is closed by whoever opened it."""
        self.closed = True


class Writer(Protocol):
    """One format."""

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""

    def close(self) -> None:
        """Write what stands at the end."""


class CsvWriter:
    """RFC 4180, UTF-8, a header line; None is an empty cell."""

    def __init__(self, sink: Sink, columns: Sequence[str], *, delimiter: str = ",", formulas: bool = False, header: bool = True) -> None:
        self._sink, self._delimiter, self._cell = sink, delimiter, _text if formulas else harmless
        if header:
            self.write([columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter).writerows([list(map(self._cell, row)) for row in rows])
        self._sink.write(text.getvalue().encode("utf-8", "replace"))

    def close(self) -> None:
        """CSV has no end."""


class JsonLinesWriter:
    """One object a line; exact decimals and times are text, bytes are base64."""

    def __init__(self, sink: Sink, columns: Sequence[str]) -> None:
        self._sink, self._columns = sink, _distinct(columns)
        self._encoder = msgspec.json.Encoder(enc_hook=str)

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        self._sink.write(self._encoder.encode_lines([dict(zip(self._columns, row, strict=True)) for row in rows]))

    def close(self) -> None:
        """JSON lines have no end."""


class ParquetWriter:
    """Apache Parquet through pyarrow. A column has the type of its first values; where they differ, or are of no type of Parquet's, text."""

    def __init__(self, sink: Sink, columns: Sequence[str], first: Sequence[Row]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise Fail(f"Parquet needs the package {error.name}. Install trunkline[parquet] and retry the job.") from None
        self._arrow, self._columns = pyarrow, _distinct(columns)
        kinds = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64(), bytes: pyarrow.binary(), date: pyarrow.date32()}
        types = []
        for at in range(len(columns)):
            found = {type(row[at]) for row in first if row[at] is not None}
            zones = {row[at].tzinfo is not None for row in first if isinstance(row[at], datetime)}
            if found == {datetime} and len(zones) == 1:
                types.append(pyarrow.timestamp("us", "UTC" if zones.pop() else None))
            else:
                types.append(kinds.get(found.pop(), pyarrow.string()) if len(found) == 1 else pyarrow.string())
        self._schema = pyarrow.schema(list(zip(self._columns, types, strict=True)))
        self._writer = pyarrow.parquet.ParquetWriter(sink, self._schema)
        self._held: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows. Fail: a value does not fit what its column began as."""
        self._held += rows
        if len(self._held) >= GROUP:
            self._write_group()

    def _write_group(self) -> None:
        rows, arrays = self._held, []
        self._held = []
        for at, field in enumerate(self._schema):
            is_text = field.type == self._arrow.string()
            values = [_text(row[at]) if is_text and row[at] is not None else row[at] for row in rows]
            try:
                arrays.append(self._arrow.array(values, field.type))
            except (self._arrow.ArrowInvalid, self._arrow.ArrowTypeError, OverflowError) as error:
                reason = f"column {field.name!r} began as {field.type} and has another value later ({str(error)[:200]})"
                raise Fail(f"{reason}. Cast it in the SQL, or ask for csv or jsonl.") from None
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write what is held, and the footer."""
        if self._held:
            self._write_group()
        self._writer.close()


def harmless(value: Any) -> str:
    """A value as a cell that no spreadsheet runs: text that begins like a formula gets an apostrophe in front."""
    text = _text(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(value, enc_hook=str).decode()
    return value.isoformat() if isinstance(value, date) else str(value)


def _distinct(columns: Sequence[str]) -> list[str]:
    twice = sorted({name for name in columns if list(columns).count(name) > 1})
    if twice:
        raise Fail(f"two columns are called {twice[0]!r}, and this format needs each name once. Give one another name with `as`.")
    return list(columns)
