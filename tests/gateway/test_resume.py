"""A worker's client comes back on another gateway and keeps what it had started."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from tests.gateway.conftest import Client
from tests.support.until import until
from trunkline.errors import Unavailable
from trunkline.gateway import resumption
from trunkline.store import work


async def started(remote: Client, sender: Client, count: int = 1) -> list[str]:
    """Jobs that `remote` was given and has started."""
    ids = [(await sender.ok("send_job", name="resize", data={"n": n}))["jobId"] for n in range(count)]
    await remote.pushed("work_request", count)
    for job_id in ids:
        await remote.ok("job_started", jobName="resize", jobId=job_id)
    return ids


@pytest.mark.parametrize("is_known_dead", [True, False])
async def test_the_lease_moves_and_the_same_attempt_goes_on(app, server, join, worker, token, cross, is_known_dead):
    """Whether or not the first gateway has noticed that the socket is dead; past its grace nothing is lost."""
    plain = await token()
    first, sender = await worker(3, plain=plain), await join()
    ids = await started(first, sender, 2)
    if is_known_dead:
        first.kill()
        await until(lambda: server.gateway.connections == 1, "the first gateway has noticed")
    again = await cross(plain, resume=first.pushes["client_ready"][0]["id"])
    await again.ok("register_worker", jobName="resize", options={"teamSize": 2})
    await asyncio.sleep(1.5)  # past the grace of a second at the first
    await sender.ok("send_job", name="resize", data={"n": 9})
    assert "work_request" not in again.pushes  # its two places are taken
    for job_id in ids:
        await again.ok("job_completed", jobName="resize", jobId=job_id, attempt=1, result=job_id)

    for job_id in ids:
        job = await app.get(job_id, tenant="customer-001")
        assert ("completed", 1, 0, job_id) == (job.state, job.attempt, job.failures, job.result)
    assert {"n": 9} == (await again.pushed("work_request"))[0]["data"]
    assert 0 == server.gateway.dispatcher.running


async def test_a_stranger_with_the_id_gets_nothing(app, server, join, worker, token, cross):
    """Another token of the same tenant, and one of another; the first client keeps its job."""
    first, sender = await worker(), await join()
    (job_id,) = await started(first, sender)
    old = first.pushes["client_ready"][0]["id"]
    for thief_of in ("customer-001", "customer-002"):
        thief = await cross(await token(thief_of), resume=old)
        assert "lease_lost" == (await thief.ask("job_completed", jobName="resize", jobId=job_id, attempt=1))["code"]

    await first.ok("job_completed", jobName="resize", jobId=job_id, attempt=1)


async def test_an_id_that_means_nothing_costs_nothing(join, monkeypatch):
    """The client is let in and holds nothing."""
    monkeypatch.setattr(resumption, "ANSWER_WITHIN_S", 0.1)
    for resume in ("", "x", "999999.secret", "1", "-1.a", "1.2.3", "٣.x", "9" * 90):
        client = await join(resume=resume)

        assert await client.ok("register_worker", jobName="a")


async def test_leases_that_came_and_could_not_be_read_are_handed_back(elsewhere, join, worker, token, cross, monkeypatch):
    """The job runs again, and no failure is counted."""
    plain = await token()
    first, sender = await worker(plain=plain), await join()
    (job_id,) = await started(first, sender)

    async def away(*_: object) -> None:
        raise Unavailable("the database went away just then")

    monkeypatch.setattr(elsewhere.gateway._remote, "receive", away)
    again = await cross(plain, resume=first.pushes["client_ready"][0]["id"])
    await again.ok("register_worker", jobName="resize")
    (request,) = await again.pushed("work_request")

    assert (job_id, 2, 0) == (request["id"], request["attempt"], request["retryCount"])


async def test_leases_move_by_their_fence_and_between_live_sessions_only(queue):
    """From the session that has them, the attempt that is theirs, to a session that lives."""
    await queue.put_plain(2)
    one, two = await queue.claim(2)
    other, dead = await queue.session(), await queue.session()
    await queue.store.fetch("update trunkline.session set dead_at = now() where session_id = $1", dead)

    async def move(job_id: UUID, attempt: int, from_session: int, to_session: int) -> set[UUID]:
        return await work.move_leases(queue.store, queue.tenant_id, [job_id], [attempt], from_session, to_session)

    assert set() == await move(one.job_id, 2, queue.session_id, other)
    assert set() == await move(one.job_id, 1, other, queue.session_id)
    assert set() == await move(one.job_id, 1, queue.session_id, dead)
    assert {one.job_id} == await move(one.job_id, 1, queue.session_id, other)
    assert set() == await move(one.job_id, 1, queue.session_id, other)
    ((claimed, name, left_s),) = await work.leased(queue.store, queue.tenant_id, other, [one.job_id, two.job_id])
    assert (one, "work") == (claimed, name) and 0 < left_s <= 1800
    await queue.store.fetch("update trunkline.session set expires_at = '-infinity' where session_id = $1", queue.session_id)
    await queue.rescue()
    assert ["lease"] == await queue.homes(one.job_id)
    assert set() == await queue.complete(one)
