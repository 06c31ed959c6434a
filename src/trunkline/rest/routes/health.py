"""/api/health and the documents: how the tenant's jobs and sockets do; what the sockets speak."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from trunkline.rest import answers
from trunkline.rest.answers import json_answer
from trunkline.rest.api import Api
from trunkline.rest.openapi import describe
from trunkline.rest.route import asked_of, public
from trunkline.wire.asyncapi import served

HEALTH = {"status": "healthy", "queueSize": 3, "activeJobs": 1, "failedJobs": 0, "lastProcessedAt": "2027-01-31T09:00:00Z"}


def add(api: Api, router: APIRouter) -> None:
    """Its routes."""

    @router.get("/health/jobs", tags=["health"], **describe(answers.JobsHealth, example=HEALTH))
    async def jobs_health(request: Request) -> Response:
        """How the tenant's jobs do; each count stops at 10,000 or so. `lastProcessedAt`: the latest end among the newest 100.

        `degraded`: over a tenth of the last 100 failed, or an alert is raised. `unhealthy`: jobs wait for 30 s and none runs, or a queue is stalled.
        """
        asked = asked_of(request)
        found = await api.services.records.health(asked.tenant_id)
        return json_answer(
            answers.JobsHealth(
                status=found.status,  # type: ignore[arg-type]
                queue_size=found.queued,
                active_jobs=found.active,
                failed_jobs=found.failed,
                last_processed_at=found.last_ended_at,
            )
        )

    @router.get(
        "/health/websocket",
        tags=["health"],
        **describe(answers.SocketHealth, example={"status": "healthy", "connectedClients": 2, "uptime": 61.5}),
    )
    async def sockets_health(request: Request) -> Response:
        """The tenant's sockets over all gateways, whichever way they came, some seconds old; `uptime`: seconds of this process."""
        found = await api.services.updates.connected(tenant=asked_of(request).tenant)
        uptime = round(time.monotonic() - api.began_at, 1)
        return json_answer(answers.SocketHealth(status="healthy", connected_clients=found.watchers + found.clients, uptime=uptime))

    @router.get("/asyncapi.json", tags=["documents"], **describe(None, is_public=True))
    @public
    async def sockets_document(request: Request) -> Response:
        """The sockets' calls and events as an AsyncAPI document."""
        text, tag = served()
        return Response(text, media_type="application/json", headers={"ETag": tag.decode(), "Cache-Control": "public, max-age=300"})
