"""The world of a property test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.properties.world import World


@pytest.fixture
def world(trunkline_url: str) -> Iterator[World]:
    """Three processes' connections to a database of its own, on an event loop kept for the whole test."""
    world = World(trunkline_url)
    yield world
    world.close()
