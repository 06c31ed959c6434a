"""A gateway process of ours: the server that `trunkline gateway` runs, and nothing beside it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from uuid import UUID

from trunkline.auth import Tokens
from trunkline.measure.child import Parent
from trunkline.measure.roles.listeners import MARKER
from trunkline.measure.roles.workers import application
from trunkline.realtime import Event

TENANT = "bench"
ENVELOPE = 200  # bytes of an event around its data


async def serve(parent: Parent, url: str) -> None:
    """Serve until told to stop; says its port and a token. Asked `cpu`, it says what CPU it has used, seconds.

    `emit:N:BYTES` tells N events of so many bytes to whoever follows all jobs of the default tenant, as the stream does.
    """
    async with application(url) as app:
        server = await app.start_gateway(port=0, mode="development")
        _, token = await Tokens(app.store).create(await app.tenant_id(TENANT))
        parent.say("ready", port=server.port, token=token)
        tenant_id = await app.tenant_id(None)
        while (order := await parent.order()) != "stop":
            word, *numbers = order.split(":")
            if word == "cpu":
                parent.say("cpu", cpu_s=time.process_time())
                continue
            events, size = map(int, numbers)
            began = time.monotonic()
            for n in range(events):
                server.watchers.hear([_event(tenant_id, n, size)])
                await asyncio.sleep(0)  # sockets are written in between, as between two bursts
            parent.say("emitted", began=began)
        await app.stop_gateway(5)
    parent.say("done")


def _event(tenant_id: int, n: int, size: int) -> Event:
    job_id, data = UUID(f"0197f000-0000-7000-8000-{n:012d}"), b'"%s"' % (b"x" * max(size - ENVELOPE, 0))
    return Event(tenant_id, "", "update", MARKER.decode(), data, datetime.now(UTC), job_id=job_id)
