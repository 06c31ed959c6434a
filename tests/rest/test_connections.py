"""Registered databases over HTTP: tested, kept, read, taken away; for administrators."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from trunkline.store import connection_schemas

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.fixture
def file(databases: Path, tenant: str) -> Path:
    """A database that may be registered."""
    path = databases / f"{tenant}.db"
    sqlite3.connect(path).close()
    return path


async def test_a_database_is_registered_read_and_taken_away(app, admin, tenant, file):
    """Each act is in the log; one rebuild is in line at a time, and whoever asks meanwhile is given that one."""
    made = await admin.post("/api/connections", json={"name": "shop", "url": f"sqlite:///{file}"})
    place = f"/api/connections/{made.json()['id']}"
    unread = await admin.get(f"{place}/schema")
    first, second = [await admin.post(f"{place}/rebuild", json={}) for _ in range(2)]
    tenant_id = await app.tenant_id(tenant)
    await connection_schemas.save(
        app.store, tenant_id, made.json()["id"], fingerprint="f" * 64, schema='{"tables": []}', tables=0, force=False
    )
    read = await admin.get(f"{place}/schema")
    listed = (await admin.get("/api/connections")).json()

    assert (201, "shop", "sqlite", "boss") == (made.status_code, *(made.json()[name] for name in ("name", "dialect", "createdBy")))
    assert (404, 200, {"tables": []}) == (unread.status_code, read.status_code, read.json()["schema"])
    assert [202, 202] == [first.status_code, second.status_code] and first.json()["jobId"] == second.json()["jobId"]
    assert "schema-rebuild" == (await admin.get(f"/api/jobs/{first.json()['jobId']}")).json()["type"]
    assert [made.json()] == listed["data"] == [(await admin.get(place)).json()]
    assert [200, 404, 404] == [(await admin.request(verb, place)).status_code for verb in ("DELETE", "DELETE", "GET")]
    acts = [row["act"] for row in (await admin.get("/api/audit")).json()["data"]]
    assert ["connection.deleted", "connection.rebuilt", "connection.created"] == acts


async def test_a_repeated_registration_is_answered_alike_though_the_database_is_gone(admin, file):
    """And nothing is registered twice."""
    body, key = {"name": "shop", "url": f"sqlite:///{file}"}, {"Idempotency-Key": "a"}
    made = await admin.post("/api/connections", json=body, headers=key)
    file.unlink()
    again = await admin.post("/api/connections", json=body, headers=key)
    other = await admin.post("/api/connections", json={**body, "name": "else"}, headers=key)

    assert (201, 201, made.json()) == (made.status_code, again.status_code, again.json()) and "true" == again.headers["idempotent-replayed"]
    assert (422, "key_reused") == (other.status_code, other.json()["code"])


async def test_what_cannot_be_registered_leaves_nothing(admin, user, machine, file):
    """Places it must not lead to, files that are not there, a name that is taken; people who are no administrators."""
    good = f"sqlite:///{file}"
    await admin.post("/api/connections", json={"name": "taken", "url": good})
    refused = [
        await admin.post("/api/connections", json={"name": name, "url": url})
        for name, url in (
            ("a", "sqlite:////etc/passwd"),
            ("b", "postgresql://clerk:very-secret@10.0.0.1/x"),
            ("c", f"{good}.not"),
            ("taken", good),
        )
    ]
    away = (await admin.post("/api/connections", json={"name": "e", "url": "postgresql://clerk:x@127.0.0.1:1/x"})).json()
    forbidden = [await client.post("/api/connections", json={"name": "d", "url": good}) for client in (user, await machine("send", "work"))]

    assert ["host_refused", "host_refused", "connection_unusable", "invalid_input"] == [one.json()["code"] for one in refused]
    assert {422} == {one.status_code for one in refused} and "very-secret" not in "".join(one.text for one in refused)
    assert "connection_failed" == away["code"] and away["detail"].endswith("Try again when it can be."), away
    assert [403, 403] == [one.status_code for one in forbidden]
    assert ["taken"] == [one["name"] for one in (await admin.get("/api/connections")).json()["data"]]


async def test_users_read_and_rebuild_what_an_administrator_registered(admin, user, other, machine, file):
    """As they may send the jobs that use it. Who asks while one is in line is given that one, if its own, or hears of it. No plain token may."""
    place = f"/api/connections/{(await admin.post('/api/connections', json={'name': 'shop', 'url': f'sqlite:///{file}'})).json()['id']}"
    listed, one = (await user.get("/api/connections")).json()["data"], (await user.get(place)).json()
    made = await user.post(f"{place}/rebuild", json={"force": True})
    again, told, theirs = [await client.post(f"{place}/rebuild") for client in (user, admin, other)]
    seen = await user.get(f"/api/jobs/{made.json()['jobId']}", params={"detail": True})
    plain = await machine("send", "work", "watch")
    asked = [("GET", "/api/connections"), ("GET", place), ("GET", f"{place}/schema"), ("POST", f"{place}/rebuild")]
    refused = [await plain.request(verb, path) for verb, path in asked] + [await user.delete(place)]

    assert [one] == listed and "shop" == one["name"]
    assert (202, "Schema rebuild job queued") == (made.status_code, made.json()["message"])
    assert [(202, made.json()["jobId"])] * 2 == [(answer.status_code, answer.json()["jobId"]) for answer in (again, told)]
    assert (409, "duplicate", None) == (theirs.status_code, theirs.json()["code"], theirs.json().get("jobId"))
    assert ("user-1", True) == (seen.json()["detail"]["userId"], seen.json()["detail"]["payload"]["force"])
    assert [403] * 5 == [answer.status_code for answer in refused]
