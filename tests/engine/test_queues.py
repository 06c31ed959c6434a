"""Which queues a worker serves, and for whom."""

from __future__ import annotations

import pytest

from trunkline import Trunkline
from trunkline.errors import InvalidInput, NotFound


@pytest.mark.parametrize(
    ("chosen", "own", "shared"),
    [
        (None, ["mine"], ["both", "everybody"]),
        (["mine", "everybody"], ["mine"], ["everybody"]),
        (["elsewhere", "mine"], ["mine"], ["elsewhere"]),
        ([], [], []),
    ],
)
def test_a_worker_serves_the_queues_of_its_handlers_or_those_that_were_chosen(app_offline, chosen, own, shared):
    """A queue that nobody declares is served for every tenant as soon as one handler is."""
    for kind, queue, tenants in (("a", "mine", "default"), ("b", "everybody", "all"), ("c", "both", "default"), ("d", "both", "all")):
        app_offline.job(kind, queue=queue, tenants=tenants)(lambda: None)

    assert (own, shared) == app_offline.registry.queues(chosen)


def test_a_queue_that_nobody_declares_is_the_default_tenants_where_all_handlers_are(app_offline):
    """Other tenants' jobs there would find no handler here."""
    app_offline.job("a", queue="mine")(lambda: None)

    assert (["elsewhere"], []) == app_offline.registry.queues(["elsewhere"])


async def test_jobs_of_any_kind_are_done_from_the_chosen_queues_and_no_others(app):
    """Also from a queue that no handler names."""

    @app.job("echo")
    async def echo(n: int) -> int:
        return n

    await app.start_worker(queues=["side", "other"])
    left = await app.enqueue("echo", {"n": 1})
    done = await app.enqueue("echo", {"n": 2}, queue="side")

    assert 2 == await app.wait(done, timeout=30)
    assert "queued" == (await app.get(left)).state


async def test_the_first_job_waits_for_its_claim_and_its_report_alone(app):
    """Names of kinds and two connections with their plans are there before; on an idle worker the first job is not the slow one."""

    @app.job("echo")
    async def echo(n: int) -> int:
        return n

    worker = await app.start_worker()
    asked: list[str] = []
    there = connections(app.store)
    for conn in there:
        conn.add_query_logger(lambda query: asked.append(query.query))
    job_id = await app.enqueue("echo", {"n": 1})
    assert 1 == await app.wait(job_id, timeout=30)
    await app.stop_worker()

    assert 1 == worker.counts.total("completed")
    assert len(there) >= 2  # for claims and for reports
    assert not any("from trunkline.kind" in query for query in asked)


def connections(store) -> list:
    """Those its pool has open."""
    return [holder._con for holder in store.pool._holders if holder._con is not None]


@pytest.mark.parametrize("queues", [[], ["a/b"]])
async def test_queues_that_cannot_be_are_refused(app, queues):
    """No queue at all is a mistake, not a worker that does nothing."""
    app.job("echo")(lambda: None)

    with pytest.raises(InvalidInput):
        await app.start_worker(queues=queues)


QUESTIONS = {
    "get": lambda app, job_id: app.get(job_id, tenant="nobody"),
    "cancel": lambda app, job_id: app.cancel(job_id, tenant="nobody"),
    "retry": lambda app, job_id: app.retry(job_id, tenant="nobody"),
    "redrive": lambda app, job_id: app.redrive(tenant="nobody"),
    "reprioritize": lambda app, job_id: app.reprioritize([job_id], 3, tenant="nobody"),
    "wait": lambda app, job_id: app.wait(job_id, tenant="nobody"),
    "pause": lambda app, job_id: app.pause("work", tenant="nobody"),
    "resume": lambda app, job_id: app.resume("work", tenant="nobody"),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
async def test_asking_makes_no_tenant(app: Trunkline, store, ask):
    """A misspelt name would live on for ever, and read as somebody without jobs."""
    job_id = await app.enqueue("work")

    with pytest.raises(NotFound, match="no tenant 'nobody'"):
        await ask(app, job_id)
    assert ["default"] == [row[0] for row in await store.fetch("select name from trunkline.tenant where tenant_id <> 0")]


async def test_a_queue_may_be_paused_before_its_first_job(app: Trunkline, queue):
    """Its jobs wait then; resuming lets them go."""
    paused = await app.pause("later")

    assert paused
    assert not await app.pause("later")
    assert await app.resume("later")


async def test_resuming_makes_no_queue(app: Trunkline, store):
    """A misspelt name is said to be one."""
    with pytest.raises(NotFound, match="no queue 'latter'"):
        await app.resume("latter")
    assert 0 == await store.fetchval("select count(*) from trunkline.queue")
