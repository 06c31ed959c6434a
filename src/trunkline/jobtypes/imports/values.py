"""Turns the cells of a row into values of a table's columns, or says what is wrong with them.

Always true: a value is what the column's type takes or the row is refused with the column's name; nothing is guessed (a date is ISO
8601, a number has a point); an empty cell is null.
Called by: imports.run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec

TRUE, FALSE = frozenset({"true", "t", "yes", "y", "1", "on"}), frozenset({"false", "f", "no", "n", "0", "off"})
Convert = Callable[[Any], Any]


class Wrong(ValueError):
    """A cell does not fit; the message says what is needed."""


class Column:
    """What a column of the table takes: the Python type of its values, and its bounds."""

    def __init__(self, name: str, python: type | None, *, longest: int | None = None, is_required: bool = False) -> None:
        self.name, self.longest, self.is_required = name, longest, is_required
        self._convert = CONVERTERS.get(python, _as_is) if python else _as_is

    def value(self, cell: Any) -> Any:
        """The cell as a value. Wrong: it does not fit."""
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            if self.is_required:
                raise Wrong("needs a value")
            return None
        found = self._convert(cell)
        if isinstance(found, str):
            if "\0" in found:
                raise Wrong("has a null character")
            if self.longest is not None and len(found) > self.longest:
                raise Wrong(f"has {len(found)} characters, and {self.longest} fit")
        return found


def converted(values: Mapping[str, Any], mapping: Mapping[str, Column]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The row as {column: value}, and what is wrong as (column of the file, reason)."""
    row, wrong = {}, []
    for source, column in mapping.items():
        try:
            row[column.name] = column.value(values.get(source))
        except Wrong as error:
            wrong.append((source, str(error)))
    return row, wrong


def _text(cell: Any) -> str:
    if isinstance(cell, (dict, list)):
        return msgspec.json.encode(cell).decode()
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat() if isinstance(cell, date) else str(cell)


def _whole(cell: Any) -> int:
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # a sheet knows no other numbers
    text = str(cell).strip()
    if isinstance(cell, bool) or not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise Wrong("needs a whole number")
    return int(text)


def _decimal(cell: Any) -> Decimal:
    try:
        found = Decimal(str(cell).strip())
    except InvalidOperation:
        raise Wrong("needs a number such as 1234.5") from None
    if isinstance(cell, bool) or not found.is_finite():
        raise Wrong("needs a number such as 1234.5")
    return found


def _float(cell: Any) -> float:
    found = float(_decimal(cell))
    if not math.isfinite(found):
        raise Wrong("is too large a number")
    return found


def _truth(cell: Any) -> bool:
    if isinstance(cell, bool):
        return cell
    word = str(cell).strip().lower()
    if word not in TRUE | FALSE:
        raise Wrong("needs true or false")
    return word in TRUE


def _date(cell: Any) -> date:
    if isinstance(cell, datetime):
        return cell.date()
    try:
        return cell if isinstance(cell, date) else date.fromisoformat(str(cell).strip())
    except ValueError:
        raise Wrong("needs a date such as 2027-01-31") from None


def _moment(cell: Any) -> datetime:
    try:
        return cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell).strip())
    except ValueError:
        raise Wrong("needs a time such as 2027-01-31T09:00:00Z") from None


def _clock(cell: Any) -> time:
    try:
        return cell if isinstance(cell, time) else time.fromisoformat(str(cell).strip())
    except ValueError:
        raise Wrong("needs a time of day such as 09:30") from None


def _uuid(cell: Any) -> UUID:
    try:
        return UUID(str(cell).strip())
    except ValueError:
        raise Wrong("needs a UUID") from None


def _json(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return msgspec.json.decode(cell)
    except msgspec.DecodeError:
        raise Wrong("needs JSON") from None


def _as_is(cell: Any) -> Any:
    return _text(cell) if isinstance(cell, (dict, list)) else cell


CONVERTERS: dict[type, Convert] = {
    str: _text,
    int: _whole,
    float: _float,
    Decimal: _decimal,
    bool: _truth,
    date: _date,
    datetime: _moment,
    time: _clock,
    UUID: _uuid,
    dict: _json,
}
