"""Users over HTTP: noted at first sight, changed by themselves; who did what is written where it is done."""

from __future__ import annotations

import pytest

from tests.rest.conftest import signed

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_user_is_noted_at_first_sight(ask, tenant):
    """With what the provider says; a choice of the user's own goes before it and outlives the next sign-in."""
    claims = {"email": "a@example.org", "locale": "en-GB", "zoneinfo": "Europe/London"}
    client = ask(signed("ann", tenant=tenant, **claims))
    first = (await client.get("/api/me")).json()
    changed = (await client.patch("/api/me", json={"timeZone": "Asia/Tokyo"})).json()
    later = (await ask(signed("ann", tenant=tenant, **{**claims, "email": "b@example.org", "zoneinfo": "UTC"})).get("/api/me")).json()
    back = (await client.patch("/api/me", json={"timeZone": None})).json()

    assert (tenant, "ann", "a@example.org", "en-GB", "Europe/London") == tuple(
        first[k] for k in ("tenant", "userId", "email", "locale", "timeZone")
    )
    assert ["Asia/Tokyo", "Asia/Tokyo"] == [changed["timeZone"], later["timeZone"]] and "b@example.org" == later["email"]
    assert "Europe/London" != "Asia/Tokyo" and back["timeZone"] in ("UTC", "Europe/London") and "en-GB" == back["locale"]


@pytest.mark.parametrize(
    "body", [{"timeZone": "Mars/Olympus"}, {"locale": "<script>"}, {"email": "x@y.z"}, {"locale": ""}, {"timeZone": 5}]
)
async def test_what_a_user_cannot_be_is_refused(user, body):
    """And nothing changes."""
    assert 422 == (await user.patch("/api/me", json=body)).status_code


async def test_machines_are_told_who_they_are(machine, tenant):
    """And have nothing to choose."""
    client = await machine("send")
    me = (await client.get("/api/me")).json()

    assert (tenant, None, ["send"]) == (me["tenant"], me["userId"], me["scopes"]) and me["tokenId"]
    assert 403 == (await client.patch("/api/me", json={"locale": "de"})).status_code


async def test_who_did_what_is_written(user, admin):
    """One row for each act, with the door and the address; a refused act leaves none."""
    job = await user.made(payload={"secretly": 1})
    await user.delete(f"/api/jobs/{job}")
    await user.delete(f"/api/jobs/{job}")
    await user.post(f"/api/jobs/{job}/retry")
    await admin.post("/api/queues/echo/pause")
    await admin.post("/api/queues/echo/pause")
    await admin.post("/api/queues/echo/resume")
    await admin.post("/api/schedules", json={"name": "s", "type": "echo", "every": 3600})
    await admin.post("/api/schedules/s/pause")
    await admin.post("/api/schedules/s/run")
    await admin.delete("/api/schedules/s")
    token = (await admin.post("/api/tokens", json={"scopes": ["send"]})).json()
    await admin.delete(f"/api/tokens/{token['id']}")
    await user.patch("/api/me", json={"locale": "de"})
    rows = (await admin.get("/api/audit", params={"limit": 100})).json()["data"][::-1]

    acts = [
        "job.created",
        "job.cancelled",
        "job.retried",
        "queue.paused",
        "queue.resumed",
        "schedule.saved",
        "schedule.paused",
        "schedule.run",
    ]
    assert [*acts, "schedule.deleted", "token.created", "token.deactivated", "user.changed"] == [row["act"] for row in rows]
    assert {"api"} == {row["via"] for row in rows} and {"127.0.0.1"} == {row["address"] for row in rows}
    assert ("user", "user-1", f"job:{job}") == tuple(rows[1][key] for key in ("actorKind", "actor", "subject"))
    assert token["token"] not in str(rows) and "secretly" not in str(rows)
    page = (await admin.get("/api/audit", params={"actor": "boss", "limit": 3})).json()
    further = (await admin.get("/api/audit", params={"actor": "boss", "limit": 3, "cursor": page["nextCursor"]})).json()
    assert ["token.deactivated", "token.created", "schedule.deleted"] == [row["act"] for row in page["data"]]
    assert ["schedule.run", "schedule.paused", "schedule.saved"] == [row["act"] for row in further["data"]]


async def test_each_job_of_many_has_its_row_and_the_log_is_asked_by_time(user, admin):
    """So whoever asks about a job finds what became of it; saving a schedule as it is is no act."""
    jobs = [await user.made(type="many") for _ in range(3)]
    await admin.post("/api/jobs/bulk/cancel", json={"filter": {"type": "many"}})
    for _ in range(2):
        await admin.post("/api/schedules", json={"name": "same", "type": "echo", "cron": "0 3 * * *"})
    about = (await admin.get("/api/audit", params={"subject": f"job:{jobs[1]}"})).json()["data"]
    at = min(row["at"] for row in (await admin.get("/api/audit", params={"act": "job.cancelled"})).json()["data"])
    since, until = [(await admin.get("/api/audit", params={name: at, "limit": 100})).json()["data"] for name in ("since", "until")]

    assert ["job.cancelled", "job.created"] == [row["act"] for row in about]
    assert ["schedule.saved", *["job.cancelled"] * 3] == [row["act"] for row in since if row["act"] != "job.created"]
    assert {"job.created"} >= {row["act"] for row in until}
    for wrong in ({"since": "yesterday"}, {"until": "2027-01-31T09:00:00"}, {"since": "0001-01-01T00:00:00Z"}):
        assert 422 == (await admin.get("/api/audit", params=wrong)).status_code


async def test_an_act_that_fails_at_its_end_leaves_no_row(app, user, admin, monkeypatch):
    """The row and the act are one transaction, either way round."""
    from trunkline.store import audit

    async def broken(*_, **__):
        raise RuntimeError("the log cannot be written")

    monkeypatch.setattr(audit, "note", broken)
    answer = await user.post("/api/jobs", json={"type": "echo"})
    monkeypatch.undo()

    assert 500 == answer.status_code
    assert (0, []) == ((await user.get("/api/jobs")).json()["pagination"]["total"], (await admin.get("/api/audit")).json()["data"])


async def test_old_rows_are_swept_when_their_time_is_over(app, user, admin):
    """And no sooner."""
    from trunkline.testing import DatabaseClock

    await user.made()
    clock = DatabaseClock(app.store)
    kept = await app.store.fetchrow("select * from trunkline.sweep_requests(0, 86400)")
    await clock.forward(2 * 86400)
    try:
        swept = await app.store.fetchrow("select * from trunkline.sweep_requests(0, 86400)")
    finally:
        await clock.forward(-2 * 86400)

    assert 0 == (kept["acts"] or 0) and swept["acts"] >= 1 and [] == (await admin.get("/api/audit")).json()["data"]


async def test_schedules_and_templates_come_back_as_they_were_saved(admin, machine):
    """The same name replaces; a job is made of a template; machines that may send may keep them, users may not. One that is used stays."""
    body = {
        "name": "nightly",
        "template": "report",
        "cron": "0 3 * * *",
        "tz": "Europe/Berlin",
        "missed": "skip",
        "options": {"priority": 5},
    }
    await admin.post("/api/templates", json={"name": "report", "type": "echo", "payload": {"a": 1, "b": 2}, "options": {"priority": 3}})
    saved, again = (
        await admin.post("/api/schedules", json=body),
        await (await machine("send")).post("/api/schedules", json={**body, "missed": "once"}),
    )
    listed = (await admin.get("/api/schedules")).json()
    job = await admin.post("/api/jobs", json={"template": "report", "payload": {"b": 3}})
    detail = (await admin.get(f"/api/jobs/{job.json()['id']}", params={"detail": "true"})).json()["detail"]
    fired = (await admin.post("/api/schedules/nightly/run")).json()["jobId"]
    firings = (await admin.get("/api/schedules/nightly/firings")).json()["data"]

    assert [201, 200] == [saved.status_code, again.status_code] and {
        "missed": "once",
        "tz": "Europe/Berlin",
    }.items() <= again.json().items()
    assert (1, ["nightly"]) == (listed["pagination"]["total"], [one["name"] for one in listed["data"]])
    assert ({"a": 1, "b": 3}, 3) == (detail["payload"], detail["priority"]) and [fired] == [one["jobId"] for one in firings]
    assert 422 == (await admin.post("/api/schedules", json={"name": "x", "type": "echo", "cron": "61 * * * *"})).status_code
    assert 422 == (await admin.delete("/api/templates/report")).status_code  # the schedule makes jobs of it
    assert 200 == (await admin.delete("/api/schedules/nightly")).status_code
    assert [200, 404] == [(await admin.delete("/api/templates/report")).status_code for _ in range(2)]


async def test_queues_are_counted_paused_and_resumed(user, admin, machine):
    """A pause holds when it is answered."""
    for _ in range(3):
        await user.made(type="counted")
    await user.made(type="counted", options={"startAfter": 60})
    paused, again = await admin.post("/api/queues/counted/pause"), await admin.post("/api/queues/counted/pause")
    listed = (await (await machine("watch")).get("/api/queues")).json()["data"]
    size = (await (await machine("watch")).get("/api/queues/counted/size")).json()

    assert [True, False] == [paused.json()["changed"], again.json()["changed"]]
    assert [("counted", True, 3, 1, 0)] == [(one["name"], one["paused"], one["waiting"], one["deferred"], one["active"]) for one in listed]
    assert {"name": "counted", "size": 4} == size
    assert {"paused": False, "changed": True}.items() <= (await admin.post("/api/queues/counted/resume")).json().items()
