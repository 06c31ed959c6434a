"""The store of schemas: one row per tenant and connection, written only when there is something new."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.connections import Kept, SchemaCache
from trunkline.settings import Settings
from trunkline.store import Store
from trunkline.store.migrate import migrate

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def cache(store: Store) -> SchemaCache:
    return SchemaCache(store)


async def keep(cache: SchemaCache, fingerprint: str, *, tenant_id: int = 1, force: bool = False) -> Kept:
    return await cache.keep(tenant_id, "shop", fingerprint=fingerprint, schema=f'{{"is": "{fingerprint[0]}"}}', tables=3, force=force)


async def test_what_is_new_changed_or_forced_is_stored_and_nothing_else(cache: SchemaCache) -> None:
    assert [Kept(True, True), Kept(False, False), Kept(True, False), Kept(True, True), Kept(False, False)] == [
        await keep(cache, ONE),
        await keep(cache, ONE),
        await keep(cache, ONE, force=True),
        await keep(cache, TWO),
        await keep(cache, TWO),
    ]


async def test_the_text_comes_back_as_it_was_stored(cache: SchemaCache) -> None:
    """json and not jsonb: keys stay in their order, and so do spaces."""
    text = '{"b":  1, "a": [1.50, "ü"]}'
    await cache.keep(1, "shop", fingerprint=ONE, schema=text, tables=0)

    found = await cache.get(1, "shop")

    assert found is not None
    assert (found.schema, found.tables, found.connection_id) == (text, 0, "shop")


async def test_an_unchanged_look_keeps_the_old_text_and_moves_one_time(cache: SchemaCache) -> None:
    await keep(cache, ONE)
    before = await cache.get(1, "shop")
    await cache.keep(1, "shop", fingerprint=ONE, schema='{"is": "ignored"}', tables=9)

    after = await cache.get(1, "shop")

    assert before is not None and after is not None
    assert (before.schema, before.tables, before.captured_at) == (after.schema, after.tables, after.captured_at)
    assert before.checked_at < after.checked_at


async def test_tenants_do_not_meet(cache: SchemaCache) -> None:
    await keep(cache, ONE, tenant_id=1)
    await keep(cache, TWO, tenant_id=2)

    first, second = await cache.get(1, "shop"), await cache.get(2, "shop")

    assert first is not None and second is not None
    assert (first.fingerprint, second.fingerprint) == (ONE, TWO)


async def test_of_many_who_store_the_same_at_once_one_does(store: Store) -> None:
    """The first insert wins; the others see that nothing is new."""
    kept = await asyncio.gather(*(keep(SchemaCache(store), ONE) for _ in range(20)))

    assert [True] == [each.stored for each in kept if each.stored]


async def test_the_schema_may_have_another_name(store: Store) -> None:
    """The installation's schema is substituted in SQL and in the calls."""
    async with store.connection() as conn:
        await migrate(conn, "elsewhere")
    other = await Store.connect(Settings.load({}, database_url=store.settings.database_url, schema_name="elsewhere"))
    try:
        kept = await keep(SchemaCache(other), ONE)

        assert Kept(True, True) == kept
        assert await SchemaCache(store).get(1, "shop") is None
    finally:
        await other.close()
