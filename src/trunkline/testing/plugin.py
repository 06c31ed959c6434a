"""pytest fixtures: `trunkline_url` is a fresh, migrated database for one test; `trunkline_app` an open application on it.

The server is an embedded PostgreSQL shared by all processes of one test run, or the one in TRUNKLINE_TEST_DATABASE_URL (its
user must be allowed to create databases). TRUNKLINE_TEST_DIR says where an embedded one keeps its files: in memory (`/dev/shm`)
a fresh database takes half the time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest


@pytest.fixture(scope="session")
def trunkline_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server on which databases may be created."""
    if given := os.environ.get("TRUNKLINE_TEST_DATABASE_URL"):
        yield given
        return
    from trunkline.embedded import EmbeddedServer, erase
    from trunkline.errors import EmbeddedFailed

    base = tmp_path_factory.getbasetemp()
    folder = _folder(base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base)
    with EmbeddedServer.start(folder, durable=False, bin_dir=os.environ.get("TRUNKLINE_PG_BIN_DIR")) as server:
        yield server.url
    with suppress(EmbeddedFailed):
        erase(folder)  # refused while another process of this run still owns it; the last one succeeds


def _folder(run: Path) -> Path:
    """Of this test run, for all its processes; folders of runs that were killed are taken away."""
    if not (asked := os.environ.get("TRUNKLINE_TEST_DIR")):
        return run / "trunkline-postgres"
    from trunkline.embedded import erase
    from trunkline.errors import EmbeddedFailed

    folder = Path(asked) / f"trunkline-test-{os.getuid()}-{sha256(str(run).encode()).hexdigest()[:12]}"
    for old in Path(asked).glob(f"trunkline-test-{os.getuid()}-*"):
        if old != folder:
            with suppress(EmbeddedFailed, OSError):
                erase(old)  # refused where somebody still uses it
    return folder


@pytest.fixture(scope="session")
def trunkline_template(trunkline_server_url: str) -> str:
    """Name of a migrated database that tests are cloned from."""
    from trunkline.store.admin import migrated_template

    return asyncio.run(migrated_template(trunkline_server_url))


@pytest.fixture
def trunkline_url(trunkline_server_url: str, trunkline_template: str) -> Iterator[str]:
    """URL of a fresh, migrated database; dropped after the test."""
    from trunkline.store.admin import create_database, drop_database

    name = f"trunkline_test_{uuid4().hex[:16]}"
    yield asyncio.run(create_database(trunkline_server_url, name, template=trunkline_template))
    asyncio.run(drop_database(trunkline_server_url, name))


@pytest.fixture
async def trunkline_app(trunkline_url: str) -> AsyncIterator[object]:
    """An open `Trunkline` on a fresh database; a worker is not started."""
    from trunkline.app import Trunkline

    async with Trunkline(trunkline_url) as app:
        yield app
