"""Two readings have the same fingerprint exactly when nobody changed anything."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from tests.jobtypes.support import Database, Read
from trunkline.jobtypes.schema.fingerprint import fingerprint
from trunkline.jobtypes.schema.shape import Column, Key, Reading, Table

TABLE = Table(schema="public", name="t", kind="table", columns=(Column("id", "int"),), estimated_rows=5)
READING = Reading(dialect="postgresql", schemas=("public",), tables=(TABLE,))


def with_table(**changes: object) -> Reading:
    return msgspec.structs.replace(READING, tables=(msgspec.structs.replace(TABLE, **changes),))


def test_row_estimates_do_not_count() -> None:
    """They move whenever the planner looks."""
    assert fingerprint(READING) == fingerprint(with_table(estimated_rows=None)) == fingerprint(with_table(estimated_rows=9))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "u"},
        {"comment": "new"},
        {"columns": (Column("id", "bigint"),)},
        {"columns": (Column("id", "int", nullable=False),)},
        {"columns": (Column("id", "int", default="1"),)},
        {"columns": (Column("id", "int", values=("a", "b")),)},
        {"primary_key": Key("t_pkey", ("id",))},
        {"unique_constraints": (Key(None, ("id",)),)},
        {"unreadable": "why"},
    ],
)
def test_everything_else_counts(changes: dict[str, object]) -> None:
    assert fingerprint(READING) != fingerprint(with_table(**changes))


def test_it_is_the_same_in_every_process() -> None:
    """No hash seed, no order of a dictionary, no memory address."""
    program = (
        "from trunkline.jobtypes.schema.fingerprint import fingerprint as f;"
        "from trunkline.jobtypes.schema.shape import Column, Reading, Table;"
        "print(f(Reading('postgresql', ('public',), (Table('public', 't', 'table', columns=(Column('id', 'int'),)),))))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert fingerprint(READING) == other.stdout.strip()


def test_two_readings_of_an_unchanged_database_are_equal(database: Database, read_now: Read) -> None:
    """Also after rows came and estimates moved."""
    database.execute("create table t (id int primary key, u int unique, v int references t)", "create index i on t (v)")
    before = fingerprint(read_now(database.url))
    database.execute("insert into t select generate_series(1, 1000)", "analyze")

    assert before == fingerprint(read_now(database.url))


@pytest.mark.parametrize(
    "statement",
    [
        "alter table t add column w int",
        "alter table t drop column v",
        "alter table t alter column v type bigint",
        "alter table t alter column v set default 3",
        "alter table t alter column v set not null",
        "comment on column t.v is 'new'",
        "comment on table t is 'new'",
        "create index j on t (v desc)",
        "create unique index j on t (v) where v > 3",
        "alter table t add constraint k unique (v)",
        "alter table t add constraint k foreign key (v) references t",
        "create view w as select 1 as a",
        "create schema s",
        "alter type mood add value 'fine'",
    ],
)
def test_a_change_of_the_schema_changes_it(database: Database, read_now: Read, statement: str) -> None:
    database.execute("create type mood as enum ('good')", "create table t (id int primary key, v int, m mood)")
    before = fingerprint(read_now(database.url))
    database.execute(statement)

    assert before != fingerprint(read_now(database.url))
