"""Reading PostgreSQL: everything a person would want to know about a table, and nothing of what is in it."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from tests.jobtypes.support import Database, Read
from trunkline.connections import Connection
from trunkline.jobtypes.schema import postgresql
from trunkline.jobtypes.schema.shape import Column, ForeignKey, Index, Key, Reading, Table


def table_of(reading: Reading, schema: str, name: str) -> Table:
    return next(table for table in reading.tables if (table.schema, table.name) == (schema, name))


def test_the_demonstration_shop_is_read_whole(shop_url: str, read_now: Read) -> None:
    reading = read_now(shop_url)

    assert ("billing", "catalog", "hr", "logistics", "public", "sales", "support") == reading.schemas
    assert (43, 5) == (reading.table_count, len(reading.tables) - reading.table_count)
    assert {"table", "view", "materializedView"} == {table.kind for table in reading.tables}
    assert () == tuple(table.name for table in reading.tables if table.unreadable)


def test_columns_have_the_words_of_the_database(shop_url: str, read_now: Read) -> None:
    """Types with length and schema, defaults, comments, computed columns, identities and the values of an enum."""
    reading = read_now(shop_url)
    product = {column.name: column for column in table_of(reading, "catalog", "product").columns}
    line = {column.name: column for column in table_of(reading, "sales", "order_line").columns}
    orders = {column.name: column for column in table_of(reading, "sales", "orders").columns}

    assert Column("id", "bigint", nullable=False, identity=True) == product["id"]
    assert Column("sku", "character varying(32)", nullable=False) == product["sku"]
    assert "Size, colour, material: whatever the brand tells us" == product["attributes"].comment
    assert (product["attributes"].default, product["attributes"].type) == ("'{}'::jsonb", "jsonb")
    assert "((quantity)::numeric * unit_price)" == line["amount"].generated
    assert "sales.order_status" == orders["status"].type
    assert ("draft", "placed", "paid", "packed", "shipped", "delivered", "returned", "cancelled") == orders["status"].values


def test_keys_and_indexes_are_read(shop_url: str, read_now: Read) -> None:
    reading = read_now(shop_url)
    orders = table_of(reading, "sales", "orders")
    product = table_of(reading, "catalog", "product")

    assert Key("orders_pkey", ("id",)) == orders.primary_key
    assert (Key("product_sku_key", ("sku",)),) == product.unique_constraints
    assert ForeignKey("orders_coupon_code_fkey", ("coupon_code",), "sales", "coupon", ("code",), on_update="cascade") in orders.foreign_keys
    assert ForeignKey("orders_currency_code_fkey", ("currency_code",), "public", "currency", ("code",)) in orders.foreign_keys
    assert (
        Index("product_attributes", ("attributes",), method="gin"),
        Index("product_category", ("category_id",), where="is_active"),
        Index("product_title", ("lower(title)",)),
    ) == product.indexes
    assert Index("orders_customer", ("customer_id", "placed_at desc"), include=("status",)) in orders.indexes


def test_rows_are_the_planners_estimate_and_never_counted(database: Database, read_now: Read) -> None:
    """A table that was never analyzed has no estimate, and the reading does not make one."""
    database.execute("create table known (id int)", "create table unknown (id int)")
    database.execute("insert into known select generate_series(1, 500)", "analyze known")
    database.execute("insert into unknown select generate_series(1, 500)")

    reading = read_now(database.url)

    assert 500 == table_of(reading, "public", "known").estimated_rows
    assert table_of(reading, "public", "unknown").estimated_rows is None


def test_a_role_that_may_read_no_table_can_read_the_schema(database: Database, read_now: Read) -> None:
    """The catalog is open to everybody who may use the schema; no right on any table is needed."""
    database.execute("create table plan (id int generated always as identity primary key)")

    assert Key("plan_pkey", ("id",)) == table_of(read_now(database.url), "public", "plan").primary_key


def test_a_schema_the_role_may_not_use_is_named_and_the_rest_is_read(database: Database, read_now: Read) -> None:
    """Most read-only roles have such a neighbour; an identity column in it must not end the reading."""
    database.execute("create schema secret", "create table secret.plan (id int generated always as identity primary key)")
    database.execute("create table t (id int)")

    reading = read_now(database.url)

    assert (reading.schemas, reading.hidden_schemas) == (("public",), ("secret",))
    assert ["t"] == [table.name for table in reading.tables]


def test_names_are_whole_whatever_the_roles_search_path_is(database: Database, read_now: Read) -> None:
    """PostgreSQL leaves out the schema of what is on the path; two roles would read two different schemas."""
    database.execute(
        "create schema sales",
        f"grant usage on schema sales to {database.role}",
        "create type sales.state as enum ('new')",
        "create table sales.customer (id serial primary key)",
        "create table public.note (id int, customer_id int references sales.customer, state sales.state default 'new')",
    )
    usual = read_now(database.url)
    database.execute(f"alter role {database.role} set search_path = sales, public")

    assert usual == read_now(database.url)


def test_unknown_types_are_no_trouble(database: Database, read_now: Read) -> None:
    """Types of extensions and composite types have the name PostgreSQL gives them."""
    database.execute("create type pair as (a int, b int)", "create table odd (p pair, q pair[], r xml, s tsvector)")

    assert (
        "public.pair",
        "public.pair[]",
        "xml",
        "tsvector",
    ) == tuple(column.type for column in table_of(read_now(database.url), "public", "odd").columns)


def test_names_that_need_quotes_are_read(database: Database, read_now: Read) -> None:
    database.execute(
        f'create schema "Odd schema" authorization {database.role}',
        'create table "Odd schema"."Ta""ble" ("a b" int primary key, "x,y" int unique)',
        'create table "Odd schema".kid (k int references "Odd schema"."Ta""ble" ("x,y"))',
        'create view "Odd schema"."a view" as select 1 as "ü%"',
    )
    reading = read_now(database.url)

    assert Key('Ta"ble_pkey', ("a b",)) == table_of(reading, "Odd schema", 'Ta"ble').primary_key
    assert ("ü%",) == tuple(column.name for column in table_of(reading, "Odd schema", "a view").columns)
    assert 'Ta"ble' == table_of(reading, "Odd schema", "kid").foreign_keys[0].referred_table


def test_every_table_is_told_once_with_its_schema_unless_that_is_the_default(database: Database, read_now: Read) -> None:
    database.execute("create table b (id int)", "create view a as select 1", "create schema s", "create table s.c (id int)")
    database.execute(f"grant usage on schema s to {database.role}")
    told: list[tuple[int, int, str]] = []

    read_now(database.url, told)

    assert [(1, 3, "b"), (2, 3, "a"), (3, 3, "s.c")] == told


def test_more_tables_than_one_bulk_question_takes_are_all_read(database: Database, read_now: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "GROUP", 3)
    database.execute(*(f"create table t{n} (id int primary key)" for n in range(8)))

    reading = read_now(database.url)

    assert tuple(f"t{n}" for n in range(8)) == tuple(table.name for table in reading.tables)
    assert all(table.primary_key for table in reading.tables)


def test_an_empty_database_is_a_schema_without_tables(database: Database, read_now: Read) -> None:
    reading = read_now(database.url)

    assert (reading.schemas, reading.tables) == (("public",), ())


def test_the_session_can_write_nothing_and_waits_for_nothing_long(database: Database) -> None:
    """The limits hold inside the transaction, where a pooler cannot lose them."""
    with postgresql.engine(Connection("shop", "postgresql", database.url)).connect() as session:
        postgresql.begin(session)
        limits = session.exec_driver_sql(
            "select current_setting('transaction_isolation'), current_setting('statement_timeout'), current_setting('lock_timeout')"
        ).one()
        with pytest.raises(DBAPIError, match="read-only transaction"):
            session.exec_driver_sql("create temp table t (id int); create table t2 (id int)")

    assert ("repeatable read", "1min", "10s") == tuple(limits)


def test_the_number_of_questions_does_not_grow_with_the_tables(database: Database, read_now: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bulk reflection: a thousand tables are as many round trips as one."""
    asked: list[str] = []
    ordinary = postgresql.engine

    def counting(connection: object) -> object:
        engine = ordinary(connection)  # type: ignore[arg-type]
        event.listen(engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
        return engine

    monkeypatch.setattr(postgresql, "engine", counting)
    database.execute("create table t0 (id int)")
    read_now(database.url)
    for_one = len(asked)
    asked.clear()
    database.execute("create table parent (id int primary key)")
    database.execute(*(f"create table kid{n} (id int references parent)" for n in range(60)))
    read_now(database.url)

    assert for_one == len(asked)
