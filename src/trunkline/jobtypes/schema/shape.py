"""What a reading of a database is made of; camelCase when it is written as JSON.

Always true: the values are frozen; lists are in an order that does not depend on the server (columns by position,
everything else by name), so equal databases give equal JSON; `estimated_rows` is the only field that moves by itself.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from trunkline.connections.registry import Dialect

Types = dict[str, dict[str, str]]  # table -> column -> the database's own words for its type
Schemas = tuple[list[str], list[str]]  # names of those that can be read, and of those the user may not use; sorted
TableKind = Literal["table", "view", "materializedView"]


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A piece of a schema. What is absent in the JSON has its default here: null, false or empty."""


class Column(Part, frozen=True):
    """One column, in the position it has in its table."""

    name: str
    type: str  # as the database itself writes it: "character varying(40)", "int(10) unsigned"
    nullable: bool = True
    default: str | None = None  # the expression, not a value
    comment: str | None = None
    generated: str | None = None  # the expression of a computed column
    identity: bool = False
    values: tuple[str, ...] = ()  # of an enum, in their order


class Key(Part, frozen=True):
    """A primary key or a unique constraint."""

    name: str | None  # SQLite leaves most of them unnamed
    columns: tuple[str, ...]


class ForeignKey(Part, frozen=True):
    """Columns that point into another table."""

    name: str | None
    columns: tuple[str, ...]
    referred_schema: str
    referred_table: str
    referred_columns: tuple[str, ...]
    on_delete: str | None = None  # null: no action
    on_update: str | None = None


class Index(Part, frozen=True):
    """An index that is not merely the shadow of a unique constraint."""

    name: str | None
    columns: tuple[str, ...]  # names or expressions, with their direction: "placed_at desc"
    unique: bool = False
    method: str | None = None  # null: the database's ordinary one
    where: str | None = None
    include: tuple[str, ...] = ()


class Table(Part, frozen=True):
    """A table or a view."""

    schema: str
    name: str
    kind: TableKind
    comment: str | None = None
    columns: tuple[Column, ...] = ()
    primary_key: Key | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    unique_constraints: tuple[Key, ...] = ()
    indexes: tuple[Index, ...] = ()
    estimated_rows: int | None = None  # the planner's figure, never a count; null: the database has none
    unreadable: str | None = None  # why the columns are missing: a view over a dropped table, say


class Reading(Part, frozen=True):
    """Everything one run found."""

    dialect: Dialect
    schemas: tuple[str, ...]
    tables: tuple[Table, ...]
    hidden_schemas: tuple[str, ...] = ()  # there, but the user may not use them, so their tables are not among `tables`

    @property
    def table_count(self) -> int:
        """Tables without views."""
        return sum(table.kind == "table" for table in self.tables)

    @property
    def column_count(self) -> int:
        """Columns of tables and views."""
        return sum(len(table.columns) for table in self.tables)
