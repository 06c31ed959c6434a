"""Jobs over HTTP: put in, worked on, waited for, listed, cancelled, retried, explained."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import msgspec
import pytest

from tests.support.queue import Queue
from trunkline import Trunkline
from trunkline.rest.progress import progress_of
from trunkline.store import pages

NOBODYS = "01970000-0000-7000-8000-000000000001"


pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_job_goes_in_over_http_is_worked_on_and_waited_for(working, user):
    """The whole way, on a real port; what it took is in its history, and it can be had only once by its tag."""
    put = await user.post("/api/jobs", json={"type": "echo", "payload": {"n": 1, "exact": 12345678901234}})
    ended = await user.get(f"/api/jobs/{put.json()['id']}/wait", params={"timeout": 20})

    assert (201, "queued", "echo") == (put.status_code, put.json()["status"], put.json()["type"])
    assert {"status": "completed", "result": {"n": 1, "exact": 12345678901234}, "attempts": 1}.items() <= ended.json().items()
    history = (await user.get(f"/api/jobs/{put.json()['id']}/history")).json()["data"]
    assert ["completed", "started", "queued"] == [one["status"] for one in history]
    job = await user.get(f"/api/jobs/{put.json()['id']}")
    again = await user.get(f"/api/jobs/{put.json()['id']}", headers={"If-None-Match": job.headers["etag"]})
    assert (304, b"") == (again.status_code, again.content)


async def test_a_job_that_does_not_end_in_time_is_answered_as_it_stands(user):
    """A long poll is no promise."""
    job = await user.made()
    answer = await user.get(f"/api/jobs/{job}/wait", params={"timeout": 0.2})

    assert (200, "queued") == (answer.status_code, answer.json()["status"])


async def test_a_job_is_cancelled_once_and_retried_by_hand(user):
    """The second time there is nothing to cancel; a queued one is not retried."""
    job = await user.made()
    first, second = await user.delete(f"/api/jobs/{job}"), await user.delete(f"/api/jobs/{job}")
    retried, not_retried = await user.post(f"/api/jobs/{job}/retry"), await user.post(f"/api/jobs/{job}/retry")

    assert (200, {"message": "Job cancelled"}) == (first.status_code, first.json())
    assert (409, "already_ended") == (second.status_code, second.json()["code"])
    assert (200, {"id": job, "status": "queued"}) == (retried.status_code, retried.json())
    assert (409, "not_retryable") == (not_retried.status_code, not_retried.json()["code"])


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ('{"percentage": 25, "message": "half a quarter"}', {"current": 25, "total": 100, "percentage": 25, "message": "half a quarter"}),
        ('{"percentage": 50, "current": 2, "total": 4}', {"current": 2, "total": 4, "percentage": 50}),
        ('{"percentage": 50, "current": 2, "data": {"n": 1.50}}', {"current": 50, "total": 100, "percentage": 50, "data": {"n": 1.5}}),
        ('{"percentage": 1e9}', {"current": 100, "total": 100, "percentage": 1e9}),
        ('"half"', "half"),
    ],
)
async def test_progress_has_steps_whoever_wrote_it(kept, shown):
    """As the documented client reads it; a handler need not have any, and other languages write what they like."""
    assert shown == msgspec.json.decode(msgspec.json.encode(progress_of(kept)))


async def test_a_job_that_runs_says_how_far_it_is(app: Trunkline, user, tenant):
    """Also where its handler said a percentage only."""
    job, queue = await user.made(type="work"), await Queue.open(app.store, tenant=tenant)
    await queue.claim_one()
    await app.store.fetch("update trunkline.lease set progress = $2::text::json where job_id = $1", UUID(job), '{"percentage": 25}')

    assert {"current": 25, "total": 100, "percentage": 25} == (await user.get(f"/api/jobs/{job}")).json()["progress"]


async def test_every_waiting_state_reads_queued_unless_detail_is_asked_for(user):
    """Statuses are translated at the edge only."""
    later = await user.made(options={"startAfter": 3600})
    child = await user.made(options={"dependsOn": [later]})
    plain = (await user.get("/api/jobs", params={"status": "queued"})).json()["data"]
    exact = (await user.get("/api/jobs", params={"status": "queued", "detail": "true"})).json()["data"]

    assert [child, later] == [one["id"] for one in plain] and {"queued"} == {one["status"] for one in plain}
    assert ["waiting", "scheduled"] == [one["detail"]["state"] for one in exact]


async def test_why_a_job_is_not_running_is_said_in_codes(user, admin):
    """One for each thing that stands in the way."""
    job, later = await user.made(type="unheard-of"), await user.made(options={"startAfter": 3600, "queue": "other"})
    await admin.post("/api/queues/unheard-of/pause")
    reasons = (await user.get(f"/api/jobs/{job}/explain")).json()
    other = (await user.get(f"/api/jobs/{later}/explain")).json()

    assert {"paused", "no_handler"} == {one["code"] for one in reasons["reasons"]}
    assert "not_due" == other["reasons"][0]["code"] and "scheduled" == other["state"]


async def test_pages_meet_without_gaps(user):
    """By number and by cursor."""
    ids = [await user.made() for _ in range(5)][::-1]
    first = (await user.get("/api/jobs", params={"limit": 2})).json()
    second = (await user.get("/api/jobs", params={"limit": 2, "cursor": first["pagination"]["nextCursor"]})).json()
    third = (await user.get("/api/jobs", params={"limit": 2, "page": 3})).json()

    assert ids == [one["id"] for part in (first, second, third) for one in part["data"]]
    assert {"page": 1, "limit": 2, "total": 5, "totalPages": 3}.items() <= first["pagination"].items()
    assert "nextCursor" not in third["pagination"]


async def test_a_total_that_stopped_counting_says_so(user, monkeypatch):
    """And only then."""
    monkeypatch.setattr(pages, "COUNTED", 3)
    for _ in range(2):
        await user.made()
    few = (await user.get("/api/jobs")).json()["pagination"]
    for _ in range(2):
        await user.made()
    many = (await user.get("/api/jobs", params={"limit": 2})).json()["pagination"]

    assert (2, None) == (few["total"], few.get("totalCapped"))
    assert (3, True, 2) == (many["total"], many.get("totalCapped"), many["totalPages"])


async def test_a_cursor_is_for_one_list_of_one_caller(user, admin):
    """Changed, or taken elsewhere, it is refused in a sentence."""
    for _ in range(3):
        await user.made()
    cursor = (await user.get("/api/jobs", params={"limit": 2})).json()["pagination"]["nextCursor"]
    changed = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    answers = [
        await user.get("/api/jobs", params={"cursor": changed}),
        await user.get("/api/jobs", params={"cursor": cursor, "status": "queued"}),
        await admin.get("/api/jobs", params={"cursor": cursor}),
        await user.get("/api/jobs", params={"cursor": "x" * 90}),
    ]

    assert [(422, "invalid_cursor")] * 4 == [(one.status_code, one.json()["code"]) for one in answers]


async def test_filters_go_together(working, user, other, admin):
    """Status, type, user, time, and text in the error, which is text and no pattern."""
    mine = await user.made(type="fall", payload={"how": "100% broken"})
    theirs = await other.made(type="fall", payload={"how": "100x Broken"})
    fine = await user.made()
    for job, client in ((mine, user), (theirs, other), (fine, user)):
        await client.get(f"/api/jobs/{job}/wait")

    async def found(client, **params) -> list[str]:
        answer = await client.get("/api/jobs", params=params)
        assert 200 == answer.status_code, answer.text
        return [one["id"] for one in answer.json()["data"]]

    assert [mine] == await found(user, status="failed")
    assert {mine, theirs} == set(await found(admin, status="failed"))
    assert [theirs, mine] == await found(admin, status="failed", type="fall")
    assert [mine] == await found(admin, error="100% BROKEN")
    assert [] == await found(admin, error="100_")
    assert [fine] == await found(admin, status="completed", userId="user-1")
    assert [mine] == await found(admin, status="failed", userId="user-1", error="broken")
    assert [] == await found(admin, createdAfter="2099-01-01T00:00:00Z")
    assert 3 == len(await found(admin, createdBefore="2099-01-01T00:00:00Z", createdAfter="2020-01-01T00:00:00Z"))
    for text in ("'; drop table job; --", "%", "_", ".*", "(a+)+$", "\\", "$1", "{0}", "%s", "😀", "\u202e"):
        for name in ("type", "queue", "userId"):
            assert [] == await found(admin, **{name: text}), (name, text)
    assert [] == await found(admin, error=".*") == await found(admin, error="_") == await found(admin, error="\\")
    assert [mine] == await found(admin, error="%")
    for name in ("actor", "act", "subject"):
        assert [] == (await admin.get("/api/audit", params={name: "%"})).json()["data"], name
    assert 422 == (await user.get("/api/jobs", params={"createdAfter": "2027-01-01T00:00:00"})).status_code


async def test_bulk_acts_are_for_what_fits_and_is_ones_own(user, other, admin):
    """An empty or unknown filter is refused; another's jobs are not touched."""
    mine, theirs = [await user.made() for _ in range(2)], await other.made()
    empty = await user.post("/api/jobs/bulk/cancel", json={"filter": {}})
    unknown = await user.post("/api/jobs/bulk/cancel", json={"filter": {"state": "queued"}})
    by_id = await user.post("/api/jobs/bulk/cancel", json={"filter": {"ids": [mine[0], theirs, str(uuid4())]}})
    by_type = await user.post("/api/jobs/bulk/cancel", json={"filter": {"type": "echo"}})
    of_other = await user.post("/api/jobs/bulk/cancel", json={"filter": {"userId": "user-2"}})
    again = await user.post("/api/jobs/bulk/retry", json={"filter": {"status": "cancelled"}})

    assert [422, 422, 403] == [empty.status_code, unknown.status_code, of_other.status_code]
    assert [1, 1, 2] == [by_id.json()["count"], by_type.json()["count"], again.json()["count"]]
    assert "queued" == (await other.get(f"/api/jobs/{theirs}")).json()["status"]


async def test_a_live_singleton_is_a_conflict_that_names_the_job(user):
    """And a repeated idempotency key of the job's own is that job."""
    job = await user.made(options={"singletonKey": "one", "expireInSeconds": 60})
    taken = await user.post("/api/jobs", json={"type": "echo", "options": {"singletonKey": "one"}})
    keyed = await user.made(options={"idempotencyKey": "k"})
    same = await user.post("/api/jobs", json={"type": "echo", "options": {"idempotencyKey": "k"}})

    assert (409, "duplicate", job) == (taken.status_code, taken.json()["code"], taken.json()["jobId"])
    assert (200, keyed) == (same.status_code, same.json()["id"])


async def test_a_user_sees_and_touches_own_jobs_only(user, other, stranger, admin, machine):
    """Not yours and not there read the same; administrators and machines see the tenant's."""
    job = await user.made()
    missing = (await other.get(f"/api/jobs/{NOBODYS}")).json()
    for client in (other, stranger):
        for method, path in (("GET", ""), ("GET", "/wait"), ("GET", "/history"), ("GET", "/explain"), ("DELETE", ""), ("POST", "/retry")):
            answer = await client.request(method, f"/api/jobs/{job}{path}")
            assert 404 == answer.status_code, (method, path)
            assert missing["detail"].replace(NOBODYS, job) == answer.json()["detail"]

    assert [200, 200] == [(await client.get(f"/api/jobs/{job}")).status_code for client in (admin, await machine("watch"))]


async def test_dead_letters_are_listed_and_put_back_in_line(working, user, admin):
    """By administrators, with a filter."""
    job = await user.made(type="fall")
    await user.get(f"/api/jobs/{job}/wait")
    listed = (await admin.get("/api/dead-letters", params={"type": "fall"})).json()
    refused = [await user.post("/api/dead-letters/redrive", json={"type": "fall"}), await admin.post("/api/dead-letters/redrive", json={})]
    done = await admin.post("/api/dead-letters/redrive", json={"type": "fall"})

    assert [(job, "no")] == [(one["id"], one["error"]) for one in listed["data"]]
    assert [403, 422] == [one.status_code for one in refused]
    assert {"count": 1, "more": False} == done.json()


async def test_many_long_polls_cost_no_connection_each(app: Trunkline, user):
    """Thirty waits and ten connections: everybody is answered when the job ends."""
    job = await user.made()
    waits = [asyncio.create_task(user.get(f"/api/jobs/{job}/wait", params={"timeout": 30})) for _ in range(30)]
    while len(app.api.waits) == 0:
        await asyncio.sleep(0.01)
    await app.start_worker()
    answers = await asyncio.gather(*waits)
    await app.stop_worker()

    assert {"completed"} == {one.json()["status"] for one in answers}
