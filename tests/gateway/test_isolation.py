"""Nothing crosses: random tenants, users, scopes, rooms and ids over every door, against a model of what each client may be told.

TRUNKLINE_TEST_SEED repeats one run.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter

import pytest

from tests.gateway.crowd import SECRET, TENANTS, USERS, Actor, Follower, Program, Watcher, World, mark
from tests.gateway.test_abuse import clean_log  # noqa: F401 - nothing that happens here is an error of ours
from tests.support.until import until
from trunkline import Trunkline
from trunkline.settings import Settings


@pytest.mark.parametrize(
    "rounds", [pytest.param(40, id="short"), pytest.param(1500, id="long", marks=[pytest.mark.chaos, pytest.mark.timeout(900)])]
)
async def test_whatever_anybody_asks_nothing_crosses(trunkline_url, rounds):
    """Each answer and each event is its receiver's; in the end everybody hears what it follows, once, and nothing else."""
    seed = int(os.environ.get("TRUNKLINE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"repeat with TRUNKLINE_TEST_SEED={seed}")
    settings = Settings.load(
        {}, database_url=trunkline_url, shutdown_timeout_s=5, jwt_secret=SECRET, jwt_tenant_claim="tenant_id", address_connect_rate=1000
    )
    async with Trunkline(settings=settings) as app:
        server = await app.start_gateway(port=0, mode="development")
        world = World(app, server.port, random.Random(seed))
        crowd: list[Actor] = [(Program if n % 2 else Watcher if n % 4 else Follower)(world, n, TENANTS[n // 2 % 3]) for n in range(18)]
        for actor in crowd:
            await actor.come()
        for _ in range(rounds):
            await asyncio.gather(*(actor.step() for actor in world.chance.sample(crowd, 9)), _say(world), _say(world))
            assert not world.wrong
        await _end(world, [actor for actor in crowd if isinstance(actor, Watcher)])
        for actor in crowd:
            actor.judge()
            await actor.close()
        await app.stop_gateway(0.0)

    assert [] == world.wrong
    assert len(world.owners) > rounds / 4


async def _say(world: World) -> None:
    """The application says something about a job, to a user, or to a tenant."""
    tenant, user = world.chance.choice(TENANTS), world.chance.choice(USERS)
    job_id = world.any_id()
    match world.chance.randrange(3):
        case 0:
            owners = world.owners.get(job_id, {})
            if tenant in owners:
                await world.app.updates.emit_job_update(job_id, "said", {"x": mark(tenant, owners[tenant])}, tenant=tenant)
        case 1:
            await world.app.updates.emit_to_user(user, "note", {"x": mark(tenant, user)}, tenant=tenant)
        case _:
            await world.app.updates.broadcast_to_all("note", {"x": mark(tenant, "everybody")}, tenant=tenant)


async def _end(world: World, watchers: list[Watcher]) -> None:
    """One update of each job, and one failure, then the end: who follows it hears it once, in its dialect."""
    jobs = [(job_id, tenant) for job_id, owners in list(world.owners.items())[-60:] for tenant in owners]
    for job_id, tenant in jobs:
        whose = mark(tenant, world.owners[job_id][tenant])
        await world.app.updates.emit_job_update(job_id, "last", {"x": whose}, tenant=tenant)
        await world.app.updates.emit_job_error(job_id, f"last {whose}", tenant=tenant)
    for tenant in TENANTS:
        await world.app.updates.broadcast_to_all("end", {"x": mark(tenant, "everybody")}, tenant=tenant)
    for watcher in watchers:
        await until(lambda watcher=watcher: watcher.bare.said("end"), f"{watcher.name} hears the end")
        heard = Counter(watcher.last())
        expected = Counter(job_id for job_id, tenant in jobs if tenant == watcher.tenant and watcher.hears(job_id))
        world.hold(watcher.name, heard == expected, "heard", heard - expected, "missed", expected - heard, watcher.rooms)
