"""Idempotency-Key: a request is carried out once, whoever repeats it and however fast."""

from __future__ import annotations

import asyncio
import hashlib

import msgspec
import pytest

from trunkline.testing import DatabaseClock

pytestmark = pytest.mark.asyncio(loop_scope="package")
BODY = {"type": "echo", "payload": {"n": 1}}


async def count(client) -> int:
    """Jobs of the caller."""
    return (await client.get("/api/jobs")).json()["pagination"]["total"]


async def test_a_repeated_request_is_answered_alike_and_does_nothing(user):
    """Also the audit log has one row."""
    answers = [await user.post("/api/jobs", json=BODY, headers={"Idempotency-Key": "a"}) for _ in range(3)]

    assert 1 == len({(one.status_code, one.text) for one in answers}) and 1 == await count(user)
    assert [None, "true", "true"] == [one.headers.get("idempotent-replayed") for one in answers]


async def test_a_key_is_for_one_body_of_one_caller_on_one_route(user, other, admin):
    """Others may use the same text."""
    first = await user.post("/api/jobs", json=BODY, headers={"Idempotency-Key": "a"})
    changed = await user.post("/api/jobs", json={**BODY, "payload": {"n": 2}}, headers={"Idempotency-Key": "a"})
    theirs = await other.post("/api/jobs", json=BODY, headers={"Idempotency-Key": "a"})
    templates = await admin.post("/api/templates", json={"name": "t", "type": "echo"}, headers={"Idempotency-Key": "a"})

    assert (422, "key_reused") == (changed.status_code, changed.json()["code"])
    assert [201, 201, 201] == [one.status_code for one in (first, theirs, templates)] and first.json() != theirs.json()


async def test_a_hundred_at_once_make_one_job(user):
    """Those that come while the first is under way are told so, and may repeat."""
    answers = await asyncio.gather(*(user.post("/api/jobs", json=BODY, headers={"Idempotency-Key": "b"}) for _ in range(100)))
    made, refused = [one for one in answers if one.status_code == 201], [one for one in answers if one.status_code == 409]

    assert 100 == len(made) + len(refused) and 1 == len({one.json()["id"] for one in made}) and 1 == await count(user)
    assert {"still_running"} >= {one.json()["code"] for one in refused} and all("retry-after" in one.headers for one in refused)


async def test_a_race_of_two_bodies_under_one_key_has_one_winner(user):
    """The other body is refused, or told that the key is under way; never carried out."""
    bodies = [{**BODY, "payload": {"n": n % 2}} for n in range(40)]
    answers = await asyncio.gather(*(user.post("/api/jobs", json=body, headers={"Idempotency-Key": "r"}) for body in bodies))
    said = {one.json().get("id") or one.json()["code"] for one in answers}
    made = [n % 2 for n, one in enumerate(answers) if one.status_code == 201]

    assert 1 == len(set(made)) and 1 == await count(user), said
    assert said - {"key_reused", "still_running"} == {one.json()["id"] for one in answers if one.status_code == 201}
    assert "key_reused" == (await user.post("/api/jobs", json=bodies[1 - made[0]], headers={"Idempotency-Key": "r"})).json()["code"]


async def test_a_refused_request_may_be_repeated(user, admin):
    """It left nothing behind: neither a job nor the key."""
    refused = await user.post("/api/jobs", json={"template": "later"}, headers={"Idempotency-Key": "c"})
    await admin.post("/api/templates", json={"name": "later", "type": "echo", "options": {"priority": 7}})
    again = await user.post("/api/jobs", json={"template": "later"}, headers={"Idempotency-Key": "c"})

    assert [404, 201] == [refused.status_code, again.status_code]
    detail = (await user.get(f"/api/jobs/{again.json()['id']}", params={"detail": "true"})).json()["detail"]
    assert 7 == detail["priority"]


async def test_a_key_is_forgotten_after_a_day(app, user):
    """And its row is swept."""
    clock = DatabaseClock(app.store)
    first = await user.post("/api/jobs", json=BODY, headers={"Idempotency-Key": "d"})
    await clock.forward(24 * 3600 + 1)
    try:
        swept = await app.store.fetchrow("select * from trunkline.sweep_requests(0, 1e9)")
        second = await user.post("/api/jobs", json=BODY, headers={"Idempotency-Key": "d"})
    finally:
        await clock.forward(-(24 * 3600 + 1))

    assert swept["answers"] >= 1 and 0 == swept["acts"]
    assert (201, None) == (second.status_code, second.headers.get("idempotent-replayed")) and first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 256])
async def test_a_key_that_is_none_is_refused(user, key):
    """Before anything is done."""
    answer = await user.post("/api/jobs", json=BODY, headers={"Idempotency-Key": key.encode()})

    assert 422 == answer.status_code and 0 == await count(user)


async def test_the_value_of_a_token_is_answered_once(admin, ask):
    """What is kept for a repetition holds no secret."""
    body = {"description": "importer", "scopes": ["send"]}
    first = await admin.post("/api/tokens", json=body, headers={"Idempotency-Key": "e"})
    again = await admin.post("/api/tokens", json=body, headers={"Idempotency-Key": "e"})
    plain = first.json()["token"]

    assert 200 == (await ask(plain).get("/api/me")).status_code
    assert "token" not in again.json() and first.json()["id"] == again.json()["id"]
    assert 200 == (await admin.delete(f"/api/tokens/{first.json()['id']}")).status_code
    await asyncio.sleep(0)
    listed = (await admin.get("/api/tokens")).json()["data"]
    assert [False] == [one["live"] for one in listed if one["id"] == first.json()["id"]]


async def test_requests_that_need_two_connections_do_not_wait_for_each_other(user, admin):
    """A template, and a payload with a secret's name, are looked up while the transaction is open: sixty at once, ten connections."""
    await admin.post("/api/templates", json={"name": "t", "type": "echo"})
    made = [user.post("/api/jobs", json={"template": "t"}) for _ in range(40)]
    refused = [user.post("/api/jobs", json={"type": "echo", "payload": {"password": "x"}}) for _ in range(20)]
    answers = await asyncio.wait_for(asyncio.gather(*made, *refused), 20)

    assert [201] * 40 + [422] * 20 == [one.status_code for one in answers]


async def test_what_is_kept_of_a_body_cannot_be_guessed_from(user, app):
    """Bodies hold passwords of databases: a plain digest would let whoever reads the table try them out."""
    raw = msgspec.json.encode(BODY)
    await user.post("/api/jobs", content=raw, headers={"Idempotency-Key": "kept", "Content-Type": "application/json"})
    kept = await app.store.fetchval("select body_hash from trunkline.api_request where key = 'kept'")

    assert 32 == len(kept) and hashlib.sha256(raw).digest() != kept
