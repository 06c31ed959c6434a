"""Connections that users have set up their own way: our statements must not depend on it."""

from __future__ import annotations

import json

import asyncpg
import psycopg
import pytest
from psycopg.rows import class_row, dict_row, namedtuple_row

from trunkline.model import new_job

PAYLOAD = {"text": 'a "quoted" \\ {curly} , %s $1 :p1 äß🐘', "n": [1, None]}


async def test_a_json_codec_of_the_callers_own_does_not_encode_twice(app, queue, trunkline_url):
    """asyncpg's documentation advises one, so many have it."""
    conn = await asyncpg.connect(trunkline_url)
    for name in ("json", "jsonb"):
        await conn.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    async with conn.transaction():
        job_id = await app.enqueue("work", PAYLOAD, user_id="u", timeout=5, connection=conn)
    await conn.close()
    view = await queue.view(job_id)

    assert (PAYLOAD, {"timeout": 5}) == (view.payload, view.options)


class Row:
    """What a user makes of a row."""

    def __init__(self, **columns: object) -> None:
        self.columns = columns


@pytest.mark.parametrize("factory", [dict_row, namedtuple_row, class_row(Row)], ids=["dict", "namedtuple", "class"])
async def test_a_row_factory_of_the_callers_own_does_not_matter(app, queue, trunkline_url, factory):
    """psycopg gives rows in any form its user likes."""
    async with await psycopg.AsyncConnection.connect(trunkline_url, row_factory=factory) as conn:
        job_id = await app.enqueue("work", PAYLOAD, connection=conn)
    with psycopg.connect(trunkline_url, row_factory=factory) as sync_conn:
        other = await app.enqueue("work", PAYLOAD, connection=sync_conn)

    assert [PAYLOAD, PAYLOAD] == [(await queue.view(each)).payload for each in (job_id, other)]


async def test_every_column_arrives_on_a_connection_that_sends_text(app, queue, trunkline_url):
    """Arrays, nulls, times and quotes in one statement."""
    from datetime import UTC, datetime

    at = datetime(2031, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
    jobs = [
        new_job("work", PAYLOAD, user_id='o"br\\ien', run_at=at, unique_key="{a,b}", idempotency_key="NULL", priority=7),
        new_job("work"),
    ]
    with psycopg.connect(trunkline_url) as conn:
        answers = await app.enqueue_many(jobs, connection=conn)
    view, plain = [await queue.view(answer.id) for answer in answers]

    assert (PAYLOAD, 'o"br\\ien', at, 7) == (view.payload, view.user_id, view.run_at, view.priority)
    assert ("NULL", "{a,b}") == (
        await queue.store.fetchval("select key from trunkline.idempotency"),
        await queue.store.fetchval("select key from trunkline.unique_key"),
    )
    assert ({}, None, "queued") == (plain.payload, plain.user_id, plain.state)


async def test_a_search_path_of_the_callers_own_does_not_matter(app, queue, trunkline_url):
    """Everything of ours is spelled with its schema."""
    conn = await asyncpg.connect(trunkline_url, server_settings={"search_path": "pg_temp"})
    await conn.execute("create temp table job (id int)")
    async with conn.transaction():
        job_id = await app.enqueue("work", connection=conn)
    await conn.close()

    assert "queued" == await queue.state(job_id)
