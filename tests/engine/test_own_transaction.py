"""Jobs in the caller's own transaction: they exist if and only if it commits, on every driver that people use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from trunkline import Job, Trunkline
from trunkline.errors import InvalidInput, InvalidPayload, LeaseLost, NotFound

PAYLOAD = {"text": "quotes \" ' \\ { } , ü", "none": None}


def dialect(url: str, driver: str) -> str:
    return url.replace("postgresql://", f"postgresql+{driver}://")


@asynccontextmanager
async def on_asyncpg(url: str, commit: bool) -> AsyncIterator[Any]:
    conn = await asyncpg.connect(url)
    transaction = conn.transaction()
    await transaction.start()
    yield conn
    await (transaction.commit() if commit else transaction.rollback())
    await conn.close()


@asynccontextmanager
async def on_psycopg(url: str, commit: bool) -> AsyncIterator[Any]:
    with psycopg.connect(url) as conn:
        yield conn
        conn.commit() if commit else conn.rollback()


@asynccontextmanager
async def on_async_psycopg(url: str, commit: bool) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(url) as conn:
        yield conn
        await (conn.commit() if commit else conn.rollback())


@asynccontextmanager
async def on_sqlalchemy(url: str, commit: bool) -> AsyncIterator[Any]:
    engine = sqlalchemy.create_engine(dialect(url, "psycopg"))
    with engine.connect() as conn:
        yield conn
        conn.commit() if commit else conn.rollback()
    engine.dispose()


@asynccontextmanager
async def on_sqlalchemy_session(url: str, commit: bool) -> AsyncIterator[Any]:
    engine = sqlalchemy.create_engine(dialect(url, "psycopg"))
    with Session(engine) as session:
        yield session
        session.commit() if commit else session.rollback()
    engine.dispose()


@asynccontextmanager
async def on_async_sqlalchemy(url: str, commit: bool, driver: str = "asyncpg") -> AsyncIterator[Any]:
    engine = create_async_engine(dialect(url, driver))
    async with engine.connect() as conn:
        yield conn
        await (conn.commit() if commit else conn.rollback())
    await engine.dispose()


@asynccontextmanager
async def on_async_sqlalchemy_psycopg(url: str, commit: bool) -> AsyncIterator[Any]:
    async with on_async_sqlalchemy(url, commit, "psycopg") as conn:
        yield conn


DRIVERS = [on_asyncpg, on_psycopg, on_async_psycopg, on_sqlalchemy, on_sqlalchemy_session, on_async_sqlalchemy, on_async_sqlalchemy_psycopg]
every_driver = pytest.mark.parametrize("opened", DRIVERS, ids=lambda opened: opened.__name__.removeprefix("on_"))
Opened = Callable[[str, bool], Any]


@every_driver
async def test_a_job_exists_once_its_transaction_commits(app: Trunkline, trunkline_url: str, opened: Opened):
    """Payload, keys, times and options arrive as they were given, whatever the driver does to values."""
    run_at = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
    async with opened(trunkline_url, True) as conn:
        job_id = await app.enqueue("mail", PAYLOAD, connection=conn, priority=7, run_at=run_at, user_id="u-1", unique_key="a,b", timeout=5)
    job = await app.get(job_id)

    assert (PAYLOAD, 7, run_at, "u-1", "scheduled") == (job.payload, job.priority, job.run_at, job.user_id, job.state)
    assert {"timeout": 5, "unique_key": "a,b"} == job.options


@every_driver
async def test_a_job_never_was_when_its_transaction_rolls_back(app: Trunkline, trunkline_url: str, opened: Opened):
    """Both or neither."""
    async with opened(trunkline_url, False) as conn:
        job_id = await app.enqueue("mail", {}, connection=conn)

    with pytest.raises(NotFound):
        await app.get(job_id)


@every_driver
async def test_a_job_completed_in_a_transaction_keeps_its_result(app: Trunkline, trunkline_url: str, opened: Opened):
    """The side effect and the outcome commit together."""

    @app.job("pay")
    async def pay(job: Job) -> None:
        async with opened(trunkline_url, True) as conn:
            await job.complete({"paid": True}, connection=conn)

    await app.start_worker()
    job_id = await app.enqueue("pay")

    assert {"paid": True} == await app.wait(job_id, timeout=20)
    assert 1 == (await app.get(job_id)).attempt


@every_driver
async def test_a_completion_that_rolled_back_is_a_failure_and_is_retried(app: Trunkline, trunkline_url: str, opened: Opened):
    """A handler that returns although its transaction was rolled back has not done its work."""

    @app.job("pay", retry_limit=1, retry_delay=0)
    async def pay(job: Job) -> None:
        async with opened(trunkline_url, job.attempt > 1) as conn:
            await job.complete({"attempt": job.attempt}, connection=conn)

    await app.start_worker()
    job_id = await app.enqueue("pay")

    assert {"attempt": 2} == await app.wait(job_id, timeout=20)


async def test_a_completion_of_a_lost_attempt_raises(app: Trunkline, trunkline_url: str):
    """The fence holds inside the user's transaction too."""
    raised: list[type] = []

    @app.job("pay", retry_limit=0)
    async def pay(job: Job) -> None:
        job.attempt += 1  # an attempt that was never leased
        async with on_asyncpg(trunkline_url, False) as conn:
            try:
                await job.complete(connection=conn)
            except LeaseLost as error:
                raised.append(type(error))
        job.attempt -= 1

    await app.start_worker()
    await app.wait(await app.enqueue("pay"), timeout=20)

    assert [LeaseLost] == raised


@every_driver
async def test_a_refusal_by_the_database_is_ours(app: Trunkline, trunkline_url: str, opened: Opened):
    """Whatever the driver calls it, the caller catches one class."""
    async with opened(trunkline_url, False) as conn:
        with pytest.raises(InvalidInput):
            await app.enqueue("mail", {}, connection=conn, id="0190a5a0-0000-7000-8000-000000000000")


async def test_something_that_is_no_connection_is_named(app: Trunkline):
    """The message says what came and what is accepted."""
    with pytest.raises(InvalidInput, match=r"builtins\.str: need an asyncpg, psycopg 3 or SQLAlchemy"):
        await app.enqueue("mail", {}, connection="postgresql://")


async def test_a_bad_payload_is_refused_before_anything_is_written(app: Trunkline, trunkline_url: str):
    """The caller's transaction stays usable."""
    async with on_asyncpg(trunkline_url, True) as conn:
        with pytest.raises(InvalidPayload):
            await app.enqueue("mail", {"x": float("nan")}, connection=conn)

        assert 1 == await conn.fetchval("select 1")
