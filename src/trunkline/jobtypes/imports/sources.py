"""Reads rows from a CSV, JSON lines or XLSX file, one after another.

Always true: a row that cannot be read is a `Row` with an error, and the file goes on; only a file that is no such file at all ends the
import (`Fail`); no more than one row is held; the order is the file's, so row n is the same row at every reading.
Called by: imports.run.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from trunkline.model import Fail

Format = Literal["csv", "jsonl", "xlsx"]
LONGEST_LINE = 1_000_000  # characters of one JSON line
MOST_UNPACKED = 20  # an XLSX file may be so many times larger inside than packed
LEAST_UNPACKED = 50_000_000  # bytes; a small one may always have so much


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        line: where it begins in the file, from 1.
        values: by the name of their column; {} for a row that could not be read.
        error: why it could not.
    """

    line: int
    values: dict[str, Any]
    error: str | None = None


@dataclass(slots=True)
class Source:
    """An open file: its columns (those of JSON lines are known row by row: None), its rows, and how far it was read, 0..1."""

    columns: list[str] | None
    rows: Iterator[Row]
    fraction: Callable[[], float]


@contextmanager
def opened(path: Path, kind: Format, *, delimiter: str, encoding: str, sheet: str | None) -> Iterator[Source]:
    """The rows of a file, which is open for as long as the block runs.

    Raises:
        Fail: it is empty, or no file of this kind.
    """
    if kind == "xlsx":
        with _book(path) as book:
            yield _sheet(book, sheet)
        return
    size = max(path.stat().st_size, 1)
    with path.open("rb") as raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as text:
        columns, rows = _csv(text, delimiter) if kind == "csv" else (None, _jsonl(text))
        yield Source(columns, _strict(rows, encoding), lambda: min(raw.tell() / size, 1.0))


def _strict(rows: Iterator[Row], encoding: str) -> Iterator[Row]:
    try:
        yield from rows
    except UnicodeError:
        raise Fail(f"the file is not {encoding} throughout. Say its encoding, such as windows-1252, or save it as UTF-8.") from None
    except csv.Error as error:
        raise Fail(f"the file is no CSV of this delimiter: {error}.") from None


def _csv(text: io.TextIOWrapper, delimiter: str) -> tuple[list[str], Iterator[Row]]:
    reader = csv.reader(text, delimiter=delimiter)
    try:
        header = next(reader)
    except StopIteration:
        raise Fail("the file is empty: need a header line with the names of its columns.") from None
    except (UnicodeError, csv.Error) as error:
        raise Fail(f"the file's header cannot be read: {error}. Say its encoding and delimiter.") from None
    return _names(header), _csv_rows(reader, _names(header))


def _csv_rows(reader: Any, columns: list[str]) -> Iterator[Row]:
    before = reader.line_num
    for cells in reader:
        line, before = before + 1, reader.line_num
        if not cells:
            continue  # an empty line is no row
        if len(cells) != len(columns):
            yield Row(line, {"cells": cells}, f"it has {len(cells)} cells, and the header {len(columns)}")
        else:
            yield Row(line, dict(zip(columns, cells, strict=True)))


def _jsonl(text: io.TextIOWrapper) -> Iterator[Row]:
    decode = msgspec.json.Decoder().decode
    line = 0
    while found := text.readline(LONGEST_LINE + 1):
        line += 1
        if len(found) > LONGEST_LINE:
            raise Fail(f"line {line} has more than {LONGEST_LINE:,} characters. JSON lines have one object a line.")
        if not found.strip():
            continue
        try:
            value = decode(found)
        except (msgspec.DecodeError, RecursionError):
            yield Row(line, {"text": found.strip()[:1000]}, "it is not JSON")
            continue
        yield Row(line, value) if isinstance(value, dict) else Row(line, {"value": value}, "it is no JSON object")


@contextmanager
def _book(path: Path) -> Iterator[Any]:
    try:
        import openpyxl
    except ImportError as error:
        raise Fail(f"XLSX needs the package {error.name}. Install trunkline[xlsx] and retry the job.") from None
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
        if unpacked > max(LEAST_UNPACKED, MOST_UNPACKED * path.stat().st_size):
            raise Fail(f"the file unpacks to {unpacked:,} bytes, which no sheet of its size does.")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise Fail(f"the file is no XLSX: {str(error)[:200]}.") from None
    try:
        yield book
    finally:
        book.close()


def _sheet(book: Any, sheet: str | None) -> Source:
    if sheet is not None and sheet not in book.sheetnames:
        raise Fail(f"the file has no sheet {sheet!r}. It has: {', '.join(book.sheetnames[:20])}.")
    page = book[sheet] if sheet is not None else book.worksheets[0]
    cells = page.iter_rows(values_only=True)
    header = next(cells, None)
    if header is None:
        raise Fail("the sheet is empty: need a header row with the names of its columns.")
    seen, columns = [0], _names(["" if name is None else str(name) for name in header])
    return Source(columns, _sheet_rows(cells, columns, seen), lambda: min(seen[0] / max(page.max_row or 1, 1), 1.0))


def _sheet_rows(cells: Iterator[tuple[Any, ...]], columns: list[str], seen: list[int]) -> Iterator[Row]:
    for line, values in enumerate(cells, 2):
        seen[0] = line
        if any(value is not None for value in values):
            yield Row(line, dict(zip(columns, (*values, *[None] * (len(columns) - len(values))), strict=False)))


def _names(header: list[str]) -> list[str]:
    names = [name.strip().removeprefix("\ufeff") for name in header]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise Fail(f"two columns of the file are called {twice[0][:80]!r}: rename one.")
    return [name or f"column {n}" for n, name in enumerate(names, 1)]
