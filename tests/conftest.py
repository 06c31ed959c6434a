"""What every test may ask for. Databases come from the product's own pytest plugin, so that it is tested too."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.queue import Queue
from trunkline import Trunkline
from trunkline.settings import Settings
from trunkline.store import Store
from trunkline.testing import DatabaseClock


@pytest.fixture
async def store(trunkline_url: str) -> AsyncIterator[Store]:
    """A store on a fresh database."""
    store = await Store.connect(Settings.load({}, database_url=trunkline_url))
    yield store
    await store.close()


@pytest.fixture
def clock(store: Store) -> DatabaseClock:
    """The movable clock of the same database."""
    return DatabaseClock(store)


@pytest.fixture
async def queue(store: Store) -> Queue:
    """The SQL functions in the words of a test."""
    return await Queue.open(store)


@pytest.fixture
async def app(trunkline_url: str) -> AsyncIterator[Trunkline]:
    """An application on a fresh database, its worker not started."""
    async with Trunkline(settings=Settings.load({}, database_url=trunkline_url, shutdown_timeout_s=5)) as app:
        yield app


@pytest.fixture
def app_offline() -> Trunkline:
    """An application that is only declared on, never opened."""
    return Trunkline("postgresql://nobody@localhost/nothing")
