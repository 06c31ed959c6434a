"""Puts what SQLAlchemy's inspector says about a table into our own words.

Always true: nothing of SQLAlchemy's leaves this module; what the inspector leaves open (names it has none for,
a foreign key into the same schema) is settled here, so that two readings of one database are equal.
Called by: reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Dialect, Inspector
from sqlalchemy.engine.reflection import ObjectKind, ObjectScope
from sqlalchemy.exc import CompileError

from trunkline.jobtypes.schema.shape import Column, ForeignKey, Index, Key, Table

By = Mapping[tuple[str | None, str], Any]  # (schema, table) -> what the inspector found

GONE = "It was dropped meanwhile, or refers to something that is gone."


@dataclass(frozen=True, slots=True)
class Facts:
    """The inspector's answers about a group of tables of one schema."""

    columns: By = field(default_factory=dict)
    primary_keys: By = field(default_factory=dict)
    foreign_keys: By = field(default_factory=dict)
    unique_constraints: By = field(default_factory=dict)
    indexes: By = field(default_factory=dict)
    comments: By = field(default_factory=dict)
    unreadable: str = GONE  # what to say about a table that is absent from `columns`

    @classmethod
    def read(cls, inspector: Inspector, schema: str, names: Sequence[str], *, columns_only: bool) -> Facts:
        """Ask the inspector; a table that cannot be reflected is absent from every answer."""
        which: dict[str, Any] = {
            "schema": schema,
            "filter_names": names,
            "kind": ObjectKind.ANY,
            "scope": ObjectScope.ANY,
        }
        columns = inspector.get_multi_columns(**which)
        if columns_only or not columns:
            return cls(columns)
        return cls(
            columns,
            inspector.get_multi_pk_constraint(**which),
            inspector.get_multi_foreign_keys(**which),
            inspector.get_multi_unique_constraints(**which),
            inspector.get_multi_indexes(**which),
            inspector.get_multi_table_comment(**which) if inspector.dialect.supports_comments else {},
        )


def assemble(bare: Table, facts: Facts, types: Mapping[str, str], dialect: Dialect) -> Table:
    """`bare` with everything the facts say about it.

    Args:
        types: column -> the database's own words for its type. They are all there is of a view whose definition the
            user may not read; where even they are absent, `unreadable` says why.
    """
    at = (bare.schema, bare.name)
    if at not in facts.columns:
        if bare.kind == "table" or not types:
            return msgspec.structs.replace(bare, unreadable=facts.unreadable)
        return msgspec.structs.replace(bare, columns=tuple(Column(name=name, type=type_) for name, type_ in types.items()))
    primary = facts.primary_keys.get(at) or {}
    unique = facts.unique_constraints.get(at) or []
    shadows = {constraint.get("duplicates_index") for constraint in unique} - {None}
    return msgspec.structs.replace(
        bare,
        comment=(facts.comments.get(at) or {}).get("text") or None,
        columns=tuple(_column(column, types.get(column["name"]), dialect) for column in facts.columns[at]),
        primary_key=_key(primary) if primary.get("constrained_columns") else None,
        foreign_keys=_sorted(_foreign_key(key, bare.schema) for key in facts.foreign_keys.get(at) or []),
        unique_constraints=_sorted(_key(constraint) for constraint in unique),
        indexes=_sorted(
            _index(index)
            for index in facts.indexes.get(at) or []
            if not index.get("duplicates_constraint") and index["name"] not in shadows
        ),
    )


def _column(found: Mapping[str, Any], type_name: str | None, dialect: Dialect) -> Column:
    return Column(
        name=found["name"],
        type=type_name or _compiled(found["type"], dialect),
        nullable=bool(found.get("nullable", True)),
        default=_text(found.get("default")),
        comment=found.get("comment") or None,
        generated=_text((found.get("computed") or {}).get("sqltext")),
        identity=bool(found.get("identity")) or (found.get("autoincrement") is True and found.get("default") is None),
        values=tuple(getattr(found["type"], "enums", ())),
    )


def _compiled(type_: Any, dialect: Dialect) -> str:
    """The type where the database gave no words of its own: columns of views in SQLite."""
    try:
        return str(type_.compile(dialect=dialect)).lower()
    except CompileError:
        return "unknown"


def _key(found: Mapping[str, Any]) -> Key:
    return Key(name=found.get("name"), columns=tuple(found.get("constrained_columns") or found.get("column_names") or ()))


def _foreign_key(found: Mapping[str, Any], schema: str) -> ForeignKey:
    options = found.get("options") or {}
    return ForeignKey(
        name=found.get("name"),
        columns=tuple(found["constrained_columns"]),
        referred_schema=found.get("referred_schema") or schema,
        referred_table=found["referred_table"],
        referred_columns=tuple(found["referred_columns"]),
        on_delete=_action(options.get("ondelete")),
        on_update=_action(options.get("onupdate")),
    )


def _action(word: str | None) -> str | None:
    """`no action` is what every database does when told nothing, and some say so and some do not."""
    return word.lower() if word and word.upper() != "NO ACTION" else None


def _index(found: Mapping[str, Any]) -> Index:
    # The same option has the dialect's name in front: postgresql_where, sqlite_where.
    options = {name.partition("_")[2]: value for name, value in (found.get("dialect_options") or {}).items()}
    method = str(options.get("using") or options.get("prefix") or "btree").lower()
    sorting = found.get("column_sorting") or {}
    return Index(
        name=found.get("name"),
        columns=tuple(_sorted_by(str(column), sorting) for column in found.get("expressions") or found["column_names"]),
        unique=bool(found.get("unique")),
        method=None if method == "btree" else method,
        where=_text(options.get("where")),
        include=tuple(options.get("include") or ()),
    )


def _sorted_by(column: str, sorting: Mapping[str, Sequence[str]]) -> str:
    """The column with its direction behind it where that is not the ordinary one: "placed_at desc"."""
    return " ".join((column, *sorting.get(column, ()))).replace("nulls_", "nulls ")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _sorted(parts: Any) -> tuple[Any, ...]:
    """By name, then by columns: unnamed keys keep a place too."""
    return tuple(sorted(parts, key=lambda part: (part.name or "", part.columns)))
