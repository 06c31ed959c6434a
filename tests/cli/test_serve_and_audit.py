"""`trunkline serve` and `trunkline audit`, as operators type them."""

from __future__ import annotations

import getpass
import json
import signal

import httpx

from tests.cli.conftest import Cli, Start


async def test_serve_answers_http_and_sockets_on_one_port_until_asked_to_stop(cli: Cli, start: Start):
    """And what was done over HTTP and from the shell stands in one log."""
    program = start("serve", "--port", "0", "--json")
    port = json.loads(program.until('"event":"ready"').splitlines()[-1])["port"]
    token = (await cli("tokens", "create", "--scope", "admin", "--json")).json
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token['token']}"}) as client:
        made = await client.post("/api/jobs", json={"type": "greet"})
        ready = await client.get("/readyz")
        upgrade = await client.get("/ws/raw")
    await cli("jobs", "cancel", made.json()["id"])
    rows = (await cli("audit", "--json")).json["audit"]
    page = await cli("audit", "--act", "job.cancelled")
    assert "No act fits.\n" == (await cli("audit", "--actor", "nobody")).err
    program.signal(signal.SIGTERM)

    assert 0 == program.end()
    assert [201, 200] == [made.status_code, ready.status_code] and 404 == upgrade.status_code  # it is a WebSocket's
    assert ["job.cancelled", "job.created", "token.created"] == [row["act"] for row in rows]
    assert [("operator", getpass.getuser(), "cli"), ("token", token["id"], "api")] == [
        (row["actorKind"], row["actor"], row["via"]) for row in rows[:2]
    ]
    assert made.json()["id"] in page.out and "job.created" not in page.out


async def test_what_operators_do_is_noted_where_it_is_done(cli: Cli):
    """Each act once; what is refused leaves no row; pages go on where they ended."""
    for command in (
        ("enqueue", "greet"),
        ("queues", "pause", "greet"),
        ("queues", "pause", "greet"),
        ("queues", "resume", "greet"),
        ("queues", "pause", "none"),
        ("schedules", "create", "s", "greet", "--every", "1h"),
        ("schedules", "pause", "s"),
        ("schedules", "run", "s"),
        ("schedules", "delete", "s"),
        ("schedules", "delete", "s"),
        ("templates", "save", "t", "greet"),
        ("templates", "delete", "t"),
    ):
        await cli(*command)
    rows = (await cli("audit", "--limit", "100", "--json")).json["audit"]
    first = (await cli("audit", "--limit", "2", "--json")).json
    second = (await cli("audit", "--limit", "2", "--after", first["next"], "--json")).json

    acts = ["job.created", "queue.paused", "queue.resumed", "schedule.saved", "schedule.paused", "schedule.run", "schedule.deleted"]
    assert [*acts, "template.saved", "template.deleted"] == [row["act"] for row in rows][::-1]
    assert [row["id"] for row in rows[:4]] == [row["id"] for row in (*first["audit"], *second["audit"])]


async def test_what_belongs_to_operators_alone_is_noted_too(cli: Cli, monkeypatch):
    """Batches, limits, retention, weights, prompts; keys and migrations in the installation's own log."""
    monkeypatch.setenv("TRUNKLINE_ENCRYPTION_KEYS", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
    batch = (await cli("batches", "send", '[{"kind": "greet"}]', "--json")).json["id"]
    for command in (
        ("batches", "cancel", batch),
        ("limits", "set", "--key", "k", "--concurrency", "2"),
        ("limits", "pause", "--kind", "greet"),
        ("limits", "quota", "--queued", "5"),
        ("limits", "quota"),
        ("retention", "set", "greet", "--completed", "1h"),
        ("tenants", "weight", "default", "3"),
        ("keys", "rotate"),
        ("keys", "check"),
    ):
        await cli(*command)
    rows = (await cli("audit", "--json")).json["audit"][::-1]
    whole = (await cli("audit", "--installation", "--json")).json["audit"][::-1]
    none = (await cli("audit", "--since", "2999-01-01T00:00:00Z", "--json")).json["audit"]
    both = await cli("audit", "--until", "2999-01-01T00:00:00Z", "--act", "limit.set")

    acts = ["batch.sent", "batch.cancelled", "limit.set", "kind.paused", "quota.set", "retention.set", "tenant.weighed"]
    assert acts == [row["act"] for row in rows] and {"concurrency": 2} == rows[2]["detail"]
    assert ["keys.rotation_began", "keys.rotated"] == [row["act"] for row in whole] and "MDEy" not in str(whole)
    assert [] == none and "limit.set" in both.out and "quota.set" not in both.out
