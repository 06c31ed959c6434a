"""Checks leads and finds those that are there already, in the file and in the table.

Always true: e-mail addresses are compared without regard to case, phone numbers as E.164; of two rows of one file the first counts.
Needs the extra `leads`. Called by: lead_import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from sqlalchemy import Connection as Session
from sqlalchemy import Table, func, select, update
from sqlalchemy.exc import DataError, IntegrityError

from trunkline.jobtypes.imports.run import Work
from trunkline.jobtypes.imports.target import Refused, Values, reason


class Leads:
    """The rules of one import. `dedupe` names the columns of the table that are compared."""

    def __init__(
        self, *, email: str | None, phone: str | None, region: str | None, require_contact: bool, dedupe: Sequence[str], on_duplicate: str
    ) -> None:
        self._email, self._phone, self._region = email, phone, region
        self._require_contact, self._dedupe, self._on_duplicate = require_contact, tuple(dedupe), on_duplicate

    def work(self) -> Work:
        """What the run is to do with each row and chunk."""
        return Work(self.check, self.prepare if self._dedupe else None, self._dedupe)

    def check(self, row: Values) -> list[tuple[str, str]]:
        """Bring e-mail and phone into their one form; what is wrong, by column."""
        wrong = []
        for column, form in ((self._email, _address), (self._phone, self._number)):
            if column is not None and row.get(column) is not None:
                try:
                    row[column] = form(str(row[column]).strip())
                except ValueError as error:
                    wrong.append((column, str(error)))
        if not wrong and self._require_contact and not any(row.get(column) for column in (self._email, self._phone) if column):
            wrong.append(("", "it has neither an e-mail address nor a phone number"))
        return wrong

    def prepare(self, session: Session, table: Table, rows: Sequence[Values]) -> tuple[list[int], list[Refused], int]:
        """Which rows of the chunk are new. Those that are there are updated, refused, or passed over, as asked."""
        held = {column: self._held(session, table, column, rows) for column in self._dedupe}
        chosen: list[int] = []
        refused: list[Refused] = []
        updated = 0
        for at, row in enumerate(rows):
            same = [column for column in self._dedupe if row.get(column) is not None and self._form(column, row[column]) in held[column]]
            for column in self._dedupe:
                if row.get(column) is not None:
                    held[column].add(self._form(column, row[column]))
            if not same:
                chosen.append(at)
            elif self._on_duplicate == "reject":
                refused.append((at, f"a lead with this {same[0]} is there already"))
            elif self._on_duplicate == "update":
                try:
                    self._update(session, table, row, same[0], [rows[n] for n in chosen])
                    updated += 1
                except (IntegrityError, DataError) as error:
                    refused.append((at, reason(error)))
        return chosen, refused, updated

    def _update(self, session: Session, table: Table, row: Values, column: str, before: Sequence[Values]) -> None:
        """Put the values that the row has over the lead's that is there: earlier in this chunk, or else in the table."""
        news = {name: value for name, value in row.items() if value is not None}
        for other in before:
            if other.get(column) is not None and self._form(column, other[column]) == self._form(column, row[column]):
                other.update(news)
                return
        with session.begin_nested():
            session.execute(update(table).where(self._expression(table, column) == self._form(column, row[column])).values(news))

    def _held(self, session: Session, table: Table, column: str, rows: Sequence[Values]) -> set[str]:
        asked = {self._form(column, row[column]) for row in rows if row.get(column) is not None}
        if not asked:
            return set()
        expression = self._expression(table, column)
        return {str(value) for (value,) in session.execute(select(expression).where(expression.in_(sorted(asked))).distinct())}

    def _expression(self, table: Table, column: str) -> Any:
        return func.lower(table.c[column]) if column == self._email else table.c[column]

    def _form(self, column: str, value: str) -> str:
        return value.lower() if column == self._email else value

    def _number(self, text: str) -> str:
        try:
            found = phonenumbers.parse(text, self._region)
        except phonenumbers.NumberParseException as error:
            hint = "" if self._region or text.startswith("+") else ": write it with + and the country's code, or set defaultRegion"
            raise ValueError(f"is no phone number ({error}){hint}") from None
        if not phonenumbers.is_valid_number(found):
            raise ValueError("is no phone number that can exist")
        return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)


def _address(text: str) -> str:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise ValueError(f"is no e-mail address: {error}") from None
