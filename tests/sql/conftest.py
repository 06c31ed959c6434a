"""Further connections for tests that watch locks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.sessions import Sessions
from trunkline.store import Store


@pytest.fixture
async def sessions(trunkline_url: str, store: Store) -> AsyncIterator[Sessions]:
    """Connections beside the store's pool."""
    opened = Sessions(trunkline_url, store)
    yield opened
    await opened.close()
