"""`schema-rebuild` in a whole application: enqueued, claimed, run, ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

from tests.jobtypes.support import PASSWORD, Database
from trunkline import Trunkline
from trunkline.connections import SchemaCache
from trunkline.errors import JobCancelled, JobFailed
from trunkline.jobtypes import BUILT_IN
from trunkline.jobtypes.schema import postgresql

KIND = "schema-rebuild"


@pytest.fixture
async def worker(app: Trunkline) -> Trunkline:
    """The application, running the built-in job types."""
    for register in BUILT_IN:
        register(app)
    await app.start_worker()
    return app


def everything_written(url: str) -> str:
    """Every row of every table of ours, as text."""
    with psycopg.connect(url) as conn:
        tables = conn.execute("select relname from pg_class where relnamespace = 'trunkline'::regnamespace and relkind = 'r'")
        return "\n".join(str(row) for (name,) in tables.fetchall() for row in conn.execute(f"select t::text from trunkline.{name} as t"))


async def test_a_user_rebuilds_the_schema_of_the_shop(worker: Trunkline, shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", shop_url)

    job_id = await worker.enqueue(KIND, {"connectionId": "shop", "userId": "u1"}, user_id="u1")
    result = await worker.wait(job_id, timeout=30)

    job = await worker.get(job_id)
    stored = await SchemaCache(worker.store).get(job.tenant_id, "shop")
    assert (True, True, 43) == (result["success"], result["changed"], result["totalTables"])
    assert {"percentage": 100, "message": "Schema rebuild completed", "current": 4, "total": 4} == job.progress
    assert stored is not None
    assert result["fingerprint"] == stored.fingerprint


async def test_a_second_rebuild_finds_nothing_new_and_a_forced_one_stores_all_the_same(
    worker: Trunkline, shop_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", shop_url)

    results = []
    for force in (False, False, True):
        job_id = await worker.enqueue(KIND, {"connectionId": "shop", "force": force})
        results.append(await worker.wait(job_id, timeout=30))

    assert [(True, True), (False, False), (False, True)] == [(each["changed"], each["stored"]) for each in results]


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"connectionId": "nowhere"}, "TRUNKLINE_CONNECTION_NOWHERE is not set"),
        ({}, "connectionId"),
        ({"connectionId": 7}, "connectionId"),
    ],
)
async def test_what_no_retry_can_mend_fails_at_the_first_attempt(worker: Trunkline, payload: dict[str, object], said: str) -> None:
    job_id = await worker.enqueue(KIND, payload)

    with pytest.raises(JobFailed, match=f"failed after 1 attempt.*{said}"):
        await worker.wait(job_id, timeout=30)


async def test_a_wrong_password_is_written_nowhere(
    worker: Trunkline, database: Database, trunkline_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the outcome, not in an attempt with its traceback, not in a log line."""
    monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", database.url.replace(PASSWORD, "Qx9-wrong"))

    with pytest.raises(JobFailed, match="the user or the password is wrong"):
        await worker.wait(await worker.enqueue(KIND, {"connectionId": "shop"}), timeout=30)

    written = everything_written(trunkline_url)
    assert "the user or the password is wrong" in written
    assert "Qx9-wrong" not in written


async def test_an_unreachable_database_is_tried_again_in_a_minute(
    worker: Trunkline, trunkline_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", f"postgresql://clerk:{PASSWORD}@no-such-host.invalid/shop")
    begun = threading.Event()
    ordinary: Callable[..., object] = postgresql.engine

    def beginning(*args: object) -> object:
        begun.set()
        return ordinary(*args)

    monkeypatch.setattr(postgresql, "engine", beginning)

    job_id = await worker.enqueue(KIND, {"connectionId": "shop"})
    await asyncio.to_thread(begun.wait, 30)
    await worker.stop_worker(30)  # finishes the attempt and writes its report

    job = await worker.get(job_id)
    with psycopg.connect(trunkline_url) as conn:
        failed_at = conn.execute("select ended_at from trunkline.attempt").fetchone()
        policy = conn.execute(
            "select retry_limit, retry_delay_s, retry_backoff, timeout_s from trunkline.kind where name = %s", (KIND,)
        ).fetchone()
    assert "retrying" == job.state
    assert failed_at is not None
    assert job.run_at is not None
    assert timedelta(seconds=59) < job.run_at - failed_at[0] < timedelta(seconds=61)
    assert (3, 60, True, 86400) == policy
    assert PASSWORD not in everything_written(trunkline_url)


async def test_a_cancelled_rebuild_ends_while_the_database_still_thinks(
    worker: Trunkline, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("create table t (id int)")
    monkeypatch.setenv("TRUNKLINE_CONNECTION_SHOP", database.url)
    asked, answer = threading.Event(), threading.Event()
    ordinary: Callable[..., object] = postgresql.row_estimates

    def slow(*args: object) -> object:
        asked.set()
        answer.wait(30)
        return ordinary(*args)

    monkeypatch.setattr(postgresql, "row_estimates", slow)
    job_id = await worker.enqueue(KIND, {"connectionId": "shop"})
    await asyncio.to_thread(asked.wait, 30)

    cancelled = await worker.cancel(job_id)
    with pytest.raises(JobCancelled):
        await worker.wait(job_id, timeout=30)
    answer.set()

    assert cancelled
    assert await SchemaCache(worker.store).get((await worker.get(job_id)).tenant_id, "shop") is None
