"""An API process of ours: the server that `trunkline serve` runs, and nothing beside it."""

from __future__ import annotations

import time

import jwt

from trunkline import Trunkline
from trunkline.measure.child import Parent
from trunkline.settings import Settings

SECRET = "bench-" * 8
RATE = 1000.0  # requests a second of one principal: the measure asks as one administrator
VALID_S = 86_400


async def api(parent: Parent, url: str, *, users: list[str]) -> None:
    """Serve until told to stop; says its port, an administrator's token and those of `users`, all of the default tenant."""
    settings = Settings.load({}, database_url=url, jwt_secret=SECRET, api_rate=RATE)
    async with Trunkline(settings=settings) as app:
        server = await app.start_gateway(port=0, mode="development", api=True)
        tenant = app.settings.tenant
        tokens = {user: _signed(user, tenant) for user in users}
        parent.say("ready", port=server.port, admin=_signed("boss", tenant, scope="admin"), users=tokens)
        while await parent.order() != "stop":
            parent.say("cpu", cpu_s=time.process_time())
        await app.stop_gateway(5)
    parent.say("done")


def _signed(user: str, tenant: str, **more: str) -> str:
    claims = {"sub": user, "tenant": tenant, "exp": int(time.time()) + VALID_S, **more}
    return jwt.encode(claims, SECRET, algorithm="HS256")
