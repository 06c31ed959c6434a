"""A gateway process of ours: the server that `trunkline gateway` runs, and nothing beside it."""

from __future__ import annotations

import time

from trunkline.auth import Tokens
from trunkline.measure.child import Parent
from trunkline.measure.roles.workers import application

TENANT = "bench"


async def serve(parent: Parent, url: str) -> None:
    """Serve until told to stop; says its port and a token. Asked `cpu`, it says what CPU it has used, seconds."""
    async with application(url) as app:
        server = await app.start_gateway(port=0, mode="development")
        _, token = await Tokens(app.store).create(await app.tenant_id(TENANT))
        parent.say("ready", port=server.port, token=token)
        while await parent.order() != "stop":
            parent.say("cpu", cpu_s=time.process_time())
        await app.stop_gateway(5)
    parent.say("done")
