"""`trunkline migrate`."""

from __future__ import annotations

import asyncpg
import pytest

from tests.cli.conftest import Cli
from trunkline import sql
from trunkline.store.migrate import script


async def test_a_database_is_brought_up_to_date_once(cli: Cli):
    """The second time there is nothing to do; the log of the installation says who did it, once."""
    first = (await cli("migrate", "--schema", "other", "--json")).json
    second = (await cli("migrate", "--schema", "other", "--json")).json
    noted = (await cli("audit", "--installation", "--json", TRUNKLINE_SCHEMA="other")).json["audit"]

    assert [file.name for file in sql.migrations()] == first["migrations"]
    assert ("other", [], []) == (second["schema"], second["migrations"], second["functions"])
    assert [("schema.migrated", "schema:other")] == [(row["act"], row["subject"]) for row in noted]


async def test_people_read_what_was_done(cli: Cli):
    """Name by name."""
    answer = await cli("migrate", "--schema", "other")

    assert 0 == answer.code
    assert f"applied  {sql.migrations()[0].name}\n" in answer.out
    assert answer.out.endswith("Schema 'other' is what Trunkline 0.1.0 needs.\n")


async def test_check_changes_nothing(cli: Cli):
    """And says with its exit code whether there is something to do."""
    current, absent = await cli("migrate", "--check"), await cli("migrate", "--check", "--schema", "absent")
    again = await cli("migrate", "--check", "--schema", "absent")

    assert (0, 1, 1) == (current.code, absent.code, again.code)
    assert "error: the schema 'absent' is not there. Run: trunkline migrate\n" == absent.err


async def test_check_sees_functions_of_another_version(cli: Cli, trunkline_url: str):
    """Migrations alone do not tell: functions are replaced whenever their text changes."""
    conn = await asyncpg.connect(trunkline_url)
    await conn.execute("update trunkline.function_file set checksum = 'x' where name like '30%'")
    await conn.close()
    before = await cli("migrate", "--check")
    await cli("migrate")

    assert 1 == before.code and "functions of another version are in the schema 'trunkline' (30_" in before.err
    assert 0 == (await cli("migrate", "--check")).code


@pytest.mark.parametrize("schema", ["trunkline", "other"])
async def test_print_needs_no_database(cli: Cli, schema: str):
    """The script is the answer, whole and alone."""
    answer = await cli("migrate", "--print", "--schema", schema, TRUNKLINE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")

    assert (0, script(schema), "") == (answer.code, answer.out, answer.err)


async def test_the_printed_script_makes_a_schema_that_is_current(cli: Cli, trunkline_url: str):
    """For people who apply SQL by hand."""
    printed = (await cli("migrate", "--print", "--schema", "byhand", "--json")).json["sql"]
    conn = await asyncpg.connect(trunkline_url)
    await conn.execute(printed)
    await conn.close()

    assert 0 == (await cli("migrate", "--check", "--schema", "byhand")).code


async def test_two_wishes_at_once_are_wrong_usage(cli: Cli):
    """Printing is not checking."""
    assert 2 == (await cli("migrate", "--print", "--check")).code


async def test_a_schema_that_cannot_be_one_is_refused(cli: Cli):
    """With the variable that sets it."""
    answer = await cli("migrate", "--schema", "No!")

    assert 1 == answer.code and answer.err.startswith("error: TRUNKLINE_SCHEMA is 'No!'")


async def test_an_unreachable_database_is_a_sentence_without_its_password(cli: Cli):
    """The URL helps, its password must not be in a log."""
    answer = await cli("migrate", TRUNKLINE_DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/none")

    assert 1 == answer.code and "s3cret" not in answer.err
    assert answer.err.startswith("error: cannot connect to postgresql://me:***@127.0.0.1:1/none")
