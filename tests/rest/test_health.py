"""What load balancers and people are told when things are bad: the database away, jobs that nobody takes, many failures."""

from __future__ import annotations

import httpx
import pytest

from tests.rest.conftest import SECRET, signed
from tests.support.proxy import Proxy
from tests.support.queue import Queue
from trunkline import Trunkline
from trunkline.engine import gauges
from trunkline.rest import asgi
from trunkline.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest.mark.parametrize("how", ["frozen", "gone"])
async def test_without_a_database_the_process_is_alive_and_not_ready(api_url, how, monkeypatch):
    """And metrics say so; when it is back, it is ready again."""
    monkeypatch.setattr(asgi, "READY_WITHIN_S", 0.3)
    monkeypatch.setattr(gauges, "WITHIN_S", 0.3)
    with Proxy(api_url) as proxy:
        settings = Settings.load({}, database_url=proxy.url, env="development", command_timeout_s=0.5)
        async with (
            Trunkline(settings=settings) as app,
            httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://here") as client,
        ):
            before = (await client.get("/readyz")).status_code
            if how == "frozen":
                proxy.freeze()
            else:
                proxy.refuse()
                proxy.cut_all()
            health, ready, metrics = [await client.get(path) for path in ("/healthz", "/readyz", "/metrics")]
            proxy.thaw()
            proxy.refuse(False)
            after = (await client.get("/readyz")).status_code

    assert (200, 200, 503, 200, 200) == (before, health.status_code, ready.status_code, metrics.status_code, after)
    assert "application/problem+json" == ready.headers["content-type"] and "unavailable" == ready.json()["code"]
    assert "trunkline_database_up 0.0" in metrics.text and "trunkline_jobs_in_queue{" not in metrics.text


async def test_the_words_of_health_follow_its_rules(api_url):
    """Of the tenant, however its neighbours do."""
    settings = Settings.load({}, database_url=api_url, jwt_secret=SECRET, env="development")
    async with Trunkline(settings=settings) as app:
        queue, bystander = [await Queue.open(app.store, tenant=name) for name in ("sick", "well")]

        async def told(tenant: str = "sick") -> str:
            headers = {"Authorization": f"Bearer {signed(tenant=tenant, scope='admin')}"}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://here", headers=headers) as client:
                return (await client.get("/api/health/jobs")).json()["status"]

        await queue.put()
        words = [await told()]
        await app.store.fetch("update trunkline.ready set ord = ord - 40 * 1000000::bigint * 4096 where tenant_id = $1", queue.tenant_id)
        words.append(await told())
        claimed = await queue.claim_one()
        words.append(await told())
        await queue.settle(claimed, "fatal")
        words.append(await told())
        for name in ("slow", "stalled"):
            await app.store.fetch(
                "insert into trunkline.alert select $1, $2, 'work', 1, 1, now(), now(), null, 0, null", bystander.tenant_id, name
            )
            words.append(await told("well"))

    assert ["healthy", "unhealthy", "healthy", "degraded", "degraded", "unhealthy"] == words
