"""The connection in hand: who has it, and when it goes back."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.errors import InvalidInput, TrunklineError
from trunkline.store import Store, held


async def idle(store: Store) -> bool:
    """Whether every connection is in the pool."""
    return store.pool.get_idle_size() == store.pool.get_size()


async def test_statements_in_turn_use_one_connection_and_statements_at_once_use_others(store):
    """It is kept between statements and never shared."""
    pid = "select pg_backend_pid()"
    first = (await store.fetch_held(pid))[0][0]

    assert [first] * 5 == [(await store.fetch_held(pid))[0][0] for _ in range(5)]
    both = await asyncio.gather(*(store.fetch_held("select pg_backend_pid() from pg_sleep(0.02)") for _ in range(2)))
    assert 2 == len({rows[0][0] for rows in both})


async def test_it_goes_back_when_nothing_was_sent_for_a_while(store, monkeypatch):
    """Others may need it: the pool is small."""
    monkeypatch.setattr(held, "IDLE_S", 0.02)
    await store.fetch_held("select 1")
    assert not await idle(store)
    async with asyncio.timeout(10):
        while not await idle(store):
            await asyncio.sleep(0.005)

    assert 1 == (await store.fetch_held("select 1"))[0][0]


async def test_a_statement_that_begins_when_it_is_about_to_go_back_has_it_for_itself(store, monkeypatch):
    """Between the look that found it idle and its way back, nobody may begin to use it."""
    await store.fetch_held("select 1")
    monkeypatch.setattr(held, "IDLE_S", -1.0)
    sent = asyncio.create_task(store.fetch_held("select pg_backend_pid() from pg_sleep(0.3)"))  # runs as soon as we wait
    store._held._look()
    while store._held._returning:
        await asyncio.sleep(0)
    others = await asyncio.gather(*(store.fetch("select pg_backend_pid() from pg_sleep(0.3)") for _ in range(3)))

    assert 4 == len({rows[0][0] for rows in (await sent, *others)})


async def test_it_goes_back_after_an_error_and_the_next_statement_works(store):
    """A refused value, a closed connection: the caller hears of it, and nobody after it does."""
    with pytest.raises(InvalidInput):
        await store.fetch_held("select 1 / 0")
    assert await idle(store)
    pid = (await store.fetch_held("select pg_backend_pid()"))[0][0]
    await store.fetch("select pg_terminate_backend($1, 5000)", pid)
    with pytest.raises(TrunklineError):
        for _ in range(2):  # the end may be noticed before it is sent on; then it is another connection at once
            await store.fetch_held("select 1")
            raise TrunklineError("it was noticed")

    assert pid != (await store.fetch_held("select pg_backend_pid()"))[0][0]


async def test_a_caller_that_gives_up_leaves_no_statement_behind(store):
    """Its connection is cleaned by the pool before anybody else has it."""
    waiting = asyncio.create_task(store.fetch_held("select pg_sleep(60)"))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while not await store.fetchval("select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'"):
            await asyncio.sleep(0.005)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert 1 == (await store.fetch_held("select 1"))[0][0]


async def test_closing_the_store_gives_it_back_first(trunkline_url):
    """Nothing waits for the pool's time to be over."""
    from trunkline.settings import Settings

    store = await Store.connect(Settings.load({}, database_url=trunkline_url))
    await store.fetch_held("select 1")
    async with asyncio.timeout(3):
        await store.close()
