"""What the database says, in our words: which exception a caller gets, and whether it may try again."""

from __future__ import annotations

import asyncpg
import pytest

from trunkline import errors
from trunkline.settings import Settings
from trunkline.store import Store
from trunkline.store.sqlstate import OURS, translate


async def test_each_of_our_sqlstates_is_an_exception_of_its_own(store):
    """Its message is what SQL said."""
    for state, ours in OURS.items():
        with pytest.raises(ours, match="what was wrong"):
            await store.fetch(f"do $$ begin raise exception using errcode = '{state}', message = 'what was wrong'; end $$")


async def test_what_may_pass_by_itself_can_be_tried_again(store):
    """Disk full, read-only, deadlock, timeout, shutdown, too many connections."""
    for state in ("08006", "53100", "53200", "53300", "57014", "57P01", "57P03", "58030", "40001", "40P01", "25006", "55P03"):
        with pytest.raises(errors.Unavailable, match=state) as caught:
            await store.fetch(f"do $$ begin raise exception using errcode = '{state}', message = 'x'; end $$")

        assert caught.value.retryable


async def test_what_is_missing_in_the_schema_asks_for_a_migration(store):
    """Code and schema differ."""
    for what in ("trunkline.no_such_function()", "1 from trunkline.no_such_table", "1 from nowhere.t"):
        with pytest.raises(errors.SchemaOutdated, match="trunkline migrate"):
            await store.fetch(f"select {what}")


@pytest.mark.parametrize(
    ("statement", "argument"),
    [
        ("select $1::text", "\ud800"),
        ("select $1::text", "a\x00b"),
        ("select $1::integer", "x"),
        ("select $1::integer", 2**40),
        ("select $1::json", "{"),
    ],
    ids=["surrogate", "nul", "wrong type", "too large", "no json"],
)
async def test_a_value_that_cannot_be_stored_is_the_callers_mistake(store, statement, argument):
    """To try again would not mend it; an acker that did would try for ever."""
    with pytest.raises(errors.InvalidInput) as caught:
        await store.fetch(statement, argument)

    assert not caught.value.retryable


async def test_a_bug_of_ours_is_seen_as_it_is(store):
    """A constraint that no rule expected to meet."""
    with pytest.raises(asyncpg.CheckViolationError):
        await store.fetch("insert into trunkline.tenant (name) values ('a/b')")


async def test_a_statement_that_takes_too_long_can_be_tried_again(trunkline_url):
    """The client gave up waiting."""
    store = await Store.connect(Settings.load({}, database_url=trunkline_url, command_timeout_s=0.3))
    with pytest.raises(errors.Unavailable):
        await store.fetch("select pg_sleep(20)")
    await store.close()


async def test_a_server_that_is_not_there_is_named_without_its_password():
    """A password never reaches a log."""
    with pytest.raises(errors.Unavailable) as caught:
        await Store.connect(Settings.load({}, database_url="postgresql://u:secret@127.0.0.1:1/x"))

    assert "secret" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


@pytest.mark.parametrize("error", [OSError("x"), ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("closed")])
def test_a_lost_connection_can_be_tried_again(error):
    """Whatever the driver calls it."""
    assert isinstance(translate(error), errors.Unavailable)


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("y"), ZeroDivisionError()])
def test_what_is_not_the_databases_is_left_alone(error):
    """None: raise it as it is."""
    assert None is translate(error)
