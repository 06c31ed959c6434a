"""The demonstration database can be prepared anywhere, any number of times."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest

from trunkline.connections.demo import prepare_demo_database
from trunkline.errors import InvalidInput

if TYPE_CHECKING:
    from trunkline.embedded import EmbeddedServer


@pytest.fixture
def name(server: EmbeddedServer) -> Iterator[str]:
    unused = f"shop_{uuid.uuid4().hex[:8]}"
    yield unused
    with psycopg.connect(server.url, autocommit=True) as conn:
        conn.execute(f"drop database if exists {unused} with (force)")


async def test_it_may_be_prepared_by_several_at_once_and_again(server: EmbeddedServer, name: str) -> None:
    urls = await asyncio.gather(*(prepare_demo_database(server.url, name) for _ in range(4)))
    urls.append(await prepare_demo_database(server.url, name))

    with psycopg.connect(urls[0]) as conn:
        customers = conn.execute("select count(*) from sales.customer").fetchone()
    assert 1 == len(set(urls))
    assert (800,) == customers


async def test_its_url_is_the_servers_with_another_database(server: EmbeddedServer, name: str) -> None:
    assert server.url.replace("/postgres?", f"/{name}?") == await prepare_demo_database(server.url, name)


def test_every_table_has_rows_that_the_planner_knows_of(shop_url: str) -> None:
    with psycopg.connect(shop_url) as conn:
        empty = conn.execute(
            "select relname from pg_class join pg_namespace n on n.oid = relnamespace"
            " where relkind in ('r', 'p', 'm') and nspname !~ '^pg_|^information_schema$' and reltuples < 1"
        ).fetchall()

    assert [] == empty


@pytest.mark.parametrize("name", ["", "Shop", "a b", 'x"; drop database postgres; --', "x" * 64])
async def test_a_name_that_is_no_identifier_is_refused(server: EmbeddedServer, name: str) -> None:
    with pytest.raises(InvalidInput, match="demo database name"):
        await prepare_demo_database(server.url, name)
