"""What changed between two readings of one database, as JSON values.

Always true: it looks at what the readings say and not at the database; row estimates are no change; lists are sorted.
Called by: connections.service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOVES_BY_ITSELF = frozenset({"estimatedRows"})


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """{schemas: {added, removed}, tables: {added, removed, changed}} of two readings, as `jobtypes.schema.shape.Reading` writes them.

    A changed table is {name, columns: {added, removed, changed: [{name, before, after}]}, before, after}: the last two hold
    what else differs (keys, indexes, comment, kind), each field as it was and as it is.
    """
    old, new = _tables(before), _tables(after)
    changed = [_table(name, old[name], new[name]) for name in sorted(old.keys() & new.keys())]
    return {
        "schemas": _sets(set(before.get("schemas", ())), set(after.get("schemas", ()))),
        "tables": {**_sets(set(old), set(new)), "changed": [one for one in changed if one is not None]},
    }


def _tables(reading: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {f"{table['schema']}.{table['name']}": table for table in reading.get("tables", ())}


def _table(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    columns = _columns(_by_name(old), _by_name(new))
    fields = sorted((old.keys() | new.keys()) - MOVES_BY_ITSELF - {"columns"})
    moved = [field for field in fields if old.get(field) != new.get(field)]
    if not moved and not any(columns.values()):
        return None
    return {
        "name": name,
        "columns": columns,
        "before": {field: old.get(field) for field in moved},
        "after": {field: new.get(field) for field in moved},
    }


def _columns(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    both = [name for name in old if name in new and old[name] != new[name]]
    return {**_sets(set(old), set(new)), "changed": [{"name": name, "before": old[name], "after": new[name]} for name in sorted(both)]}


def _by_name(table: Mapping[str, Any]) -> dict[str, Any]:
    return {column["name"]: column for column in table.get("columns", ())}


def _sets(old: set[str], new: set[str]) -> dict[str, list[Any]]:
    return {"added": sorted(new - old), "removed": sorted(old - new)}
