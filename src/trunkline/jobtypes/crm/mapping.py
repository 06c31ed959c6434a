"""Which field of the CRM goes into which column, decided and checked before anything is read.

Called by: crm.run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.jobtypes.imports import values
from trunkline.model import Fail

# Phones and addresses come only where no fields are named at all; the others are named by the portal and not answered.
MULTIFIELD, NOT_OVER_REST = "fm", frozenset({"contacts", "companies", "entityTypeId"})


def chosen(
    asked: Mapping[str, str] | None, fields: Sequence[str], table: Mapping[str, values.Column], name_of_table: str
) -> dict[str, values.Column]:
    """Field of the CRM -> column of the table.

    Args:
        asked: as the payload says; None: fields and columns of equal names, whatever their case and underscores.
    Raises:
        Fail: a name is wrong, or a column that needs a value has none.
    """
    if asked is None:
        by_name = {_bare(name): name for name in table}
        asked = {name: by_name[_bare(name)] for name in fields if _bare(name) in by_name and name not in NOT_OVER_REST}
    for name, column in asked.items():
        if name in NOT_OVER_REST or (name not in fields and name != MULTIFIELD):
            raise Fail(
                f"the mapping names the field {name[:80]!r}, which this type does not have. It has: {', '.join(sorted(fields)[:40])}."
            )
        if column not in table:
            raise Fail(f"the mapping leads to the column {column[:80]!r}, which table {name_of_table!r} does not have or makes itself.")
    if "id" not in asked:
        raise Fail(f"no column of table {name_of_table!r} takes the field 'id', by which rows are found again. Map one that is unique.")
    twice = [column for column in asked.values() if list(asked.values()).count(column) > 1]
    if twice:
        raise Fail(f"two fields are mapped to {twice[0]!r}.")
    if missing := [name for name, column in table.items() if column.is_required and name not in asked.values()]:
        raise Fail(f"the column {missing[0]!r} of the table needs a value, and no field is mapped to it.")
    return {name: table[column] for name, column in asked.items()}


def fields_of(result: Any) -> list[str]:
    """The names that crm.item.fields answers."""
    fields = result.get("fields") if isinstance(result, dict) else None
    if not isinstance(fields, dict) or not fields:
        raise Fail("the portal answers crm.item.fields without fields.")
    return list(fields)


def _bare(name: str) -> str:
    return name.lower().replace("_", "")
