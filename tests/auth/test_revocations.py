"""Doors hear when somebody they let in has to leave: at once by signal, and soon without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.until import until
from trunkline.auth import Customers, Principal, Revocations, Tokens
from trunkline.settings import Settings
from trunkline.store import Signals, Store


@pytest.fixture
async def revocations(store: Store) -> AsyncIterator[Revocations]:
    """Looks ten times a second, and hears nothing."""
    made = Revocations(store, check_every_s=0.1)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def signals(store: Store) -> AsyncIterator[Signals]:
    """A LISTEN connection."""
    made = Signals(store.settings)
    task = asyncio.create_task(made.run())
    await made.connected.wait()
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_two_processes_hear_of_a_revocation_by_signal(store, tenant, tokens: Tokens, customers: Customers, signals):
    """Neither would look by itself for an hour."""
    token_id, plain = await tokens.create(tenant)
    _, another = await tokens.create(tenant)
    told: list[str] = []
    for door in "ab":
        made = Revocations(store, check_every_s=3600)
        signals.subscribe(made.heard)
        made.watch(await customers.principal(plain), lambda door=door: told.append(door))
        made.watch(await customers.principal(another), lambda: told.append("another"))
    await tokens.deactivate(tenant, token_id)
    await until(lambda: len(told) == 2, "both doors are told")

    assert ["a", "b"] == told


async def test_without_any_signal_it_is_found_by_looking(tenant, tokens: Tokens, customers: Customers, revocations: Revocations):
    """Deactivated, or run out."""
    token_id, plain = await tokens.create(tenant)
    over = asyncio.Event()
    revocations.watch(await customers.principal(plain), over.set)
    await tokens.deactivate(tenant, token_id)

    await asyncio.wait_for(over.wait(), 30)


async def test_a_token_that_runs_out_is_over(tenant, tokens: Tokens, customers: Customers, revocations: Revocations, clock):
    """By the database's clock."""
    _, plain = await tokens.create(tenant, expires_at=datetime.now(UTC) + timedelta(hours=1))
    over = asyncio.Event()
    revocations.watch(await customers.principal(plain), over.set)
    await clock.forward(3601)

    await asyncio.wait_for(over.wait(), 30)


async def test_a_jwt_is_over_when_its_time_is(tenant, revocations: Revocations):
    """No database knows of it."""
    over = asyncio.Event()
    revocations.watch(Principal(tenant, "customer-001", frozenset(("watch",)), user_id="u", expires_at=datetime.now(UTC)), over.set)

    await asyncio.wait_for(over.wait(), 30)


async def test_each_door_is_told_once_and_not_after_it_closed(tenant, tokens: Tokens, customers: Customers, revocations: Revocations):
    """One door's trouble is not the next one's."""
    token_id, plain = await tokens.create(tenant)
    principal = await customers.principal(plain)
    told: list[str] = []

    def fails() -> None:
        told.append("fails")
        raise RuntimeError("broken door")

    revocations.watch(principal, fails)
    revocations.watch(principal, lambda: told.append("open"))
    revocations.watch(principal, lambda: told.append("closed"))()
    await tokens.deactivate(tenant, token_id)
    revocations.heard("revoked", [str(tenant), str(token_id)])
    revocations.heard("revoked", [str(tenant), str(token_id)])
    await revocations.look()

    assert ["fails", "open"] == sorted(told)


async def test_nothing_is_asked_when_nobody_is_open(revocations: Revocations, store, monkeypatch):
    """Idle is quiet."""
    monkeypatch.setattr("trunkline.store.tokens.over", None)  # a question would fail

    await revocations.look()


async def test_a_database_that_is_away_ends_nobody(tenant, tokens: Tokens, customers: Customers, trunkline_url):
    """The next look does."""
    _, plain = await tokens.create(tenant)
    away = await Store.connect(Settings.load({}, database_url=trunkline_url, command_timeout_s=0.2))
    await away.close()
    told: list[str] = []
    made = Revocations(away, check_every_s=0.05)
    made.watch(await customers.principal(plain), lambda: told.append("over"))
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.5)
    assert not task.done()
    task.cancel()

    assert [] == told
