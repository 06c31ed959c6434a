"""A server and a tiny run of the bench, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from trunkline.measure.run import Run, Sizes
from trunkline.measure.server import Server, opened

TINY = Sizes(jobs=200, seconds=1.0, pairs=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(trunkline_server_url: str) -> AsyncIterator[Server]:
    """A server of the bench; tests that use it share one event loop."""
    async with opened(trunkline_server_url) as server:
        yield server


@pytest.fixture(scope="module")
def tiny_run(server: Server) -> Run:
    """A run of 200 jobs, one second and one pair."""
    return Run(server, TINY)
