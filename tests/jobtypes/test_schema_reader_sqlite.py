"""Reading an SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from tests.jobtypes.support import Read
from trunkline.jobtypes.schema.shape import Column, ForeignKey, Index, Key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


def made(path: Path, script: str) -> str:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(script)
    return f"sqlite:///{path}"


def names(parts: Iterable[object]) -> list[str]:
    return [part.name for part in parts]  # type: ignore[attr-defined]


def test_tables_views_keys_and_indexes_are_read(path: Path, read_now: Read) -> None:
    url = made(
        path,
        """
        create table customer (id integer primary key, email varchar(80) not null unique, joined datetime default current_timestamp);
        create table orders (
          id integer primary key, customer_id int not null, note text,
          constraint by_customer foreign key (customer_id) references customer (id) on delete cascade,
          constraint one_note unique (customer_id, note)
        );
        create index open_orders on orders (note) where note is not null;
        create view mail as select email from customer;
        """,
    )
    reading = read_now(url)
    customer, mail, orders = reading.tables

    assert (reading.schemas, reading.table_count, mail.kind) == (("main",), 2, "view")
    assert Column("email", "varchar(80)", nullable=False) == customer.columns[1]
    assert "current_timestamp" == customer.columns[2].default
    assert Key(None, ("id",)) == orders.primary_key
    assert (Key("one_note", ("customer_id", "note")),) == orders.unique_constraints
    assert (ForeignKey("by_customer", ("customer_id",), "main", "customer", ("id",), on_delete="cascade"),) == orders.foreign_keys
    assert (Index("open_orders", ("note",), where="note is not null"),) == orders.indexes


def test_rows_are_known_only_where_analyze_ran(path: Path, read_now: Read) -> None:
    """Counting would read the whole file."""
    url = made(path, "create table t (id integer primary key); insert into t values (1), (2), (3);")
    before = read_now(url).tables[0].estimated_rows
    made(path, "analyze;")

    assert (None, 3) == (before, read_now(url).tables[0].estimated_rows)


def test_a_partial_index_does_not_hide_the_size_of_its_table(path: Path, read_now: Read) -> None:
    """Its statistics count only its own rows."""
    url = made(
        path,
        "create table t (a int); create index whole on t (a); create index part on t (a) where a > 2;"
        "insert into t values (1), (2), (3); analyze;",
    )

    assert 3 == read_now(url).tables[0].estimated_rows


def test_a_view_over_a_dropped_table_says_so_and_the_rest_is_read(path: Path, read_now: Read) -> None:
    url = made(path, "create table gone (a); create view v as select a from gone; drop table gone; create table t (a int);")

    t, v = read_now(url).tables

    assert (("a",), None) == (tuple(column.name for column in t.columns), t.unreadable)
    assert "It was dropped meanwhile, or refers to something that is gone." == v.unreadable


def test_strange_names_and_types_are_read(path: Path, read_now: Read) -> None:
    url = made(path, 'create table "we ""ird"" ?" ("a b" "odd type", typed_not_at_all, v vector(3));')

    (table,) = read_now(url).tables

    assert 'we "ird" ?' == table.name
    assert [
        ("a b", "odd type"),
        ("typed_not_at_all", "unknown"),
        ("v", "vector(3)"),
    ] == [(column.name, column.type) for column in table.columns]


def test_a_path_with_special_characters_is_found(tmp_path: Path, read_now: Read) -> None:
    """It goes into a file: URI, where ? and # mean something."""
    url = made(tmp_path / "a shop #1 & more%.db", "create table t (a int);")

    assert ["t"] == names(read_now(url).tables)


def test_the_file_is_left_as_it_was(path: Path, read_now: Read) -> None:
    url = made(path, "create table t (a int);")
    before = path.read_bytes()
    path.chmod(0o444)

    read_now(url)

    assert before == path.read_bytes()
    assert ["shop.db"] == [entry.name for entry in path.parent.iterdir()]
