"""Whatever is wrong, the answer is a problem+json with a stable code; and nothing that is sent breaks anything."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.rest.conftest import signed

pytestmark = pytest.mark.asyncio(loop_scope="package")
JSON = {"Content-Type": "application/json"}


def problem(answer) -> tuple[int, str]:
    """(status, code) of a refusal that is one."""
    body = answer.json()
    assert "application/problem+json" == answer.headers["content-type"]
    assert body["status"] == answer.status_code and body["title"] and body["detail"] and f"/problems/{body['code']}" == body["type"]
    return answer.status_code, body["code"]


BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "text": b'"echo"',
    "a key twice": b'{"type": "echo", "type": "echo"}',
    "NaN": b'{"type": "echo", "payload": NaN}',
    "1e400": b'{"type": "echo", "payload": 1e400}',
    "2^70": b'{"type": "echo", "payload": 1180591620717411303424}',
    "U+0000": b'{"type": "echo", "payload": "\\u0000"}',
    "a lone surrogate": b'{"type": "echo", "payload": "\\ud800"}',
    "bytes that are no UTF-8": b'{"type": "\xff"}',
    "100,000 deep": b'{"type": "echo", "payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an unknown field": b'{"type": "echo", "state": "active"}',
    "an unknown option": b'{"type": "echo", "options": {"retries": 3}}',
    "a number as text": b'{"type": "echo", "options": {"priority": "5"}}',
    "a priority out of range": b'{"type": "echo", "options": {"priority": 101}}',
    "a kind with a slash": b'{"type": "a/b"}',
    "neither type nor template": b'{"payload": {}}',
    "a secret": b'{"type": "echo", "payload": {"password": "x"}}',
    "an id that is none": b'{"type": "echo", "options": {"id": "x"}}',
    "an old id": b'{"type": "echo", "options": {"id": "01970000-0000-7000-8000-000000000001"}}',
    "a start that is none": b'{"type": "echo", "options": {"startAfter": "soon"}}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_cannot_be_a_job_is_refused(user, body):
    """With a sentence, and 422."""
    answer = await user.post("/api/jobs", content=body, headers=JSON)

    assert 422 == problem(answer)[0]


async def test_other_refusals_have_their_statuses(user, admin):
    """Of the wrong media type, too long, of no route, of no method, with arguments out of range."""
    cases = [
        (await user.post("/api/jobs", content=b"{}", headers={"Content-Type": "text/plain"}), (415, "unsupported_media_type")),
        (await user.post("/api/jobs", content=b"{}", headers={**JSON, "Content-Encoding": "gzip"}), (415, "unsupported_media_type")),
        (await user.post("/api/jobs", content=b"x" * (1024 * 1024 + 1), headers=JSON), (413, "too_large")),
        (await user.get("/api/nothing"), (404, "not_found")),
        (await user.get("/nothing"), (404, "not_found")),
        (await user.request("PUT", "/api/jobs"), (405, "method_not_allowed")),
        (await user.get("/api/jobs", params={"limit": 10**9}), (422, "invalid_input")),
        (await user.get("/api/jobs", params={"page": 5000, "limit": 100}), (422, "invalid_input")),
        (await user.get("/api/jobs", params={"status": "nonsense"}), (422, "invalid_input")),
        (await user.get("/api/jobs/not-an-id"), (422, "invalid_input")),
        (await user.get("/api/tokens"), (403, "forbidden")),
        (await user.get("/api/audit"), (403, "forbidden")),
        (await user.post("/api/queues/echo/pause"), (403, "forbidden")),
        (await admin.post("/api/queues/none/pause"), (404, "not_found")),
        (await admin.get("/api/schedules/none"), (404, "not_found")),
        (await admin.get("/api/templates/none"), (404, "not_found")),
        (await admin.delete("/api/templates/a%00b"), (422, "invalid_input")),
        (await user.get("/api/jobs", params={"type": "a\x00b"}), (422, "invalid_input")),
    ]

    assert [expected for _, expected in cases] == [problem(answer) for answer, _ in cases]


async def test_a_wrong_method_is_told_all_that_the_address_takes(user):
    """Not those of one of its routes; also of an address with a name in it, and of one beside the API."""
    asked = [("PUT", "/api/jobs"), ("PUT", "/api/connections/shop"), ("POST", "/api/jobs/not-an-id"), ("POST", "/healthz")]
    answers = [await user.request(method, path) for method, path in asked]

    assert [(405, "method_not_allowed")] * 4 == [problem(answer) for answer in answers]
    assert ["GET, POST", "DELETE, GET", "DELETE, GET", "GET, HEAD"] == [answer.headers["allow"] for answer in answers]


async def test_chunked_bodies_are_measured_too(user):
    """No Content-Length says how long it will be."""

    async def pieces():
        for _ in range(20):
            yield b"x" * 100_000

    assert (413, "too_large") == problem(await user.post("/api/jobs", content=pieces(), headers=JSON))


async def test_a_body_that_does_not_come_is_given_up(user, base, monkeypatch):
    """Whoever sends a byte a minute holds nothing."""
    monkeypatch.setattr("trunkline.rest.asking.BODY_S", 0.5)
    monkeypatch.setattr("trunkline.gateway.protocols.HEADERS_WITHIN_S", 0.2)  # of those who read no body; here it is the same time
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: {user._headers['Authorization']}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n"
    writer.write(head.encode() + b"{")
    answer = (await asyncio.wait_for(reader.read(), 20)).decode()
    writer.close()

    assert answer.startswith("HTTP/1.1 408") and "body_too_slow" in answer


async def test_nobody_without_a_good_credential_is_answered_anything(ask, tenant):
    """And what was wrong with it is not told."""
    token = signed(tenant=tenant)
    for credential in (None, "nonsense", "tl_" + "x" * 43, token[:-2], signed(tenant=tenant, exp=1), "e" * 100_000):
        answer = await ask(credential).get("/api/jobs")
        if answer.headers["content-type"].startswith("text/plain"):  # the server itself refuses so long a header
            assert answer.status_code in (400, 431)
            continue
        assert (401, "unauthenticated") == problem(answer) and "Bearer" in answer.headers["www-authenticate"]


async def test_whoever_asks_too_fast_is_told_when_to_come_back(app, user, other, monkeypatch):
    """Others are not slowed."""
    from trunkline.rest.pace import Pace

    monkeypatch.setattr(app.api, "_pace", Pace(1.0, 2.0))
    answers = [await user.get("/api/me") for _ in range(4)]
    others = await other.get("/api/me")

    assert [200, 200, 429, 429] == [one.status_code for one in answers] and 200 == others.status_code
    assert (429, "rate_limited") == problem(answers[2]) and 1 <= int(answers[2].headers["retry-after"]) <= 2


async def test_whoever_guesses_credentials_is_slowed_by_address(app, user, ask, monkeypatch):
    """A good credential from there is served; what the client says its address is changes nothing."""
    from trunkline.rest.pace import Pace

    monkeypatch.setattr(app.api, "_strangers", Pace(1.0, 2.0))
    guesses = [
        await ask(guess).get(
            "/api/me", headers={"X-Forwarded-For": f"10.0.0.{n}", "Forwarded": f"for=10.0.0.{n}", "X-Real-IP": f"10.0.0.{n}"}
        )
        for n, guess in enumerate((None, "nonsense", "tl_" + "x" * 43, "eyJ.x.y"))
    ]

    assert [401, 401, 429, 429] == [one.status_code for one in guesses] and "retry-after" in guesses[2].headers
    assert 200 == (await user.get("/api/me")).status_code


async def test_every_answer_says_how_browsers_are_to_treat_it(user, ask):
    """Refusals too."""
    for answer in (await user.get("/api/me"), await ask().get("/api/me"), await ask().get("/nothing"), await ask().get("/healthz")):
        assert "nosniff" == answer.headers["x-content-type-options"] and "DENY" == answer.headers["x-frame-options"]
        assert answer.headers["cache-control"]


async def test_only_origins_that_are_set_may_be_called_from(user):
    """In development the two usual ones; a foreign page gets no permission."""
    for origin, allowed in (("http://localhost:5173", True), ("https://evil.example", False), ("null", False)):
        answer = await user.get("/api/me", headers={"Origin": origin})
        assert allowed == (answer.headers.get("access-control-allow-origin") == origin), origin
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        before = await user.request("OPTIONS", "/api/jobs", headers=asks)
        assert allowed == (before.headers.get("access-control-allow-origin") == origin), origin
        assert "access-control-allow-credentials" not in before.headers  # nothing here is asked by cookie


async def test_a_payload_comes_back_as_the_text_that_it_was(user):
    """Order of keys, blanks and the form of numbers: nobody read it on the way."""
    text = '{"b": 1.50, "a":  [1e2, "ü"], "big": 9007199254740992}'
    made = await user.post("/api/jobs", content='{"type": "unread", "payload": ' + text + "}", headers=JSON)
    answer = await user.get(f"/api/jobs/{made.json()['id']}", params={"detail": "true"})

    assert text in answer.text and json.loads(text) == answer.json()["detail"]["payload"]


async def test_health_is_told_with_and_without_a_database(app, ask, user, machine, monkeypatch):
    """Load balancers need no credential; metrics are of all tenants."""
    client = ask()
    jobs = (await user.get("/api/health/jobs")).json()
    sockets = (await (await machine()).get("/api/health/websocket")).json()

    assert [200, 200] == [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]
    assert {"status", "queueSize", "activeJobs", "failedJobs", "lastProcessedAt"} == set(jobs) and "healthy" == jobs["status"]
    assert "healthy" == sockets["status"] and 0 == sockets["connectedClients"] and sockets["uptime"] >= 0
    assert 200 == (await client.get("/metrics")).status_code
    monkeypatch.setattr(app.api, "_mode", "production")
    assert 404 == (await client.get("/metrics")).status_code
    monkeypatch.setattr(app.api, "settings", app.settings.model_copy(update={"metrics_token": "m" * 20}))
    assert [404, 200] == [(await one.get("/metrics")).status_code for one in (client, ask("m" * 20))]


async def test_what_breaks_on_our_side_is_not_told(app, user, monkeypatch, caplog):
    """The text of an exception may hold anything."""

    async def broken(*_, **__):
        raise RuntimeError("postgresql://user:secret@host")

    monkeypatch.setattr(app.records, "job", broken)
    answer = await user.get("/api/jobs/01970000-0000-7000-8000-000000000001")

    assert (500, "internal_error") == problem(answer) and "secret" not in answer.text
