"""What the properties found, each made small: two sessions, a gate that decides who comes first, and nobody may deadlock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.support.sessions import Sessions
from trunkline.model import new_job
from trunkline.store import Store, enqueue, operate, work

KEY = "select 1 from trunkline.unique_key where key = $1 for update"
READY = "select 1 from trunkline.ready where job_id = $1 for update"
LEASE = "select 1 from trunkline.lease where job_id = $1 for update"
QUEUE = "select 1 from trunkline.queue where queue_id = $1 for update"


class Gate:
    """A transaction that holds a lock until it is opened."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn, self._transaction = conn, conn.transaction()

    async def shut(self, statement: str, *arguments: Any) -> None:
        await self._transaction.start()
        await self._conn.fetch(statement, *arguments)

    async def open(self) -> None:
        await self._transaction.rollback()


@pytest.fixture
async def sessions(trunkline_url: str, store: Store) -> AsyncIterator[Sessions]:
    """Connections beside the store's pool."""
    opened = Sessions(trunkline_url, store)
    yield opened
    await opened.close()


async def in_this_order(queue, sessions, gate: Gate, *calls: tuple[Any, ...]) -> list[Any]:
    """Start each call when the one before is blocked, then open the gate; their answers."""
    running = []
    for text, *arguments in calls:
        conn = await sessions.connect()
        running.append(sessions.start(conn.fetch(text, queue.tenant_id, *arguments)))
        await sessions.blocked(conn)
    await gate.open()
    return [await call for call in running]


async def gate(sessions, statement: str, *arguments: Any) -> Gate:
    """A shut one."""
    shut = Gate(await sessions.connect())
    await shut.shut(statement, *arguments)
    return shut


def put(*options: dict[str, Any]) -> tuple[Any, ...]:
    """The call that enqueues one job for each of these options."""
    return enqueue.JOBS, *enqueue.arguments([new_job("work", **each) for each in options])


def ack(*job_ids: UUID) -> tuple[Any, ...]:
    """The call that completes the first attempts of these jobs."""
    return work.ACK_COMPLETED, list(job_ids), [1] * len(job_ids), [None] * len(job_ids)


def cancel(*job_ids: UUID) -> tuple[Any, ...]:
    """The call that cancels these jobs."""
    return operate.CANCEL, list(job_ids), "why"


def reprioritize(priority: int, *job_ids: UUID) -> tuple[Any, ...]:
    """The call that gives these jobs another priority."""
    return operate.REPRIORITIZE, list(job_ids), priority


def replacing(key: str, **options: Any) -> dict[str, Any]:
    """Options of a job that replaces the holder of a key."""
    return {"unique_key": key, "unique_replace": True, **options}


async def test_a_flush_of_acks_frees_its_keys_in_the_order_in_which_an_enqueue_takes_them(queue, sessions):
    """Jobs came in another order than their keys have."""
    first, second = await queue.put(unique_key="z"), await queue.put(unique_key="a")
    await queue.claim(2)
    stale, made = await in_this_order(
        queue, sessions, await gate(sessions, KEY, "z"), ack(first, second), put(replacing("a"), replacing("z"))
    )

    assert ([], [True, True]) == (stale, [row["created"] for row in made])


async def test_cancelling_a_running_job_while_its_end_is_reported_does_not_deadlock(queue, sessions):
    """The report holds the lease and wants the key: a cancel must not hold the key and want the lease."""
    job_id = await queue.put(unique_key="u")
    await queue.claim_one()
    stale, answers = await in_this_order(queue, sessions, await gate(sessions, LEASE, job_id), ack(job_id), cancel(job_id))

    assert ([], ["terminal"]) == (stale, [row["answer"] for row in answers])


async def test_cancelling_and_reprioritising_the_same_waiting_jobs_does_not_deadlock(queue, sessions):
    """Those that wait for their time first, then those in line."""
    in_line, waiting = await queue.put(), await queue.put(delay=60)
    cancelled, moved = await in_this_order(
        queue, sessions, await gate(sessions, READY, in_line), cancel(in_line, waiting), reprioritize(5, in_line, waiting)
    )

    assert (["cancelled"] * 2, [0]) == ([row["answer"] for row in cancelled], [row[0] for row in moved])


async def test_a_first_use_of_a_priority_by_two_at_once_does_not_deadlock(queue, sessions):
    """The queue's row comes before the jobs', for whoever wants both."""
    waiting = await queue.put(unique_key="u", delay=60)
    made, moved = await in_this_order(
        queue, sessions, await gate(sessions, QUEUE, queue.queue_id), put(replacing("u", priority=77)), reprioritize(78, waiting)
    )

    assert ([True], "cancelled") == ([row["created"] for row in made], await queue.state(waiting))
    assert [0] == [row[0] for row in moved]


async def test_a_first_dead_letter_while_its_queue_is_being_made_does_not_deadlock(queue, sessions):
    """Names are made before keys are freed, as an enqueue makes names before it takes keys."""
    job_id = await queue.put(unique_key="u", dead_letter="graveyard")
    await queue.claim_one()
    settle = (work.SETTLE, [job_id], [1], ["fatal"], [None], [None])
    settled, made = await in_this_order(
        queue, sessions, await gate(sessions, KEY, "u"), settle, put({"queue": "graveyard"}, replacing("u"))
    )

    assert (["failed"], [True, True]) == ([row["next"] for row in settled], [row["created"] for row in made])


async def test_replacing_one_key_and_asking_for_another_does_not_deadlock(queue, sessions):
    """All keys of a flush are taken in key order, those it replaces with those it only asks for."""
    held = {key: await queue.put(unique_key=key) for key in ("a", "z")}
    wanted_by_nobody_yet = put({"unique_key": "0"})[1:]
    shut = await gate(sessions, enqueue.JOBS, queue.tenant_id, *wanted_by_nobody_yet)
    first, second = await sessions.connect(), await sessions.connect()
    slow = sessions.start(first.fetch(enqueue.JOBS, queue.tenant_id, *put({"unique_key": "0"}, replacing("a"), {"unique_key": "z"})[1:]))
    await sessions.blocked(first)
    quick = await asyncio.wait_for(second.fetch(enqueue.JOBS, queue.tenant_id, *put({"unique_key": "a"}, replacing("z"))[1:]), 10)
    await shut.open()

    assert [(held["a"], False), True] == [tuple(quick[0]), quick[1]["created"]]
    assert [True, True, False] == [row["created"] for row in await slow]


async def test_a_job_that_comes_due_while_it_is_rescheduled_is_still_rescheduled(queue, sessions, clock):
    """Yes means that it waits until the time that was asked for."""
    job_id = await queue.put(delay=60)
    await clock.forward(61)
    promoting, asking = await sessions.connect(), await sessions.connect()
    promotion = promoting.transaction()
    await promotion.start()
    await promoting.fetch("select trunkline.promote(10)")
    later = await queue.store.fetchval("select trunkline.now()") + timedelta(hours=1)
    answer = sessions.start(asking.fetchval(operate.RESCHEDULE, queue.tenant_id, job_id, later))
    await sessions.blocked(asking)
    await promotion.commit()

    assert (True, "scheduled") == (await answer, await queue.state(job_id))
