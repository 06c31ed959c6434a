"""Customer tokens: kept as hashes, refused in the same words whatever is wrong, over when somebody says so."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.until import until
from trunkline.auth import Customers, Tokens, token_hash
from trunkline.auth.customers import MOST, REMEMBER_S
from trunkline.auth.mode import TEST_TOKEN, mode_of, prepare
from trunkline.errors import Forbidden, InvalidInput, InvalidSetting, NotFound, Unauthenticated
from trunkline.settings import Settings
from trunkline.store import tokens as kept
from trunkline.store.tokens import CREATE


async def test_a_token_is_a_prefix_and_256_random_bits_and_only_its_hash_is_kept(store, tenant, tokens: Tokens):
    """Nothing in the database leads back to it."""
    token_id, plain = await tokens.create(tenant, description="billing", scopes=["work", "send"])
    row = await store.fetchrow("select * from trunkline.token")

    assert plain.startswith("tl_") and len(plain) == 3 + 43
    assert (token_id, hashlib.sha256(plain.encode()).digest(), ["send", "work"]) == (row["token_id"], row["hash"], row["scopes"])
    assert plain not in str(dict(row))


async def test_a_token_stands_for_its_tenant_and_scopes(tenant, tokens: Tokens, customers: Customers):
    """And for nothing else."""
    token_id, plain = await tokens.create(tenant, scopes=["work"])
    principal = await customers.principal(plain)

    assert (tenant, "customer-001", token_id, None, {"work"}) == (
        principal.tenant_id,
        principal.tenant,
        principal.token_id,
        principal.user_id,
        set(principal.scopes),
    )
    with pytest.raises(Forbidden, match="scope 'send'"):
        principal.require("send")
    principal.require("work")


async def test_an_admin_has_every_scope(tenant, tokens: Tokens, customers: Customers):
    """Of its own tenant."""
    _, plain = await tokens.create(tenant, scopes=["admin"])
    principal = await customers.principal(plain)

    assert [True] * 4 == [principal.may(scope) for scope in ("send", "work", "watch", "admin")]


async def test_every_bad_token_reads_the_same(tenant, tokens: Tokens, customers: Customers, clock):
    """So nobody learns which of them exist."""
    inactive_id, inactive = await tokens.create(tenant)
    _, expired = await tokens.create(tenant, expires_at=datetime.now(UTC) + timedelta(hours=1))
    _, good = await tokens.create(tenant)
    await tokens.deactivate(tenant, inactive_id)
    await clock.forward(3601)

    for bad in ("tl_" + "x" * 43, inactive, expired, 5, None, "", "t" * 100_000, "tl_\x00\ud800", (token_hash(good) or b"").hex()):
        with pytest.raises(Unauthenticated, match=r"^Invalid authentication token$"):
            await customers.principal(bad)
    assert tenant == (await customers.principal(good)).tenant_id


async def test_a_known_token_is_not_asked_about_each_time(store, tenant, tokens: Tokens, monkeypatch):
    """For a moment; a thousand connections at once are one question; an unknown one is remembered too."""
    _, plain = await tokens.create(tenant)
    asked: list[bytes] = []
    by_hash = kept.by_hash

    async def counted(store, hash):
        asked.append(hash)
        return await by_hash(store, hash)

    monkeypatch.setattr(kept, "by_hash", counted)
    now = 0.0
    customers = Customers(store, clock=lambda: now)
    await asyncio.gather(*(customers.principal(plain) for _ in range(100)))
    await asyncio.gather(*(customers.principal("tl_unknown") for _ in range(100)), return_exceptions=True)
    assert 2 == len(asked)
    now = REMEMBER_S + 0.1
    await customers.principal(plain)

    assert 3 == len(asked)


async def test_a_revocation_that_is_heard_counts_at_once(tenant, tokens: Tokens, customers: Customers):
    """Also when the question was under way while it came."""
    token_id, plain = await tokens.create(tenant)
    await customers.principal(plain)
    await tokens.deactivate(tenant, token_id)
    still = await customers.principal(plain)  # nobody has told it yet
    customers.heard("revoked", [str(tenant), str(token_id)])

    assert token_id == still.token_id
    with pytest.raises(Unauthenticated):
        await customers.principal(plain)


async def test_the_memory_is_bounded(store, tenant, tokens: Tokens):
    """Whatever is tried."""
    customers = Customers(store)
    for n in range(MOST + 10):
        customers._known[n.to_bytes(32)] = (0.0, None)
    with pytest.raises(Unauthenticated):
        await customers.principal("tl_another_guess")

    assert MOST == len(customers._known)


async def test_use_is_noted_lazily(store, tenant, tokens: Tokens, customers: Customers, clock):
    """Once a minute at the most, and never in the way."""
    token_id, plain = await tokens.create(tenant)

    async def noted():
        await customers.principal(plain)
        await customers.note_used()
        return (await tokens.get(tenant, token_id)).last_used_at

    first, again = await noted(), await noted()
    await clock.forward(61)

    assert first is not None and first == again < await noted()


async def test_an_import_keeps_a_token_that_customers_already_use(tenant, other, tokens: Tokens, customers: Customers):
    """Twice is once; another tenant cannot take it over; one that was ended does not come back."""
    first = await tokens.import_token(tenant, "their-old-token")
    assert first == await tokens.import_token(tenant, "their-old-token")
    assert tenant == (await customers.principal("their-old-token")).tenant_id
    with pytest.raises(InvalidInput, match="taken"):
        await tokens.import_token(other, "their-old-token")
    await tokens.deactivate(tenant, first)
    with pytest.raises(InvalidInput, match="taken"):
        await tokens.import_token(tenant, "their-old-token")


async def test_what_can_be_no_token_is_refused_without_quoting_it(tenant, tokens: Tokens):
    """A secret with a typing error is nearly a secret."""
    for plain in ("short", "with a blank", "x" * 501, "tab\tbed-token", "münzen-token"):
        with pytest.raises(InvalidInput) as refused:
            await tokens.import_token(tenant, plain)

        assert plain not in str(refused.value)


async def test_unknown_scopes_are_refused(store, tenant, tokens: Tokens):
    """Here, and in SQL for those who speak it."""
    for scopes in ([], ["root"], ["send", "root"]):
        with pytest.raises(InvalidInput, match="send, work, watch, admin"):
            await tokens.create(tenant, scopes=scopes)
        with pytest.raises(InvalidInput, match="send, work, watch, admin"):
            await store.fetch(CREATE, tenant, "0197aaaa-0000-7000-8000-000000000000", b"x" * 32, "", scopes, None)


async def test_a_tenant_sees_and_ends_its_own_tokens_only(tenant, other, tokens: Tokens):
    """ "Not yours" and "there is none" read the same."""
    mine, _ = await tokens.create(tenant, description="mine")
    await tokens.create(other, description="theirs")

    assert ["mine"] == [view.description for view in await tokens.of(tenant)]
    for call in (tokens.get, tokens.deactivate):
        with pytest.raises(NotFound, match="no such token"):
            await call(other, mine)
    assert [True, False] == [await tokens.deactivate(tenant, mine) for _ in range(2)]


async def test_the_test_token_exists_in_development_and_stops_production(store, tenant, tokens: Tokens, customers: Customers):
    """Everybody knows it."""
    await prepare(store, "production")
    await prepare(store, "development")
    await prepare(store, "development")
    found = await customers.principal(TEST_TOKEN)
    assert (tenant, False) == (found.tenant_id, found.is_admin)
    with pytest.raises(InvalidSetting, match="trunkline tokens deactivate"):
        await prepare(store, "production")
    await tokens.deactivate(tenant, found.token_id)
    await prepare(store, "production")
    await prepare(store, "development")  # ended on purpose: it stays so


@pytest.mark.parametrize(
    ("how", "is_embedded", "mode"),
    [
        ({}, True, "development"),
        ({}, False, "production"),
        ({"host": "0.0.0.0"}, True, "production"),
        ({"host": "localhost"}, True, "development"),
        ({"host": "::1"}, True, "development"),
        ({"env": "production"}, True, "production"),
        ({"env": "development", "host": "0.0.0.0"}, False, "development"),
    ],
)
def test_development_is_asked_for_or_alone_on_this_host(how, is_embedded, mode):
    """Whoever is reached from elsewhere is in production unless told otherwise."""
    assert mode == mode_of(Settings.load({}, **how), is_embedded=is_embedded)


async def test_the_lookup_of_a_token_walks_its_index(store, tenant, tokens: Tokens):
    """Whatever the statistics say."""
    _, plain = await tokens.create(tenant)
    plan = await store.fetch("explain select * from trunkline.token as t where t.hash = $1", token_hash(plain))
    await until(lambda: plan, "a plan")

    assert "token_hash" in "\n".join(row[0] for row in plan)
