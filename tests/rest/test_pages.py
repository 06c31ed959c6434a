"""How pages of jobs reach their rows, however many lie behind them. Every assertion is a shape or a count of blocks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.sql.test_plans import fill
from tests.support.filled import filled
from tests.support.plans import _plan
from trunkline.store import pages
from trunkline.store.pages import JOB, LOOKS, Filter, Place
from trunkline.store.reader import BEGIN, WALL

NOW = datetime.now(UTC)
PAGE = 20
QUEUED = ("queued", "scheduled", "retrying", "no_handler", "waiting", "limited")


@pytest.fixture(scope="module", params=["analyzed", "analyzed empty"])
def full_url(request, trunkline_server_url: str, trunkline_template: str) -> Iterator[str]:
    """20,000 jobs in each place, half of all with a user; statistics that are right, or of before."""
    with filled(trunkline_server_url, trunkline_template, lambda url: fill_users(url, request.param)) as url:
        yield url


async def fill_users(url: str, statistics: str) -> None:
    """As for the plans of the hot statements, and users."""
    await fill(url, statistics)
    conn = await asyncpg.connect(url)
    await conn.execute(
        "update trunkline.job set user_id = 'u' || (abs(hashtext(id::text)) % 10) where id::text < 'z' and hashtext(id::text) % 2 = 0"
    )
    if statistics == "analyzed":
        await conn.execute("vacuum analyze trunkline.job, trunkline.outcome")
    await conn.close()


@pytest.fixture
async def full(full_url: str) -> AsyncIterator[tuple[asyncpg.Connection, int]]:
    """A connection behind the second wall, as pages are read, and the tenant."""
    conn = await asyncpg.connect(full_url)
    tenant_id = await conn.fetchval("select tenant_id from trunkline.queue where name = 'work'")
    await conn.execute(BEGIN.format(seconds=60, tenant_id=tenant_id, wall=WALL))
    yield conn, tenant_id
    await conn.close()


async def cost(conn: asyncpg.Connection, text: str, args: tuple, *, generic: bool) -> tuple[set[str], int]:
    """(tables read from end to end, blocks touched)."""
    await conn.execute(f"set local plan_cache_mode = {'force_generic_plan' if generic else 'force_custom_plan'}")
    await conn.fetch(text, *args)  # catalogs are read
    plan = _plan(json.loads(await conn.fetchval(f"explain (analyze, buffers, timing off, format json) {text}", *args))[0]["Plan"])
    large = {table for table in plan.sequential if not table.startswith(("queue", "kind", "tenant"))}
    return large, plan.blocks


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node, and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


CASES = {
    "all": (Filter(), 1200),
    "of a user": (Filter(user_id="u2"), 1200),
    "queued": (Filter(states=QUEUED), 1200),
    "active": (Filter(states=("active",)), 1200),
    "completed": (Filter(states=("completed",)), 1200),
    "failed": (Filter(states=("failed",)), 1200),
    "failed of a user": (Filter(states=("failed",), user_id="u2"), 4000),
    "cancelled of a user who has none": (Filter(states=("cancelled",), user_id="u2"), LOOKS * 3),
    "failed of a user, with a text": (Filter(states=("failed",), user_id="u2", error="no"), LOOKS * 3),
    "of a time": (Filter(created_after=NOW - timedelta(days=1), created_before=NOW + timedelta(days=1)), 1200),
    "of a kind": (Filter(kind="work"), 1200),
    "failed, of a kind": (Filter(states=("failed",), kind="work"), 1500),
    "of a kind that there is not": (Filter(kind="none"), LOOKS * 6),
    "failed, with a text that none has": (Filter(states=("failed",), error="none"), LOOKS * 6),
}


@pytest.mark.parametrize("wanted, blocks", CASES.values(), ids=CASES)
@pytest.mark.parametrize("generic", [False, True], ids=["custom", "generic"])
async def test_a_page_walks_an_index_and_stops(full, wanted, blocks, generic):
    """Eighty thousand jobs, of which it shows twenty: at the front, and behind a cursor in the middle."""
    conn, tenant_id = full
    order = "l.at desc, l.job_id desc" if wanted.states == ("failed",) and wanted.user_id is None else "l.job_id desc"
    middle = await conn.fetchrow(
        "select job_id, finished_at from trunkline.outcome where state = 2 order by finished_at desc, job_id desc offset 3000 limit 1"
    )
    for after in (None, Place(middle["job_id"], middle["finished_at"])):
        text, args = pages._page(tenant_id, wanted, after, order, PAGE, 0)
        sequential, touched = await cost(conn, text, args, generic=generic)

        assert set() == sequential
        assert touched < blocks, (after, touched)


@pytest.mark.parametrize("wanted", [case[0] for case in CASES.values()], ids=CASES)
async def test_a_total_stops_counting(full, wanted):
    """When it has looked at a thousand rows."""
    conn, tenant_id = full
    text, args = pages._count(tenant_id, wanted)
    sequential, touched = await cost(conn, text, args, generic=True)

    assert set() == sequential and touched < pages.COUNTED * 8
    assert (await conn.fetchrow(text, *args))[1] <= pages.COUNTED


async def test_which_of_a_user_s_jobs_failed_is_asked_of_an_index_alone(full):
    """The rows of `outcome` lie all over the history: those of jobs that completed are not read to find the others."""
    conn, tenant_id = full
    for state in ("failed", "cancelled"):
        text, args = pages._count(tenant_id, Filter(states=(state,), user_id="u2"))
        plan = json.loads(await conn.fetchval(f"explain (format json) {text}", *args))[0]["Plan"]
        asked = {node["Index Name"] for node in nodes(plan) if node.get("Relation Name", "").startswith("outcome")}

        assert asked and all("state" in name for name in asked), asked


async def test_a_text_in_errors_is_looked_for_in_the_rows_that_are_walked(full):
    """And not looked up a second time by their keys."""
    conn, tenant_id = full
    text, args = pages._page(tenant_id, Filter(states=("failed",), error="none"), None, "l.at desc, l.job_id desc", PAGE, 0)
    plan = json.loads(await conn.fetchval(f"explain (analyze, timing off, format json) {text}", *args))[0]["Plan"]

    read = [node for node in nodes(plan) if node.get("Relation Name", "").startswith("outcome") and node["Actual Loops"]]
    assert read and all(1 == node["Actual Loops"] for node in read)


async def test_one_job_is_found_by_its_key(full):
    """In every table that it may stand in."""
    conn, tenant_id = full
    job_id = await conn.fetchval("select job_id from trunkline.outcome order by job_id offset 999 limit 1")
    sequential, touched = await cost(conn, JOB, (tenant_id, job_id), generic=True)

    assert set() == sequential and touched < 60
