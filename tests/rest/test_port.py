"""One port for the API and the sockets: what they share."""

from __future__ import annotations

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_health_counts_the_sockets_of_the_tenant(base, machine, admin, stranger):
    """Of whichever door, over all gateways; nobody is told of another tenant's."""
    watcher = await machine()

    async def counted():
        answers = [(await client.get("/api/health/websocket")).json()["connectedClients"] for client in (admin, stranger)]
        return answers if answers[0] else None

    headers = {"Authorization": watcher._headers["Authorization"]}
    async with connect(f"{base.replace('http', 'ws')}/ws/raw", additional_headers=headers):
        assert [1, 0] == await until(counted, "the socket is counted")


async def test_metrics_are_those_of_the_metrics_port(working, user, ask):
    """Gauges of the database, attempts of this process, and what libraries keep."""
    job = await user.made()
    await user.get(f"/api/jobs/{job}/wait")

    async def counted():
        text = (await ask().get("/metrics")).text
        return text if 'trunkline_jobs_completed_total{kind="echo"' in text else None

    text = await until(counted, "the attempt is counted")
    assert "trunkline_database_up 1.0" in text and "trunkline_leases" in text and "python_info" in text


async def test_one_list_of_origins_holds_for_both(base):
    """A listed page may read answers of the API and open sockets; another one is told nothing it could read."""
    async with httpx.AsyncClient(base_url=base) as client:
        mine, foreign = [{"Origin": origin} for origin in ("http://localhost:5173", "https://else.example")]
        read = [(await client.get("/healthz", headers=one)).headers.get("access-control-allow-origin") for one in (mine, foreign)]
        polls = [(await client.get("/ws/?EIO=4&transport=polling", headers=one)).status_code for one in (mine, foreign)]
        document = await client.get("/api/asyncapi.json")
        again = await client.get("/api/asyncapi.json", headers={"If-None-Match": document.headers["etag"]})

    assert ["http://localhost:5173", None] == read and [200, 403] == polls
    assert (200, 304) == (document.status_code, again.status_code)


async def test_the_page_for_people_shows_every_route_and_lets_nothing_in(base):
    """It comes from this server alone, runs no script, and its console may speak to this server only."""
    async with httpx.AsyncClient(base_url=base) as client:
        shown = await client.get("/api/docs")
        odd = await client.get("/api/docs", headers={"Host": "a b;script-src *"})
        document = (await client.get("/api/openapi.json")).json()
    host, policy = base.removeprefix("http://"), shown.headers["content-security-policy"]

    assert [] == [path for path in document["paths"] if f"<code>{path}</code>" not in shown.text]
    assert f"curl -H &quot;Authorization: Bearer $TOKEN&quot; {base}/api/jobs" in shown.text.replace('"', "&quot;")
    assert "<script" not in shown.text and "src=" not in shown.text and "default-src 'none';" in policy
    assert f"connect-src 'self' ws://{host} wss://{host};" in policy and "script-src" not in policy
    assert odd.status_code == 400 or "script-src" not in odd.headers["content-security-policy"]
