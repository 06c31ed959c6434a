"""Remote workers over real sockets: sent within their capacity, believed about their own jobs only, handed back when they go."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.conftest import EVERYWHERE
from tests.support.until import until
from trunkline import Trunkline

pytestmark = EVERYWHERE
UNKNOWN = "0197aaaa-0000-7000-8000-000000000000"


async def state(app: Trunkline, job_id: str, tenant: str = "customer-001") -> str:
    return (await app.get(job_id, tenant=tenant)).state


async def test_a_job_is_sent_worked_on_elsewhere_and_its_result_is_there(app, join, worker):
    """The whole way, with the events that its tenant hears."""
    sender, remote = await join(), await worker()
    job_id = (await sender.ok("send_job", name="resize", data={"path": "a.png"}, options={"priority": 7}))["jobId"]
    (request,) = await remote.pushed("work_request")
    assert {
        "id": job_id,
        "name": "resize",
        "data": {"path": "a.png"},
        "state": "created",
        "retryCount": 0,
        "priority": 7,
        "attempt": 1,
    } == {key: request[key] for key in request if key not in ("createdAt", "expiresAt")}
    assert request["createdAt"] < request["expiresAt"] and request["expiresAt"].endswith("Z")
    await remote.ok("job_started", jobName="resize", jobId=job_id)
    await remote.ok("job_progress", jobName="resize", jobId=job_id, progress=50, message="half", data={"n": 1})
    await remote.ok("job_completed", jobName="resize", jobId=job_id, attempt=1, result={"ok": [1, 2]})
    job = (await sender.ok("get_job", jobName="resize", jobId=job_id))["job"]

    assert ("completed", {"ok": [1, 2]}, {"path": "a.png"}, 0) == (job["state"], job["output"], job["data"], job["retryCount"])
    assert {"percentage": 50.0, "message": "half", "data": {"n": 1}} == job["progress"]
    (done,) = await sender.pushed("job_completed")
    assert ("resize", job_id, {"ok": [1, 2]}) == (done["jobName"], done["jobId"], done["result"])
    assert ["job_started", "job_progress", "job_completed"] == [event for event in sender.order if event.startswith("job_")]


async def test_a_worker_is_never_sent_more_than_its_capacity(join, worker):
    """Each report makes room for one more."""
    sender = await join()
    await asyncio.gather(*(sender.ok("send_job", name="resize", data={"n": n}) for n in range(12)))
    remote = await worker(3)
    reported = 0
    while reported < 12:
        requests = await remote.pushed("work_request", min(reported + 3, 12))
        assert len(requests) - reported <= 3
        await remote.ok("job_completed", jobName="resize", jobId=requests[reported]["id"])
        reported += 1

    assert list(range(12)) == [request["data"]["n"] for request in remote.pushes["work_request"]]


async def test_jobs_are_shared_out_by_size(app, join, worker):
    """In the order of their capacities, and none above its own."""
    small, large = await worker(2), await worker(6)
    sender = await join()
    await sender.ask_many([("send_job", {"name": "resize", "data": {}})] * 20)
    await until(lambda: sum(len(w.pushes.get("work_request", ())) for w in (small, large)) == 8, "eight jobs are out")

    assert (2, 6) == (len(small.pushes["work_request"]), len(large.pushes["work_request"]))
    assert 12 == (await sender.ok("get_queue_size", jobName="resize"))["queueSize"]


async def test_a_report_about_somebody_else_s_job_is_refused(app, join, worker):
    """Of the same tenant, of another, of none: all read the same, and nothing changes."""
    owner, same, other = await worker(), await join(), await worker(tenant="customer-002")
    job_id = (await same.ok("send_job", name="resize", data={}))["jobId"]
    await owner.pushed("work_request")
    for stranger in (same, other):
        for call, fields in (("job_started", {}), ("job_progress", {"progress": 1}), ("job_completed", {}), ("job_failed", {"error": "x"})):
            for identity in (job_id, UNKNOWN):
                answer = await stranger.ask(call, jobName="resize", jobId=identity, attempt=1, **fields)
                assert ("error", "lease_lost") == (answer["status"], answer["code"])
    assert "lease_lost" == (await owner.ask("job_completed", jobName="resize", jobId=job_id, attempt=2))["code"]
    await owner.ok("job_completed", jobName="resize", jobId=job_id, attempt=1)

    assert "lease_lost" == (await owner.ask("job_completed", jobName="resize", jobId=job_id, attempt=1))["code"]
    assert "completed" == await state(app, job_id)


async def test_what_was_not_started_is_handed_back_at_once_when_its_worker_goes(app, join, worker):
    """To the next worker, and no failure is counted."""
    first, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await first.pushed("work_request")
    second = await worker()
    first.kill()
    (request,) = await second.pushed("work_request")

    assert (job_id, 2, 0, "created") == (request["id"], request["attempt"], request["retryCount"], request["state"])


async def test_what_was_started_waits_for_its_client_and_is_then_lost(app, join, worker):
    """A failure is counted, so that a job that kills its workers ends."""
    first, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await first.pushed("work_request")
    await first.ok("job_started", jobName="resize", jobId=job_id)
    second = await worker()
    first.kill()
    (request,) = await second.pushed("work_request")

    assert (job_id, 2, 1, "retry") == (request["id"], request["attempt"], request["retryCount"], request["state"])
    assert [(True, job_id)] == [(e["willRetry"], e["jobId"]) for e in await sender.pushed("job_failed")]


async def test_a_client_that_comes_back_in_time_keeps_what_it_started(app, join, worker, token):
    """With the same token and the id it was told; its capacity counts what it holds; a stranger with the id gets nothing."""
    plain = await token()
    first, sender = await worker(plain=plain), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await first.pushed("work_request")
    await first.ok("job_started", jobName="resize", jobId=job_id)
    old = first.pushes["client_ready"][0]["id"]
    first.kill()
    thief = await join(resume=old)
    assert "lease_lost" == (await thief.ask("job_completed", jobName="resize", jobId=job_id))["code"]
    again = await worker(plain=plain, resume=old)
    await sender.ok("send_job", name="resize", data={"n": 2})
    await asyncio.sleep(1.5)  # past the grace of a second
    assert "work_request" not in again.pushes
    await again.ok("job_completed", jobName="resize", jobId=job_id, result=1)
    (request,) = await again.pushed("work_request")

    assert ("completed", {"n": 2}) == (await state(app, job_id), request["data"])


async def test_a_client_takes_over_from_a_socket_that_is_not_known_to_be_dead(join, worker, token):
    """The old one is closed."""
    plain = await token()
    first, sender = await worker(plain=plain), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await first.pushed("work_request")
    await first.ok("job_started", jobName="resize", jobId=job_id)
    again = await join(plain=plain, resume=first.pushes["client_ready"][0]["id"])
    await again.ok("job_completed", jobName="resize", jobId=job_id)

    assert 4401 == (await first.until_closed())[0]


async def test_unregistering_hands_back_what_was_not_started(join, worker):
    """What was started may still be reported."""
    remote, sender = await worker(2), await join()
    ids = [(await sender.ok("send_job", name="resize", data={"n": n}))["jobId"] for n in range(2)]
    await remote.pushed("work_request", 2)
    await remote.ok("job_started", jobName="resize", jobId=ids[0])
    await remote.ok("unregister_worker", jobName="resize")
    other = await worker()
    (request,) = await other.pushed("work_request")

    assert ids[1] == request["id"]
    await remote.ok("job_completed", jobName="resize", jobId=ids[0])
    assert "lease_lost" == (await remote.ask("job_completed", jobName="resize", jobId=ids[1]))["code"]


@pytest.mark.parametrize(
    ("fields", "will_retry", "after", "message"),
    [
        ({"error": "no luck"}, True, "retrying", "no luck"),
        ({"error": {"name": "TypeError", "message": "x is undefined", "stack": "at y"}}, True, "retrying", "x is undefined"),
        ({"error": "broken", "retryable": False}, False, "failed", "broken"),
        ({"error": "slow down", "retryAfter": 60}, True, "retrying", None),
        ({"error": [1]}, True, "retrying", "[1]"),
    ],
)
async def test_a_failure_follows_the_policy_and_says_what_comes(app, join, worker, fields, will_retry, after, message):
    """To its worker in the answer, to its tenant as an event."""
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}, options={"retryDelay": 60, "retryLimit": 1}))["jobId"]
    await remote.pushed("work_request")
    answer = await remote.ok("job_failed", jobName="resize", jobId=job_id, **fields)
    job = await app.get(job_id, tenant="customer-001")

    assert (will_retry, will_retry, after) == (answer["willRetry"], "nextRunAt" in answer, job.state)
    assert (0 if "retryAfter" in fields else 1) == job.failures
    if message is not None:
        (event,) = await sender.pushed("job_failed")
        assert (will_retry, message) == (event["willRetry"], event["error"])


async def test_a_cancel_reaches_the_worker_and_frees_its_place(app, join, worker):
    """Asked at once; after the grace the attempt is over, whatever its handler does."""
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await remote.pushed("work_request")
    await remote.ok("job_started", jobName="resize", jobId=job_id)

    assert (await sender.ok("cancel_job", jobName="resize", jobId=job_id))["cancelled"]
    assert [{"id": job_id, "attempt": 1}] == await remote.pushed("cancel_request")
    assert "active" == (await sender.ok("get_job", jobName="resize", jobId=job_id))["job"]["state"]
    answer = await remote.ok("job_failed", jobName="resize", jobId=job_id, error="stopped")
    assert (False, "cancelled") == (answer["willRetry"], await state(app, job_id))
    assert not (await sender.ok("cancel_job", jobName="resize", jobId=job_id))["cancelled"]


async def test_a_worker_that_ignores_a_cancel_loses_the_job(app, server, join, worker):
    """Its place is free again, and what it reports later is refused."""
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await remote.pushed("work_request")
    await sender.ok("cancel_job", jobName="resize", jobId=job_id)
    await remote.pushed("cancel_request")
    dispatcher = server.gateway.dispatcher
    dispatcher.look(dispatcher._clock() + 10.1)
    await sender.pushed("job_cancelled")
    await sender.ok("send_job", name="resize", data={"n": 2})

    assert {"n": 2} == (await remote.pushed("work_request", 2))[1]["data"]
    assert "lease_lost" == (await remote.ask("job_completed", jobName="resize", jobId=job_id))["code"]
    assert "cancelled" == await state(app, job_id)


async def test_an_attempt_ends_at_its_deadline(app, join, worker):
    """expireIn; the worker is told, and its late result refused."""
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}, options={"expireIn": 0.3, "retryLimit": 0}))["jobId"]
    await remote.pushed("work_request")
    await remote.pushed("cancel_request")
    (event,) = await sender.pushed("job_failed")

    assert (False, "failed") == (event["willRetry"], await state(app, job_id))
    assert "lease_lost" == (await remote.ask("job_completed", jobName="resize", jobId=job_id))["code"]


async def test_names_match_with_either_dash_and_come_as_the_worker_spelled_them(join, worker):
    """`ai_generation` is `ai-generation`."""
    remote, sender = await worker(name="ai_generation"), await join()
    job_id = (await sender.ok("send_job", name="ai-generation", data={}))["jobId"]
    (request,) = await remote.pushed("work_request")

    assert "ai_generation" == request["name"]
    await remote.ok("job_completed", jobName="ai_generation", jobId=job_id)
    assert "completed" == (await sender.ok("get_job", jobName="ai_generation", jobId=job_id))["job"]["state"]


async def test_results_that_cannot_be_stored_leave_the_job_with_its_worker(app, join, worker):
    """So that it can say something else."""
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await remote.pushed("work_request")
    answer = await remote.ask("job_completed", jobName="resize", jobId=job_id, result="x" * 1_100_000)

    assert ("invalid_payload", "active") == (answer["code"], await state(app, job_id))
    await remote.ok("job_completed", jobName="resize", jobId=job_id, result="short")


async def test_a_lost_session_stops_the_workers_and_the_jobs_run_again(app, server, join, worker):
    """What they then say about the old attempts is refused."""
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await remote.pushed("work_request")
    await remote.ok("job_started", jobName="resize", jobId=job_id)
    await app.store.fetch("update trunkline.session set dead_at = trunkline.now() where session_id = $1", server.gateway._remote.session_id)
    await remote.pushed("cancel_request")
    requests = await remote.pushed("work_request", 2)

    assert (job_id, 2) == (requests[1]["id"], requests[1]["attempt"])
    assert "lease_lost" == (await remote.ask("job_completed", jobName="resize", jobId=job_id, attempt=1))["code"]
    await remote.ok("job_completed", jobName="resize", jobId=job_id, attempt=2)


async def test_a_local_worker_and_a_gateway_in_one_process_leave_each_other_s_leases_alone(app, join, worker):
    """Each has a session of its own."""
    done = asyncio.Event()

    @app.job("local")
    async def local() -> None:
        done.set()

    await app.start_worker()
    remote, sender = await worker(), await join()
    job_id = (await sender.ok("send_job", name="resize", data={}))["jobId"]
    await remote.pushed("work_request")
    app._worker._fetcher._strays_at = [0.0]
    await app.enqueue("local")
    await asyncio.wait_for(done.wait(), 30)

    await remote.ok("job_completed", jobName="resize", jobId=job_id, attempt=1)


async def test_stopping_hands_back_what_is_not_started_and_waits_for_the_rest(app, join, worker, token):
    """Nothing is leased afterwards; clients are told to come back."""
    plain = await token()
    remote, sender = await worker(2, plain=plain), await join()
    ids = [(await sender.ok("send_job", name="resize", data={"n": n}))["jobId"] for n in range(2)]
    await remote.pushed("work_request", 2)
    await remote.ok("job_started", jobName="resize", jobId=ids[0])
    stopping = asyncio.create_task(app.stop_gateway(20.0))
    assert [{"id": ids[1], "attempt": 1}] == await remote.pushed("cancel_request")
    await remote.ok("job_completed", jobName="resize", jobId=ids[0])  # answered before the socket is closed
    await stopping

    assert ["completed", "queued"] == [await state(app, job_id) for job_id in ids]
    assert 1012 == (await remote.until_closed())[0]
    assert 0 == await app.store.fetchval("select count(*) from trunkline.lease")
