"""Reading MariaDB or MySQL, whichever is installed here."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy.exc import DBAPIError

from tests.jobtypes.support import PASSWORD, MySQL, Read
from trunkline.connections import Connection
from trunkline.jobtypes.schema import mysql as mysql_source
from trunkline.jobtypes.schema.shape import Column, ForeignKey, Index, Key


@dataclass(frozen=True)
class Shop:
    """A database and a user of its own, who may only select."""

    server: MySQL
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name, user=self.name, password=PASSWORD)

    def execute(self, *statements: str) -> None:
        self.server.execute(f"use {self.name}", *statements)


@pytest.fixture
def shop(mysql: MySQL) -> Iterator[Shop]:
    name = f"t_{uuid.uuid4().hex[:12]}"
    mysql.execute(f"create database {name}", f"create user {name}@localhost identified by '{PASSWORD}'")
    mysql.execute(f"grant select on {name}.* to {name}@localhost")
    yield Shop(mysql, name)
    mysql.execute(f"drop database if exists {name}", f"drop user {name}@localhost")


def test_tables_keys_indexes_and_comments_are_read(shop: Shop, read_now: Read) -> None:
    shop.execute(
        "create table customer (id int unsigned auto_increment primary key, email varchar(80) not null unique"
        " comment 'as typed', state enum('new','old') not null default 'new') comment 'people'",
        "create table orders (id bigint auto_increment primary key, customer_id int unsigned not null, note text, qty int,"
        " twice int generated always as (qty * 2) stored, index by_qty (qty), fulltext index words (note),"
        " constraint of_customer foreign key (customer_id) references customer (id) on delete cascade)",
    )
    reading = read_now(shop.url)
    customer, orders = reading.tables

    assert ((shop.name,), "people") == (reading.schemas, customer.comment)
    assert (customer.columns[0].name, customer.columns[0].nullable, customer.columns[0].identity) == ("id", False, True)
    assert customer.columns[0].type.startswith("int") and customer.columns[0].type.endswith("unsigned")
    assert Column("email", "varchar(80)", nullable=False, comment="as typed") == customer.columns[1]
    assert (customer.columns[2].type, customer.columns[2].values) == ("enum('new','old')", ("new", "old"))
    assert (Key("email", ("email",)),) == customer.unique_constraints
    assert () == customer.indexes
    assert "(`qty` * 2)" == orders.columns[4].generated
    assert (ForeignKey("of_customer", ("customer_id",), shop.name, "customer", ("id",), on_delete="cascade"),) == orders.foreign_keys
    assert Index("by_qty", ("qty",)) in orders.indexes
    assert Index("words", ("note",), method="fulltext") in orders.indexes


def test_rows_are_the_storage_engines_estimate(shop: Shop, read_now: Read) -> None:
    shop.execute(
        "create table t (id int primary key)",
        f"insert into t values {', '.join(f'({n})' for n in range(100))}",
        "analyze table t",
    )

    assert 100 == read_now(shop.url).tables[0].estimated_rows


def test_a_view_whose_definition_is_hidden_still_shows_its_columns(shop: Shop, read_now: Read) -> None:
    """SHOW CREATE needs a right that a read-only user seldom has; the catalog has the columns all the same."""
    shop.execute("create table t (id int primary key)", "create view v as select id, id + 1 as next from t")

    view = read_now(shop.url).tables[1]

    assert ("view", None, ("id", "next")) == (view.kind, view.unreadable, tuple(column.name for column in view.columns))


def test_a_view_over_a_dropped_table_says_so_and_the_rest_is_read(shop: Shop, read_now: Read, mysql: MySQL) -> None:
    shop.execute("create table gone (a int)", "create view v as select a from gone", "drop table gone", "create table t (a int)")

    t, v = read_now(mysql.url(shop.name)).tables

    assert (("a",), None) == (tuple(column.name for column in t.columns), t.unreadable)
    assert "It was dropped meanwhile, or refers to something that is gone." == v.unreadable


def test_without_a_database_in_the_url_all_that_the_user_sees_is_read(shop: Shop, read_now: Read) -> None:
    """The server's own databases are left out."""
    shop.execute("create table t (id int primary key)")

    reading = read_now(shop.server.url(user=shop.name, password=PASSWORD))

    assert ((shop.name,), [(shop.name, "t")]) == (reading.schemas, [(table.schema, table.name) for table in reading.tables])


def test_the_session_can_write_nothing(shop: Shop) -> None:
    shop.execute("create table t (id int primary key)")
    engine = mysql_source.engine(Connection("shop", "mysql", shop.server.url(shop.name)))
    with engine.connect() as session, pytest.raises(DBAPIError, match="READ ONLY"):
        session.exec_driver_sql("insert into t values (1)")
