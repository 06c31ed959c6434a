"""Why a job is not running: one test for each reason a person can meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cli.conftest import job_view
from tests.support.queue import Queue
from trunkline.cli import why
from trunkline.store import inspect, sessions
from trunkline.store.inspect import Standing
from trunkline.testing import DatabaseClock

NOW = datetime.now(UTC)
CALM = Standing(
    paused_at=None,
    is_declared=True,
    is_ready=True,
    ahead=0,
    running=0,
    has_sleeper=False,
    processes=1,
    worker=None,
    worker_is_alive=None,
    cancel_requested_at=None,
)


JOB = job_view()


@pytest.mark.parametrize(
    ("around", "said"),
    [
        ({"paused_at": NOW}, "Its queue is paused since"),
        ({"is_declared": False}, "No worker has ever declared the kind 'work'"),
        ({"processes": 0}, "No worker is connected."),
        ({"has_sleeper": True}, "It is next in line, and a worker is being woken."),
        ({"ahead": 3, "running": 2}, "It waits for a free worker: 3 jobs of its queue are ahead of it, 2 run now."),
        ({"ahead": 1, "running": 1}, "It waits for a free worker: 1 job of its queue is ahead of it, 1 runs now."),
        ({"has_sleeper": True, "running": 5}, "It waits for a free worker: 0 jobs of its queue are ahead of it, 5 run now."),
        (
            {"has_sleeper": True, "ahead": 1},
            "1 job of its queue is ahead of it, and whoever serves its queue is busy with jobs of other queues.",
        ),
        ({}, "no connected worker seems to serve the queue 'work'"),
    ],
)
def test_a_job_in_line(around: dict[str, Any], said: str):
    """One reason, and what to do."""
    (reason,) = why.sentences(replace(JOB, created_at=datetime.now(UTC)), CALM._replace(**around))

    assert said in reason


def test_a_worker_that_sleeps_for_long_is_busy():
    """Its slots are taken by jobs of other queues; it is not "being woken" for minutes."""
    (reason,) = why.sentences(replace(JOB, created_at=NOW - timedelta(minutes=3)), CALM._replace(has_sleeper=True))

    assert "whoever serves its queue is busy" in reason


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("scheduled", "It is to run "),
        ("retrying", "It failed 2 times and is tried again "),
        ("no_handler", "had no handler for the kind 'work'"),
    ],
)
def test_a_job_that_waits_for_a_time(state: str, said: str):
    """When, and whether that is over."""
    job = replace(JOB, state=state, failures=2, run_at=datetime.now(UTC) + timedelta(minutes=90))
    due = replace(job, run_at=datetime.now(UTC) - timedelta(hours=1))

    assert said in why.sentences(job, CALM)[0] and "(in 1 h 29 min)" in why.sentences(job, CALM)[0]
    assert "it is due, and goes in line as soon as a process is connected" in why.sentences(due, CALM)[0]


async def test_a_running_job_says_where_and_until_when(queue: Queue):
    """And when somebody wants it to end, or its worker is gone."""
    await queue.put()
    claimed = await queue.claim_one()
    await queue.cancel(claimed.job_id)
    job, around = await queue.view(claimed.job_id), await inspect.standing(queue.store, queue.tenant_id, claimed.job_id)
    assert around is not None
    await queue.store.fetch("update trunkline.session set expires_at = clock_timestamp() - interval '1 second'")
    gone = await inspect.standing(queue.store, queue.tenant_id, claimed.job_id)
    assert gone is not None

    where, cancel = why.sentences(job, around)
    assert where.startswith("It runs on test, attempt 1, until ") and cancel.startswith("Its end was asked for ")
    assert ["It has just moved on: look again."] == why.sentences(job, CALM)
    assert ["Its worker test went away. It is offered again within 10 s, if any process is connected."] == why.sentences(job, gone)


async def test_a_follower_is_told_of_a_running_job_only_that_its_worker_went_away(queue: Queue, clock: DatabaseClock):
    """That it runs is no reason why it does not."""
    dying = await queue.session(ttl_s=60)
    await queue.put()
    job_id = (await queue.claim_one(session_id=dying)).job_id
    well = await why.not_running(queue.store, await queue.view(job_id))
    await clock.forward(120)
    (lost,) = await why.not_running(queue.store, await queue.view(job_id))

    assert [] == well and "went away. It is offered again within 10 s" in lost


def test_a_job_that_has_ended_needs_no_reason():
    """It is not waiting."""
    assert [] == why.sentences(replace(JOB, state="completed"), CALM)


async def test_what_surrounds_a_job_is_read_from_the_database(queue: Queue):
    """Places by priority, then by order; leases of the queue; processes; a handler for every tenant counts."""
    first, second = await queue.put(), await queue.put()
    urgent = await queue.put(priority=5)
    found = {job_id: await inspect.standing(queue.store, queue.tenant_id, job_id) for job_id in (first, second, urgent)}

    assert [1, 2, 0] == [around.ahead for around in found.values() if around]
    assert [(True, True, 1)] * 3 == [(around.is_ready, around.is_declared, around.processes) for around in found.values() if around]
    assert await inspect.standing(queue.store, queue.tenant_id + 1, first) is None


async def test_a_sleeping_worker_of_the_queue_is_seen(queue: Queue):
    """It is about to be woken."""
    job_id = await queue.put()
    await sessions.sleep_on(queue.store, queue.session_id, [queue.queue_id])
    around = await inspect.standing(queue.store, queue.tenant_id, job_id)

    assert around is not None and around.has_sleeper
