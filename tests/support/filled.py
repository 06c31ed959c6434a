"""A database of its own for many tests, filled once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from trunkline.store.admin import create_database, drop_database


@contextmanager
def filled(server_url: str, template: str, fill: Callable[[str], Coroutine[Any, Any, None]]) -> Iterator[str]:
    """URL of a clone of `template` after `fill(url)`; dropped at the end."""
    name = f"trunkline_test_{uuid4().hex[:16]}"
    url = asyncio.run(create_database(server_url, name, template=template))
    try:
        asyncio.run(fill(url))
        yield url
    finally:
        asyncio.run(drop_database(server_url, name))
