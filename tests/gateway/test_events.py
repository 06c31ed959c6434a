"""What the clients of a tenant hear of its jobs, whoever runs them."""

from __future__ import annotations

import asyncio

from tests.support.until import until
from trunkline import Job
from trunkline.gateway import said


async def test_a_watcher_of_one_gateway_hears_of_jobs_of_another(app, join, worker, token, cross):
    """Sent here, worked on there, told here and there."""
    watcher, remote = await join(), await cross(await token(), events="false")
    there = await cross(await token())
    await remote.ok("register_worker", jobName="resize")
    job_id = (await watcher.ok("send_job", name="resize", data={}, options={"retryDelay": 0}))["jobId"]
    await remote.pushed("work_request")
    await remote.ok("job_progress", jobName="resize", jobId=job_id, progress=50, message="half", data={"n": 1})
    await remote.ok("job_failed", jobName="resize", jobId=job_id, error="once more")
    await remote.pushed("work_request", 2)
    await remote.ok("job_completed", jobName="resize", jobId=job_id, result={"ok": True})

    for client in (watcher, there):
        (done,) = await client.pushed("job_completed")
        assert ("resize", job_id, {"ok": True}) == (done["jobName"], done["jobId"], done["result"])
        assert ["job_started", "job_progress", "job_failed", "job_started", "job_completed"] == client.order[-5:]
        assert [(50, "half", {"n": 1})] == [(p["progress"], p["message"], p["data"]) for p in client.pushes["job_progress"]]
        assert [(True, "once more")] == [(e["willRetry"], e["error"]) for e in client.pushes["job_failed"]]
    assert {"client_ready", "work_request"} == set(remote.pushes)


async def test_local_workers_and_people_are_told_of_as_well(app, join):
    """Jobs that no remote worker ran, a cancel from elsewhere, a batch that is done."""
    tenant = "customer-001"

    @app.job("shrink", tenants="all")
    async def shrink(job: Job) -> int:
        await job.progress(5)
        return 1

    watcher = await join()
    await app.start_worker()
    later = await app.enqueue("shrink", {}, tenant=tenant, delay=60)
    await app.cancel(later, tenant=tenant)
    batch = await app.batches.send([("shrink", {}), ("shrink", {})], tenant=tenant)
    await watcher.pushed("batch_completed")

    assert [str(later)] == [event["jobId"] for event in watcher.pushes["job_cancelled"]]
    assert {str(job.id) for job in batch.jobs} == {event["jobId"] for event in await watcher.pushed("job_completed", 2)}
    assert {"batchId": str(batch.id), "total": 2, "completed": 2, "failed": 0, "cancelled": 0} == watcher.pushes["batch_completed"][0]
    assert [5.0, 5.0] == [event["progress"] for event in watcher.pushes["job_progress"]]


async def test_a_tenant_of_pure_workers_leaves_no_events(app, join, worker):
    """`events: false`, or a token that may only work: nothing is written for nobody."""
    remote = await worker(events="false")
    await join("customer-001", "work")
    ids = [await app.enqueue("resize", {"n": n}, tenant="customer-001") for n in range(3)]
    for n in range(3):
        request = (await remote.pushed("work_request", n + 1))[n]
        await remote.ok("job_completed", jobName="resize", jobId=request["id"])
    await asyncio.gather(*(app.wait_ended(job_id, 10, tenant="customer-001") for job_id in ids))

    assert [(0, 0)] == await app.store.fetch("select (select count(*) from trunkline.event), (select count(*) from trunkline.watched)")


async def test_what_is_said_to_a_job_is_heard_by_its_tenant_only(app, server, join):
    """And a tenant whose last watcher left is not read any more."""
    mine, theirs = await join(), await join("customer-002")
    job_id = await app.enqueue("resize", {}, tenant="customer-001")
    await app.updates.emit_job_progress(job_id, 7, "said", tenant="customer-001")
    (heard,) = await mine.pushed("job_progress")
    assert (str(job_id), 7, "said") == (heard["jobId"], heard["progress"], heard["message"])
    await mine.close()
    watched = (await app.stream())._tenants[await app.tenant_id("customer-001")]
    await until(lambda: not watched.count, "nobody watches it any more")

    assert ["client_ready"] == theirs.order


async def test_many_hear_one_event_that_was_encoded_once_and_progress_no_faster_than_people_read(app, server, join, monkeypatch):
    """The rest of a flood is overtaken by the ending; who has a Python stream of its own hears all of it."""
    clients = [await join() for _ in range(3)]
    stream, heard, made, encode = await app.stream(), [], [], said.encode_push
    stream.subscribe(heard.extend)
    stream._calm._gap_s = 60.0
    monkeypatch.setattr(said, "encode_push", lambda push: made.append(push.event) or encode(push))
    job_id = await app.enqueue("resize", {}, tenant="customer-001")
    for n in range(9):
        await app.updates.emit_job_progress(job_id, n, tenant="customer-001")
    await app.cancel(job_id, tenant="customer-001")
    for client in clients:
        await client.pushed("job_cancelled")

    assert [["client_ready", "job_progress", "job_cancelled"]] * 3 == [client.order for client in clients]
    assert ["job_progress", "job_cancelled"] == made
    assert 9 == [event.what for event in heard].count("progress")


async def test_a_gateway_alone_keeps_history(app, server):
    """Where no worker runs, nobody else makes partitions and empties slots."""

    async def was_kept() -> bool:
        return bool(await app.store.fetchval("select last_run_at is not null from trunkline.duty where name = 'history'"))

    await until(was_kept, "the duty was done")
    assert server.gateway.connections == 0
